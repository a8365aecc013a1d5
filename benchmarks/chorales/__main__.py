"""Train, evaluate and draw chord segmentation of Bach chorales."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import metrics, picture, report
from .data import NUMBERS, Chorale, load
from .training import Settings, Split, cross_validate


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the semi-CRF beats every baseline on held-out frames and on segment F1, else 1."""
    options = _options(arguments)
    torch.set_num_threads(1)  # the tensors are small: threads would wait for one another
    settings = replace(Settings(), epochs=options.epochs)
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    begun = time.perf_counter()

    with _progress(console) as progress:
        task = progress.add_task("reading scores and analyses", total=len(NUMBERS))
        chorales = load(progress=lambda number: progress.advance(task))
    data = report.describe(chorales)
    console.print(
        "{chorales} chorales, {positions} sixteenths, {segments} chords of {labels} kinds, "
        "{median_duration}/{p95_duration}/{longest_duration} sixteenths long "
        "(median/95 %/longest)".format(**data)
    )

    with _progress(console) as progress:
        task = progress.add_task("training", total=2 * options.folds * settings.epochs)
        splits = list(
            cross_validate(chorales, options.folds, settings, options.seed, lambda: progress.advance(task))
        )
    seconds = time.perf_counter() - begun

    split, chorale = _typical(splits)
    decoded, boundaries = split.decoded[chorale.number], split.boundaries[chorale.number]
    paths = [options.out / name for name in ("picture.png", "segments.csv", "results.json")]
    picture.draw(paths[0], chorale, decoded, boundaries)
    report.write_segments(paths[1], splits)
    report.write_results(paths[2], splits, data, settings, options.seed, seconds)

    console.print(report.segment_table(chorale, decoded, boundaries))
    console.print(report.comparison_table(splits))
    console.print(report.margin_table(splits))
    for path in paths:
        console.print(f"wrote {path}", soft_wrap=True)
    console.print(f"{time.perf_counter() - begun:.0f} s in all")
    lost = report.losses(splits)
    for comparison in lost:
        console.print(f"[red]The semi-CRF does not win on {comparison}")
    if not lost:
        console.print("The semi-CRF beats every baseline on held-out frames and on segment F1.")
    return 1 if lost else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.chorales", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="where to write")
    parser.add_argument("--folds", type=int, default=5, help="splits of the cross-validation")
    parser.add_argument("--epochs", type=int, default=Settings.epochs)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if not 2 <= options.folds <= len(NUMBERS):
        parser.error(f"--folds is {options.folds}; expected 2 to {len(NUMBERS)}, one per chorale")
    if options.epochs < 1:
        parser.error(f"--epochs is {options.epochs}; expected at least 1")
    return options


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _typical(splits: Sequence[Split]) -> tuple[Split, Chorale]:
    """The chorale of median segment F1, so that the picture flatters nobody."""
    scored = sorted(
        (metrics.count(chorale.segments, split.decoded[chorale.number]).f1, i, chorale.number)
        for i, split in enumerate(splits)
        for chorale in split.held_out
    )
    _, i, number = scored[len(scored) // 2]
    return splits[i], next(c for c in splits[i].held_out if c.number == number)


if __name__ == "__main__":
    sys.exit(main())
