"""Time and peak memory of the compiled CPU path: what every training step and decode costs."""

from typing import NamedTuple

import torch

from semicrf_reference.compiled import log_partition, viterbi


class Shape(NamedTuple):
    """Batch, padded time, longest duration, labels."""

    B: int
    T: int
    K: int
    C: int


class Compiled:
    """A batch of full length with every required term, the functions compiled beforehand."""

    params = (Shape(4, 200, 20, 16), Shape(32, 128, 1, 9), Shape(1, 2000, 50, 24))
    param_names = ("shape",)

    def setup(self, shape: Shape) -> None:
        generator = torch.Generator().manual_seed(0)
        sizes = ((shape.B, shape.T, shape.C), (shape.C, shape.C), (shape.K, shape.C))
        self.terms = [torch.randn(size, generator=generator) for size in sizes]
        self.leaves = [term.clone().requires_grad_() for term in self.terms]
        self.time_log_partition(shape)
        self.time_gradient(shape)
        self.time_viterbi(shape)

    def time_log_partition(self, shape: Shape) -> None:
        log_partition(*self.terms)

    def time_gradient(self, shape: Shape) -> None:
        torch.autograd.grad(log_partition(*self.leaves).sum(), self.leaves)

    def time_viterbi(self, shape: Shape) -> None:
        viterbi(*self.terms)

    def peakmem_log_partition(self, shape: Shape) -> None:
        log_partition(*self.terms)

    def peakmem_gradient(self, shape: Shape) -> None:
        self.time_gradient(shape)

    def peakmem_viterbi(self, shape: Shape) -> None:
        viterbi(*self.terms)
