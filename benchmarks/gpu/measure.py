"""Milliseconds on the device's own clock, and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter
from typing import Any

import torch

from .contenders import Call


@dataclass(frozen=True)
class Spread:
    """Milliseconds: the median of some repeats, and their quartiles."""

    lower: float
    median: float
    upper: float
    repeats: int

    def __str__(self) -> str:
        return f"{self.median:.3g} ms ({self.lower:.3g} to {self.upper:.3g})"


def milliseconds(call: Call, device: torch.device, *, budget: float = 2.0, most: int = 20) -> Spread:
    """Time a call, once it is warm, for about so many seconds."""
    call()
    one = once(call, device)
    times = [once(call, device) for _ in range(max(3, min(most, int(budget / (one / 1e3)))))]
    lower, median, upper = quantiles(times, n=4, method="inclusive")
    return Spread(lower, median, upper, len(times))


def once(call: Call, device: torch.device) -> float:
    """Milliseconds of one call: CUDA events on a GPU, the host's clock where kernels are interpreted."""
    if device.type != "cuda":
        begun = perf_counter()
        call()
        return (perf_counter() - begun) * 1e3
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # PyTorch's
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def peak_bytes(call: Call, device: torch.device) -> int | None:
    """Bytes that a call adds to what is allocated, at its peak; None without a GPU."""
    if device.type != "cuda":
        return None
    call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before)


def environment(device: torch.device) -> dict[str, Any]:
    """The device and the versions."""
    import triton

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "interpreter"
    return {
        "device": name,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda,
    }
