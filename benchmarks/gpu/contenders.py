"""What is timed: ours, the floor, a copy on the device, and flash-semicrf where it can be imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from semicrf_triton import operators

from .floor import sequential_floor

Call = Callable[[], object]


class Size(NamedTuple):
    """The size of a problem: B, T, K, C."""

    batch: int
    time: int
    max_duration: int
    classes: int

    def __str__(self) -> str:
        return "B={} T={} K={} C={}".format(*self)

    @property
    def bytes_of_emissions(self) -> int:
        """Of float32."""
        return 4 * self.batch * self.time * self.classes


SIZES = (
    Size(32, 500, 30, 39),
    Size(64, 1000, 100, 24),
    Size(4, 10_000, 200, 6),
    Size(2, 10_000, 100, 24),
    Size(2, 100_000, 1000, 24),
    Size(1, 400_000, 3000, 24),
    Size(16, 512, 1, 9),
    Size(1, 100_000, 1, 24),
)
OURS = ("fwd", "fwd+bwd", "second order", "decode", "top_k")
"""What is timed of ours."""
SELDOM = ("second order", "top_k")
"""What is rarely asked of long sequences."""
RARE = 2_000_000
"""`T * K` up to which it is timed too."""
THEIRS = ("flash fwd", "flash fwd+bwd")
"""What is timed of flash-semicrf."""
RANKS = 8
"""How many of the best are asked for."""
SMOKE = (Size(2, 3, 2, 2),)

Job = tuple[Size, str]
"""What is to be called, of a size."""


def asked(size: Size) -> list[str]:
    """What is timed beside flash-semicrf at a size."""
    seldom = () if size.time * size.max_duration <= RARE else SELDOM
    return [*(f"ours {what}" for what in OURS if what not in seldom), "floor", "copy"]


class Problem:
    """Random terms of a size, and the calls that are timed on them."""

    def __init__(self, size: Size, device: torch.device) -> None:
        generator = torch.Generator(device).manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, device=device)

        batch, time, max_duration, classes = size
        self.size, self.device = size, device
        self.emissions = normal(batch, time, classes)
        self.emissions -= self.emissions.mean(1, keepdim=True)  # as flash-semicrf asks for
        self.transition = normal(classes, classes) * 0.1
        self.duration = normal(max_duration, classes) * 0.1
        self.values = (normal(*size[:2], classes), *(None,) * 6)  # as of a loss of position posteriors
        self.terms = (self.emissions, self.transition, self.duration, *(None,) * 6)

    def call(self, what: str) -> Call:
        """One that is `asked`, or of THEIRS."""
        return (self.theirs() if what in THEIRS else self.ours() | self.floors())[what]

    def ours(self) -> dict[str, Call]:
        """The operators themselves: what the dispatcher adds is the host's."""
        return {
            "ours fwd": lambda: operators.log_partition(*self.terms),
            "ours fwd+bwd": lambda: operators.posteriors(*self.terms, False),
            "ours second order": lambda: operators.covariances(*self.terms, *self.values, False),
            "ours decode": lambda: operators.viterbi(*self.terms),
            "ours top_k": lambda: operators.top_k(*self.terms, RANKS),
        }

    def floors(self) -> dict[str, Call]:
        """The same number of dependent steps alone, and a copy of the emissions."""
        batch, time, _, classes = self.size
        return {
            "floor": lambda: sequential_floor(batch, time, classes, 1, self.device),
            "copy": self.emissions.clone,
        }

    def theirs(self) -> dict[str, Call]:
        """flash-semicrf's streaming scan, as documented: cumulative sums, on its own choice of path.

        Raises: ImportError where it is not installed.
        """
        from flash_semicrf.streaming import semi_crf_streaming_forward

        batch, time, max_duration, _ = self.size
        sums = torch.nn.functional.pad(self.emissions.cumsum(1), (0, 0, 1, 0))
        lengths = torch.full((batch,), time, device=self.device)
        leaves = [t.clone().requires_grad_() for t in (sums, self.transition, self.duration)]

        def forward() -> Tensor:
            with torch.no_grad():
                value: Tensor = semi_crf_streaming_forward(
                    sums, self.transition, self.duration, lengths, max_duration
                )
            return value

        def train() -> object:
            value = semi_crf_streaming_forward(*leaves, lengths, max_duration)
            return torch.autograd.grad(value.sum(), leaves)

        return dict(zip(THEIRS, (forward, train), strict=True))
