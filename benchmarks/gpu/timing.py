"""Calls timed in a process of its own, one after the other; another one goes on where it ends too early."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .contenders import Job, Problem, Size, asked
from .measure import Spread, measured
from .process import beside, follow, tell

Heard = Callable[[Size, str, Spread | str], None]
"""Takes a size, what was called, and its time or why there is none."""


def short(size: Size) -> Size:
    """Fewer positions that compile the same kernels, those of long segments too."""
    return size._replace(time=min(size.time, max(2 * size.max_duration, 64)))


def timed(size: Size, what: str, device: torch.device) -> Spread:
    """The time of a call that has been compiled, and its memory."""
    Problem(short(size), device).call(what)()
    return measured(Problem(size, device).call(what), device)


def work(path: Path, jobs: Iterable[Job], device: torch.device) -> None:
    """Tell null when a call begins, and then its time, or its error.

    Raises: what synchronising does, once the device itself has failed: all that follows here would fail, too.
    """
    for size, what in jobs:
        tell(path, None)
        try:
            tell(path, timed(Size(*size), what, device))
        except Exception as error:  # whatever it is, the others are still to be timed
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            tell(path, said[:200].replace("|", "/"))
            if device.type == "cuda":
                torch.cuda.synchronize()


def times(
    jobs: Iterable[Job], until: float, heard: Heard, *, share: float = 1.0, module: str = __name__
) -> None:
    """Time calls, and say of each what it took, or why that is not known.

    A process for each would cost its start, some 6 s with a context on the device; so one takes them all, and
    where it fails, hangs or is killed, that costs one call and the start of another process for the others.

    Args:
        jobs: sizes, and what to call.
        until: when to stop, by `time.monotonic`.
        heard: told of each.
        share: of the time that is left, how much a call may take.
        module: what the processes run.
    """
    left: list[Job] = list(jobs)
    running: Job | None = None
    ended = "no time was left"

    def listen(said: Any) -> None:
        nonlocal running
        if said is None:
            running = left.pop(0)
        elif running is not None:
            job, running = running, None
            heard(*job, said if isinstance(said, str) else Spread(**said))

    def allowed() -> float:  # to begin, a process may take all the time
        return (until - time.monotonic()) * (1.0 if running is None else share)

    while left and time.monotonic() < until:
        before = len(left)
        ended = follow(module, json.dumps(left), listen, allowed)
        if running is not None:
            heard(*running, ended)
            running = None
        if len(left) == before:  # nothing was begun, nor would it be by another
            break
    for job in left:
        heard(*job, f"not reached: {ended}")


def compile_all(sizes: Sequence[Size], until: float) -> None:
    """Compile what is timed of ours at these sizes, many at once; it is found again in Triton's cache.

    Each in a process of its own: one that fails, hangs or is killed leaves the others alone.
    """
    jobs = dict.fromkeys((Size(1, 2, 2, size.classes), what) for size in sizes for what in asked(size))
    beside(partial(times, [job], until, unless_timed) for job in jobs if job[1] != "copy")


def unless_timed(size: Size, what: str, said: Spread | str) -> None:
    """Print why something was not compiled; it may be again where it is timed."""
    if isinstance(said, str):
        print(f"{what} of {size.classes} labels is not compiled: {said}", flush=True)


def main() -> None:
    """Tell in a file, the first argument, what jobs take, the second."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    work(Path(sys.argv[1]), json.loads(sys.argv[2]), device)


if __name__ == "__main__":
    main()
