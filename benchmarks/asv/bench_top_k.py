"""Time and peak memory of the k best on the CPU: sorted lists in place of scores."""

from time import process_time

import torch

from semicrf_reference.compiled import top_k

from . import bench_compiled  # not its classes, which asv would take for this module's

SHAPES = tuple(shape for shape in bench_compiled.SHAPES if "T=100000" not in shape)


class Best:
    """The best and the ten best of the same sequences."""

    params = (SHAPES, (1, 10))
    param_names = ("shape", "k")

    def setup(self, shape: str, k: int) -> None:
        batch = bench_compiled.Batch()
        batch.setup(shape)
        self.terms = batch.terms
        torch.set_num_threads(1)
        self.top_k(shape, k)

    def top_k(self, shape: str, k: int) -> None:
        top_k(*self.terms, k=k)


class TimeBest(Best):
    """Seconds of its own time that one thread takes a call, the kernels loaded beforehand."""

    timer = staticmethod(process_time)
    rounds, repeat = bench_compiled.Time.rounds, bench_compiled.Time.repeat
    time_top_k = Best.top_k


class MemoryBest(Best):
    """Peak memory of a process that does nothing else, PyTorch and the kernels included."""

    peakmem_top_k = Best.top_k
