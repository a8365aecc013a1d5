"""Time and peak memory of the compiled CPU path: what every training step and decode costs."""

from time import process_time

import torch

from semicrf_reference.compiled import log_partition, viterbi

SHAPES = {
    "B=4 T=200 K=20 C=16": (4, 200, 20, 16),
    "B=4 T=100 K=10 C=8": (4, 100, 10, 8),
    "B=32 T=128 K=1 C=9": (32, 128, 1, 9),
    "B=8 T=1000 K=1 C=24": (8, 1000, 1, 24),
    "B=1 T=10000 K=1 C=24": (1, 10_000, 1, 24),
    "B=8 T=1000 K=100 C=24": (8, 1000, 100, 24),
    "B=1 T=4000 K=1000 C=24": (1, 4000, 1000, 24),
    "B=1 T=100000 K=100 C=24": (1, 100_000, 100, 24),
}
LONGEST = {"B=1 T=1000000 K=100 C=24": (1, 1_000_000, 100, 24)}


def setup_cache() -> None:
    """Compile once, on disk: every measurement runs in a process of its own."""
    for shape in ("B=4 T=200 K=20 C=16", "B=32 T=128 K=1 C=9"):  # the scan, and lanes
        first_use = Time()
        first_use.setup(shape)


class Batch:
    """Sequences of full length with the required terms."""

    params = tuple(SHAPES)
    param_names = ("shape",)

    def setup(self, shape: str) -> None:
        B, T, K, C = (SHAPES | LONGEST)[shape]
        generator = torch.Generator().manual_seed(0)
        sizes = ((B, T, C), (C, C), (K, C))
        self.terms = [torch.randn(size, generator=generator) for size in sizes]
        self.leaves = [term.clone().requires_grad_() for term in self.terms]

    def log_partition(self, shape: str) -> None:
        log_partition(*self.terms)

    def gradient(self, shape: str) -> None:
        torch.autograd.grad(log_partition(*self.leaves).sum(), self.leaves)

    def viterbi(self, shape: str) -> None:
        viterbi(*self.terms)


class Time(Batch):
    """Seconds of its own time that one thread takes a call, the kernels loaded beforehand."""

    timer = staticmethod(process_time)
    rounds = 3
    repeat = (10, 40, 5.0)

    def setup(self, shape: str) -> None:
        super().setup(shape)
        torch.set_num_threads(1)
        for measured in (self.log_partition, self.gradient, self.viterbi):
            measured(shape)

    time_log_partition = Batch.log_partition
    time_gradient = Batch.gradient
    time_viterbi = Batch.viterbi


class Memory(Batch):
    """Peak memory of a process that does nothing else, PyTorch and the kernels included."""

    params = (*SHAPES, *LONGEST)

    peakmem_log_partition = Batch.log_partition
    peakmem_gradient = Batch.gradient
    peakmem_viterbi = Batch.viterbi
