"""Time of the CPU scan where scores are sharp, and where durations or transitions are forbidden.

None of that may multiply it.
"""

from time import process_time

import torch
from torch import Tensor

from semicrf_reference.compiled import log_partition

from . import bench_compiled  # not its classes, which asv would take for this module's

LENGTH, LASTING, CLASSES = 2000, 60, 24

ALLOWED = {
    "all": slice(None),
    "20 or more": slice(19, None),
    "90 or more": slice(89, None),
    "multiples of 2": slice(1, None, 2),
    "multiples of 10": slice(9, None, 10),
}
"""Rows of a table of 100 durations."""


class _Scan:
    """Seconds of its own time that one thread takes a call."""

    timer = staticmethod(process_time)
    rounds, repeat = bench_compiled.Time.rounds, bench_compiled.Time.repeat

    def prepare(self, *terms: Tensor) -> None:
        torch.set_num_threads(1)
        self.leaves = [term.requires_grad_() for term in terms]
        self.time_gradient()

    def time_log_partition(self, *_: object) -> None:
        with torch.no_grad():
            log_partition(*self.leaves)

    def time_gradient(self, *_: object) -> None:
        torch.autograd.grad(log_partition(*self.leaves).sum(), self.leaves)


class TimeSharp(_Scan):
    """One label is right for 60 positions on end, the others are far behind."""

    params = (list(ALLOWED), [1.0, 10.0, 100.0])
    param_names = ("durations", "nats_ahead")

    def setup(self, durations: str, nats_ahead: float) -> None:
        generator = torch.Generator().manual_seed(0)
        right = torch.randint(CLASSES, (LENGTH // LASTING + 1,), generator=generator)
        ahead = torch.nn.functional.one_hot(right.repeat_interleave(LASTING)[:LENGTH], CLASSES)
        noise, transition, scores = (
            torch.randn(shape, generator=generator)
            for shape in ((LENGTH, CLASSES), (CLASSES, CLASSES), (100, CLASSES))
        )
        duration = torch.full_like(scores, -torch.inf)
        duration[ALLOWED[durations]] = scores[ALLOWED[durations]]
        self.prepare((nats_ahead * (ahead + 0.1 * noise))[None], transition, duration)


class TimeLeftToRight(_Scan):
    """No label comes back, so that ever less is left of those at the front, which may yet be all."""

    params = ([1, 20, 100],)
    param_names = ("max_duration",)

    def setup(self, max_duration: int) -> None:
        generator = torch.Generator().manual_seed(0)
        emissions, transition, duration = (
            torch.randn(shape, generator=generator)
            for shape in ((1, LENGTH, CLASSES), (CLASSES, CLASSES), (max_duration, CLASSES))
        )
        back = torch.ones(CLASSES, CLASSES).tril(-1) > 0
        self.prepare(emissions, transition.masked_fill(back, -torch.inf), duration)
