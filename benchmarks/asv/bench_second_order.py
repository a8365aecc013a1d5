"""Time and peak memory of the gradient of an entropy on the CPU: posteriors, and the second-order scan."""

from time import process_time

import torch

from semicrf_reference.compiled import entropy

from . import bench_compiled  # not its classes, which asv would take for this module's


class Entropy:
    """The same sequences as everywhere."""

    params = tuple(bench_compiled.SHAPES)
    param_names = ("shape",)

    def setup(self, shape: str) -> None:
        batch = bench_compiled.Batch()
        batch.setup(shape)
        self.leaves = batch.leaves
        torch.set_num_threads(1)
        self.gradient(shape)

    def gradient(self, shape: str) -> None:
        torch.autograd.grad(entropy(*self.leaves).sum(), self.leaves)


class TimeEntropy(Entropy):
    """Seconds of its own time that one thread takes a call, the kernels loaded beforehand."""

    timer = staticmethod(process_time)
    rounds, repeat = bench_compiled.Time.rounds, bench_compiled.Time.repeat
    time_gradient = Entropy.gradient


class MemoryEntropy(Entropy):
    """Peak memory of a process that does nothing else, PyTorch and the kernels included."""

    peakmem_gradient = Entropy.gradient
