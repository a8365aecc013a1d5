"""Measure speed and memory beside other libraries, and alone."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console

from . import against, alone, machine, memory, report
from .timing import QUICK, Effort

TABLES: dict[str, Callable[[Effort], report.Table]] = {
    "peers": against.table,
    "gradients": alone.gradients,
    "threads": alone.threads,
    "positions": alone.positions,
    "durations": alone.durations,
    "products": alone.products,
    "memory": memory.table,
}
PACKAGES = ("flash-semicrf", "torch-struct", "pytorch-crf")
RESULTS = Path(__file__).parents[1] / "results"
BUSY = 0.5
"""Load above which others take a part of the machine that shows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 once everything has been measured, whether or not it is as wanted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = _options(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    effort = QUICK if options.quick else Effort(seconds=options.seconds)
    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    begun = time.perf_counter()

    command = ["nox", "-s", "peers", *(["--", *arguments] if arguments else [])]
    run = machine.describe(shlex.join(command), *PACKAGES)
    if machine.load() > BUSY:
        console.print(
            f"[red]The machine is busy (load {machine.load():.1f}): distrust times on several threads"
        )
    tables = []
    for name in options.only or TABLES:
        console.print(f"measuring {name}", style="dim")
        tables.append(TABLES[name](effort))
        console.print(tables[-1].rich())

    misses = sum(row.verdict == "MISS" for table in tables for row in table.rows)
    console.print(f"{misses} missed; {time.perf_counter() - begun:.0f} s in all")
    for path in report.write(options.output / "peers", "Beside other libraries, and alone", run, tables):
        console.print(f"wrote {path}", soft_wrap=True)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("nox -s peers --", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small sizes, once each")
    parser.add_argument("--only", nargs="+", choices=TABLES, help="these tables")
    parser.add_argument("--seconds", type=float, default=Effort.seconds, help="for each comparison, about")
    parser.add_argument(
        "--threads", type=int, help="PyTorch's threads, for all; as many as it takes if missing"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=RESULTS / machine.folder_name(),
        help="where peers.md and peers.json go",
    )
    options = parser.parse_args(arguments)
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads is {options.threads}; expected at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
