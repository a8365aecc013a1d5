"""Other blocks than the kernels' own, timed; what `launch/blocks.py` is chosen by."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from semicrf_spec import Potentials
from semicrf_triton.kernels.posteriors import duration_kernel
from semicrf_triton.launch.blocks import BLOCKS, Blocks, Share, Tile
from semicrf_triton.launch.posteriors import counted, durations_by
from semicrf_triton.launch.scan import scan
from semicrf_triton.launch.terms import prepared
from semicrf_triton.launch.viterbi import viterbi

from .contenders import Problem, Size
from .measure import milliseconds
from .process import ROOT, beside, inherited

CLASSES = {16: 6, 32: 24, 64: 39}
"""Labels that are tried, by what they are filled up to."""
TILES = [Tile(*sides, warps) for sides in ((8, 4), (8, 8), (16, 8), (16, 16)) for warps in (4, 8)]
SPANS = (128, 512, 1024)
SHARES = (
    (Share(1, 3), Share(4, 4)),
    (Share(2, 1), Share(4, 1)),
    (Share(2, 3), Share(8, 3)),
    (Share(2, 4), Share(4, 4)),
)
SIZES = ((2, 4000, 100), (2, 4000, 1), (1, 4000, 1000), (64, 500, 100))
"""B, T and K."""


def alternatives(own: Blocks) -> Iterator[Blocks]:
    """The blocks as they are, other tiles and spans of scans, and other shares of posteriors."""
    yield own
    yield from (own._replace(scan=tile, best=tile) for tile in TILES)
    yield from (own._replace(span=span) for span in SPANS)
    yield from (own._replace(boundaries=ends, lasting=lasting) for ends, lasting in SHARES)


def calls(blocks: Blocks, size: Size, device: torch.device) -> dict[str, Callable[[], Any]]:
    """A scan, Viterbi, and the two wide kernels of posteriors, in these blocks."""
    given = prepared(Potentials(*Problem(size, device).terms))
    scanned = scan(given, 2, keep=True, blocks=blocks)
    counts = counted(scanned, False)
    return {
        "scan": lambda: scan(given, 1, blocks=blocks),
        "viterbi": lambda: viterbi(given, blocks=blocks),
        "boundaries": lambda: counted(scanned, False),
        "durations": lambda: durations_by(duration_kernel, scanned, blocks.lasting, counts),
    }


def compile_for(blocks: Blocks) -> None:
    """Compile what is timed of these blocks; blocks that do not compile say so where they are timed."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        for call in calls(blocks, Size(1, 10, 3, CLASSES[blocks.classes]), device).values():
            call()
    except Exception as error:  # whatever it is, it is met again where they are timed
        print(f"{blocks}: {type(error).__name__}", flush=True)


def main() -> None:
    """Compile all of them beside one another, then time one after the other: microseconds a position."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tried = [blocks for own in BLOCKS if own.classes in CLASSES for blocks in alternatives(own)]
    sizes = SIZES
    if "--compile" in sys.argv:
        return compile_for(tried[int(sys.argv[-1])])
    if "--smoke" in sys.argv:
        tried, sizes = tried[:1], ((1, 10, 3),)
    command = [sys.executable, "-m", "benchmarks.gpu.sweep", "--compile"]
    beside(partial(subprocess.run, [*command, str(i)], cwd=ROOT, env=inherited()) for i in range(len(tried)))
    for blocks in tried:
        print(blocks)
        for batch, time, max_duration in sizes:
            size = Size(batch, time, max_duration, CLASSES[blocks.classes])
            try:
                found = {
                    what: milliseconds(call, device, budget=0.1, most=5).median / time * 1e3
                    for what, call in calls(blocks, size, device).items()
                }
            except Exception as error:  # too little of something, say: the others are still to be tried
                print(f"    {size}: {type(error).__name__}", flush=True)
                continue
            print(f"    {size}:", ", ".join(f"{what} {us:.3g} us" for what, us in found.items()), flush=True)
    return None


if __name__ == "__main__":
    main()
