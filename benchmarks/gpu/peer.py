"""flash-semicrf's times, in a process of its own: what takes too long is stopped, and said to."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from .contenders import Problem, Size
from .measure import Spread, milliseconds


def short(size: Size) -> int:
    """Positions of a problem that compiles the same kernels: what Triton specialises is a multiple of 16."""
    return min(size.time, 16 * math.ceil(max(2 * size.max_duration, 64) / 16) + size.time % 16)


def main() -> None:
    """Print a line of JSON when a call begins, and another with its time; the shortest first."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = [Size(*map(int, text.split(","))) for text in sys.argv[1:]]
    for size in sorted(sizes, key=lambda size: size.time):
        try:
            for call in Problem(size._replace(time=short(size)), device).theirs().values():
                call()  # compiles what the size needs
            for what, call in Problem(size, device).theirs().items():
                print(json.dumps([str(size), what, None]), flush=True)
                found = milliseconds(call, device, budget=0.5, most=5)
                print(json.dumps([str(size), what, vars(found)]), flush=True)
        except Exception as error:  # whatever it is, the others are still to be measured
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            print(json.dumps([str(size), "error", said[:200]]), flush=True)


def peers(sizes: Sequence[Size], seconds: float) -> dict[str, dict[str, Any]]:
    """For each size what was measured within so many seconds, and a remark on what was not."""
    told = [",".join(map(str, size)) for size in sizes]
    command = [sys.executable, "-m", "benchmarks.gpu.peer", *told]
    torch.cuda.empty_cache()
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=output) as process:
            try:
                ended = f"the process ended with {process.wait(seconds)}"
            except subprocess.TimeoutExpired:
                process.kill()
                ended = f"stopped when {seconds:.0f} s for all sizes were up"
        output.seek(0)
        return collected(sizes, map(json.loads, output), ended)


def collected(sizes: Iterable[Size], lines: Iterable[list[Any]], ended: str) -> dict[str, dict[str, Any]]:
    """What a process had to say until it ended in some way."""
    found: dict[str, dict[str, Any]] = {str(size): {"flash": f"not reached: {ended}"} for size in sizes}
    for size, what, said in lines:
        row = found[size]
        if what == "error":
            row["flash"] = said
        elif said is None:
            row["flash"] = f"{what}: {ended}"
        else:
            row[f"flash {what}"], row["flash"] = Spread(**said), ""
    return found


if __name__ == "__main__":
    main()
