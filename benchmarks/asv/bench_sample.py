"""Time and peak memory of samples on the CPU: one scan, and walks."""

from time import process_time

import torch

from semicrf_reference.compiled import sample

from . import bench_compiled  # not its classes, which asv would take for this module's


class Samples:
    """Samples of the same sequences, one and sixteen for each."""

    params = (tuple(bench_compiled.SHAPES), (1, 16))
    param_names = ("shape", "n")

    def setup(self, shape: str, n: int) -> None:
        batch = bench_compiled.Batch()
        batch.setup(shape)
        self.terms = batch.terms
        torch.set_num_threads(1)
        self.sample(shape, n)

    def sample(self, shape: str, n: int) -> None:
        sample(*self.terms, n=n, generator=torch.Generator().manual_seed(0))


class TimeSamples(Samples):
    """Seconds of its own time that one thread takes a call, the kernels loaded beforehand."""

    timer = staticmethod(process_time)
    rounds, repeat = bench_compiled.Time.rounds, bench_compiled.Time.repeat
    time_sample = Samples.sample


class MemorySamples(Samples):
    """Peak memory of a process that does nothing else, PyTorch and the kernels included."""

    peakmem_sample = Samples.sample
