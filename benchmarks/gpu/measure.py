"""Milliseconds on the device's own clock, and bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import quantiles
from time import perf_counter
from typing import Any

import torch

from .contenders import Call

SLOW = 3000.0
"""Milliseconds from which on a call is timed once: nothing that is warmed up would show in it."""


@dataclass(frozen=True)
class Spread:
    """Milliseconds: the median of some repeats, and their quartiles."""

    lower: float
    median: float
    upper: float
    repeats: int
    added: int | None = None  # bytes to what was allocated, at their peak; None if they are not known

    def __str__(self) -> str:
        spread = f" ({self.lower:.3g} to {self.upper:.3g})" if self.repeats > 1 else " (once)"
        return f"{self.median:.3g} ms{spread}"


def milliseconds(call: Call, device: torch.device, *, budget: float = 0.5, most: int = 20) -> Spread:
    """Time a call for about so many seconds; its kernels are compiled, or it takes longer than that."""
    first = once(call, device)
    if first > SLOW:
        return Spread(first, first, first, 1)
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


def measured(call: Call, device: torch.device) -> Spread:
    """Its time, and on a GPU the bytes that it adds."""
    if device.type != "cuda":
        return milliseconds(call, device)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    spread = milliseconds(call, device)
    return replace(spread, added=int(torch.cuda.max_memory_allocated() - before))


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
