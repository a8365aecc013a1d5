"""Time of the CPU scan where scores are sharp: neither sure models nor least durations may slow it down."""

from time import process_time

import torch

from semicrf_reference.compiled import log_partition

from . import bench_compiled  # not its classes, which asv would take for this module's

LENGTH, LASTING, MAX_DURATION, CLASSES = 2000, 60, 100, 24
"""Segments of 60 positions, of which a segment may last up to 100."""


class TimeSharp:
    """Seconds of its own time that one thread takes a call: one label is right, the others are far behind."""

    params = ([1, 20, 90], [1.0, 10.0, 100.0])
    param_names = ("least_duration", "nats_ahead")
    timer = staticmethod(process_time)
    rounds, repeat = bench_compiled.Time.rounds, bench_compiled.Time.repeat

    def setup(self, least_duration: int, nats_ahead: float) -> None:
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(0)
        right = torch.randint(CLASSES, (LENGTH // LASTING + 1,), generator=generator)
        ahead = torch.nn.functional.one_hot(right.repeat_interleave(LASTING)[:LENGTH], CLASSES)
        noise, transition, duration = (
            torch.randn(shape, generator=generator)
            for shape in ((LENGTH, CLASSES), (CLASSES, CLASSES), (MAX_DURATION, CLASSES))
        )
        duration[: least_duration - 1] = -torch.inf
        terms = ((nats_ahead * (ahead + 0.1 * noise))[None], transition, duration)
        self.leaves = [term.requires_grad_() for term in terms]
        self.time_gradient()

    def time_log_partition(self, *_: object) -> None:
        with torch.no_grad():
            log_partition(*self.leaves)

    def time_gradient(self, *_: object) -> None:
        torch.autograd.grad(log_partition(*self.leaves).sum(), self.leaves)
