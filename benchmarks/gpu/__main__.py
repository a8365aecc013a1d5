"""On a machine with a GPU: times, memory, parity at full size, and a page of results.

Needs torch, triton, numpy and pytest, and what the packages in packages/*/src import.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .process import ROOT, SOURCES

if TYPE_CHECKING:
    from .contenders import Size
    from .measure import Spread

NEEDED = ("torch", "triton", "numpy", "array-api-compat")
"""What is imported at all; the tests need more, and say so."""


def arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, help="where to write; benchmarks/results/<gpu> if missing")
    parser.add_argument("--seconds", type=float, default=450.0, help="for everything")
    parser.add_argument("--peers", type=float, default=80.0, help="of them kept for flash-semicrf; 0: none")
    parser.add_argument("--parity", type=float, default=180.0, help="of them kept for the tests; 0: none")
    return parser, parser.parse_args()


def main() -> int:
    """Run everything and write it down as it becomes known; 1 if a test failed, or none could run."""
    begun = time.monotonic()
    parser, chosen = arguments()
    sys.path[:0] = SOURCES
    missing = [name for name in NEEDED if not find_spec(name.replace("-", "_"))]
    if missing:
        parser.error(f"not installed: pip install {' '.join(missing)}, or put their wheels on PYTHONPATH")
    import torch

    if not torch.cuda.is_available() and not chosen.smoke:
        parser.error("no GPU is there; --smoke runs tiny sizes in the interpreter, with TRITON_INTERPRET=1")
    from .contenders import SIZES, SMOKE, THEIRS, asked
    from .measure import environment
    from .page import page, write
    from .parity import parity
    from .timing import compile_all, times

    sizes = SMOKE if chosen.smoke else SIZES
    there = find_spec("flash_semicrf") is not None
    result: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
        **environment(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "flash-semicrf": "installed" if there else "not installed",
    }
    named = re.sub(r"[^A-Za-z0-9.]+", "-", result["device"])
    folder = (chosen.out or ROOT / "benchmarks" / "results" / named).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows = {size: {"size": str(size), "bytes of emissions": size.bytes_of_emissions} for size in sizes}

    def heard(size: Size, what: str, said: Spread | str) -> None:
        rows[size][what] = said
        print(f"{size}: {what} {said}", flush=True)
        write(folder, result, list(rows.values()))

    # what a part leaves of its time is that of the next
    kept_for_tests = begun + chosen.seconds - chosen.parity
    kept_for_peers = kept_for_tests - chosen.peers
    compile_all(sizes, (time.monotonic() + kept_for_peers) / 2)
    ours = [(size, what) for size in sizes for what in asked(size)]
    times(ours, kept_for_peers, heard, share=1 / 3)  # several that hang leave some time for the others
    if chosen.peers > 0.0 and there:
        shortest_first = sorted(sizes, key=lambda size: size.time)
        times([(size, what) for size in shortest_first for what in THEIRS], kept_for_tests, heard)
    well = True
    if chosen.parity > 0.0:
        well, result["parity"] = parity(folder / "parity.txt", begun + chosen.seconds - time.monotonic())
        write(folder, result, list(rows.values()))
    print(page(result, list(rows.values())))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
