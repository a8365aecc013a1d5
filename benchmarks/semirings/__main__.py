"""Measure time and memory of the algorithms over edge tensors, and look for bands in their matrices."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.peers import machine, report
from benchmarks.peers.timing import QUICK, Effort

from . import algorithms, bands

TABLES: dict[str, Callable[[Effort], report.Table]] = {
    "time": algorithms.time,
    "memory": algorithms.memory,
    "semirings-time": algorithms.semirings_time,
    "semirings-memory": algorithms.semirings_memory,
    "bands": bands.table,
}
RESULTS = Path(__file__).parents[1] / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 once everything has been measured, whether or not it is as wanted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = _options(arguments)
    torch.set_num_threads(1)  # the tensors are small
    effort = QUICK if options.quick else Effort(seconds=options.seconds)
    console = Console() if Console().is_terminal else Console(width=150)
    begun = time.perf_counter()
    run = machine.describe(shlex.join(["python", "-m", "benchmarks.semirings", *arguments]))
    tables = []
    for name in options.only or TABLES:
        console.print(f"measuring {name}", style="dim")
        tables.append(TABLES[name](effort))
        console.print(tables[-1].rich())
    misses = sum(row.verdict == "MISS" for table in tables for row in table.rows)
    console.print(f"{misses} missed; {time.perf_counter() - begun:.0f} s in all")
    for path in report.write(options.output / "semirings", "Semirings over edge tensors", run, tables):
        console.print(f"wrote {path}", soft_wrap=True)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.semirings", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small size, once each")
    parser.add_argument("--only", nargs="+", choices=TABLES, help="these tables")
    parser.add_argument("--seconds", type=float, default=Effort.seconds, help="for each size, about")
    parser.add_argument(
        "--output",
        type=Path,
        default=RESULTS / machine.folder_name(),
        help="where semirings.md and semirings.json go",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
