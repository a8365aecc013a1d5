"""Time and peak memory of scores of whole segments on the CPU, beside durations that are shared."""

from time import process_time

import torch

from semicrf_reference.compiled import log_partition, viterbi

from . import bench_compiled  # not its classes, which asv would take for this module's

SHAPES = {"B=4 T=200 K=20 C=16": (4, 200, 20, 16), "B=1 T=2000 K=100 C=24": (1, 2000, 100, 24)}


class Segments:
    """Sequences of full length with the required terms."""

    params = tuple(SHAPES)
    param_names = ("shape",)

    def setup(self, shape: str) -> None:
        B, T, K, C = SHAPES[shape]
        generator = torch.Generator().manual_seed(0)
        sizes = ((B, T, C), (C, C), (B, T, K, C))
        self.terms = [torch.randn(size, generator=generator) for size in sizes]
        self.leaves = [term.clone().requires_grad_() for term in self.terms]
        self.shared = [*self.leaves[:2], self.leaves[2][0, 0].detach().requires_grad_()]
        torch.set_num_threads(1)
        for measured in (self.log_partition, self.gradient, self.shared_gradient, self.viterbi):
            measured(shape)

    def shared_gradient(self, shape: str) -> None:
        torch.autograd.grad(log_partition(*self.shared).sum(), self.shared)

    def log_partition(self, shape: str) -> None:
        log_partition(*self.terms)

    def gradient(self, shape: str) -> None:
        torch.autograd.grad(log_partition(*self.leaves).sum(), self.leaves)

    def viterbi(self, shape: str) -> None:
        viterbi(*self.terms)


class TimeSegments(Segments):
    """Seconds of its own time that one thread takes a call, the kernels loaded beforehand."""

    timer = staticmethod(process_time)
    rounds, repeat = bench_compiled.Time.rounds, bench_compiled.Time.repeat
    time_log_partition = Segments.log_partition
    time_gradient = Segments.gradient
    time_shared_gradient = Segments.shared_gradient
    time_viterbi = Segments.viterbi


class MemorySegments(Segments):
    """Peak memory of a process that does nothing else, PyTorch and the kernels included."""

    peakmem_log_partition = Segments.log_partition
    peakmem_gradient = Segments.gradient
    peakmem_viterbi = Segments.viterbi
