"""What is computed: sizes, random edges, and the two calls that are measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.peers.problem import Size
from semicrf_reference.scan import Algorithm
from semicrf_spec import LOG, Semiring

FORWARD, TRAIN = "fwd", "fwd+bwd"
BASE = Size(1, 64, 8, 4)
SWEEP = (
    BASE,
    *(BASE._replace(time=T) for T in (16, 256)),
    *(BASE._replace(max_duration=K) for K in (2, 16)),
    *(BASE._replace(classes=C) for C in (2, 8)),
)
"""One letter changes at a time."""
QUICK = Size(1, 16, 4, 2)


@dataclass(frozen=True)
class Problem:
    """One algorithm in one semiring, over edges that learn."""

    algorithm: Algorithm
    edges: tuple[Tensor, ...]
    semiring: Semiring = LOG

    @classmethod
    def of(cls, algorithm: Algorithm, size: Size, semiring: Semiring = LOG) -> Problem:
        """Normal edges, the same every time."""
        batch, time, longest, classes = size
        generator = torch.Generator().manual_seed(0)
        shape = (batch, time, longest, classes, classes)
        draw = partial(torch.randn, shape, generator=generator, dtype=torch.float64)
        return cls(algorithm, tuple(draw().requires_grad_() for _ in range(semiring.arity)), semiring)

    @property
    def edge_bytes(self) -> int:
        """Of one tensor of edges."""
        return self.edges[0].nbytes

    def forward(self) -> Tensor:
        """The elements, without gradients."""
        with torch.no_grad():
            return self._elements()

    def train(self) -> None:
        """The sum of all finite numbers of the elements, and its gradient; counts have none."""
        for leaf in self.edges:
            leaf.grad = None
        total = self._elements().nan_to_num(posinf=0.0, neginf=0.0).sum()
        if total.requires_grad:
            total.backward()

    def _elements(self) -> Tensor:
        return self.algorithm(self.edges[0], None, self.semiring, *self.edges[1:])
