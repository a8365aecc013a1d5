"""What a run leaves: tables on the terminal, the segments as CSV, the numbers as JSON."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import torch
from rich.table import Table

from semicrf_spec import Segment

from . import metrics
from .data import GRID, Chorale
from .labels import chord_name
from .training import METHODS, SEMI_CRF, Settings, Split

HEADINGS = {
    "accuracy": "frames right",
    "precision": "segment precision",
    "recall": "segment recall",
    "f1": "segment F1",
}
PACKAGES = (
    *("semicrf-spec", "semicrf-reference", "semicrf-triton", "semicrf-nn"),
    *("torch", "numpy", "numba", "music21", "matplotlib"),
)


def describe(chorales: Sequence[Chorale]) -> dict[str, int]:
    """The data in numbers; durations in positions."""
    segments = [s for chorale in chorales for s in chorale.segments]
    durations = [segment.duration for segment in segments]
    median, p95, longest = np.percentile(durations, (50, 95, 100))
    return {
        "chorales": len(chorales),
        "positions": sum(durations),
        "segments": len(segments),
        "labels": len({segment.label for segment in segments}),
        "median_duration": int(median),
        "p95_duration": int(p95),
        "longest_duration": int(longest),
    }


def values(splits: Sequence[Split], method: str, metric: str) -> list[float]:
    """A metric of a method on every split."""
    return [float(getattr(split.counts[method], metric)) for split in splits]


def losses(splits: Sequence[Split]) -> list[str]:
    """Every comparison that the semi-CRF does not win, in words; none if it wins them all."""
    return [
        f"{HEADINGS[metric]}: {SEMI_CRF} {_percent(own)}, {method} {_percent(theirs)}"
        for method in METHODS[1:]
        for metric in ("accuracy", "f1")
        if (own := fmean(values(splits, SEMI_CRF, metric)))
        <= (theirs := fmean(values(splits, method, metric)))
    ]


def comparison_table(splits: Sequence[Split]) -> Table:
    """Every method: mean and standard deviation over splits, and the range."""
    table = Table(title=f"{len(splits)} splits, held-out chorales, in %: mean ± std, range")
    table.add_column()
    for heading in HEADINGS.values():
        table.add_column(heading, justify="right")
    for method in METHODS:
        cells = [_spread(values(splits, method, metric)) for metric in HEADINGS]
        table.add_row(method, *cells, style="bold" if method == SEMI_CRF else "")
    return table


def margin_table(splits: Sequence[Split]) -> Table:
    """The semi-CRF less each baseline, on the same chorales."""
    table = Table(title="semi-CRF less baseline, split by split, in points: mean ± std, range")
    table.add_column()
    for metric in ("accuracy", "f1"):
        table.add_column(HEADINGS[metric], justify="right")
        table.add_column("splits won", justify="right")
    for method in METHODS[1:]:
        cells = []
        for metric in ("accuracy", "f1"):
            own, theirs = values(splits, SEMI_CRF, metric), values(splits, method, metric)
            margins = [a - b for a, b in zip(own, theirs, strict=True)]
            cells += [_spread(margins, "+"), f"{sum(m > 0 for m in margins)} of {len(margins)}"]
        table.add_row(method, *cells)
    return table


def segment_table(
    chorale: Chorale, decoded: Sequence[Segment], boundaries: Sequence[float], rows: int = 12
) -> Table:
    """The first decoded segments of one chorale beside the analysis."""
    table = Table(title=f"{chorale.title}, the first {rows} segments")
    for heading in ("from beat", "beats", "decoded", "analysis", "P(boundary)"):
        table.add_column(heading, justify="right")
    true = chorale.segments
    for segment in decoded[:rows]:
        chords = [
            chord_name(other.label)
            for other in true
            if other.start < segment.end and other.end > segment.start
        ]
        table.add_row(
            f"{segment.start / GRID:g}",
            f"{segment.duration / GRID:g}",
            chord_name(segment.label),
            " ".join(chords),
            f"{boundaries[segment.start]:.2f}",
            style="" if segment in true else "red",
        )
    return table


def write_segments(path: Path, splits: Sequence[Split]) -> None:
    """Every segment of every chorale, of the analysis and of the semi-CRF that never saw it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=next(_rows(splits)))
        writer.writeheader()
        writer.writerows(_rows(splits))


def _rows(splits: Sequence[Split]) -> Iterator[dict[str, object]]:
    for split in splits:
        for chorale in split.held_out:
            true, decoded = chorale.segments, split.decoded[chorale.number]
            for source, segments, others in (("analysis", true, decoded), ("decoded", decoded, true)):
                for segment in segments:
                    yield {
                        "riemenschneider": chorale.number,
                        "bwv": chorale.bwv,
                        "source": source,
                        "start": segment.start,
                        "end": segment.end,
                        "beat": segment.start / GRID,
                        "beats": segment.duration / GRID,
                        "chord": chord_name(segment.label),
                        "in_both": int(segment in others),
                        "boundary_probability": f"{split.boundaries[chorale.number][segment.start]:.4f}",
                    }


def write_results(
    path: Path,
    splits: Sequence[Split],
    data: dict[str, int],
    settings: Settings,
    seed: int,
    seconds: float,
) -> None:
    """Everything measured, and what it was measured on."""
    results = {
        "data": data,
        "settings": asdict(settings) | {"seed": seed, "folds": len(splits)},
        "seconds": round(seconds, 1),
        "versions": {"python": platform.python_version()} | _versions(),
        "machine": {
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
        },
        "methods": {
            method: {metric: _summary(values(splits, method, metric)) for metric in metrics.FIELDS}
            for method in METHODS
        },
        "splits": [
            {
                "held_out": [chorale.number for chorale in split.held_out],
                "counts": {method: asdict(counts) for method, counts in split.counts.items()},
            }
            for split in splits
        ],
    }
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _summary(numbers: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": fmean(numbers),
        "std": pstdev(numbers),
        "min": min(numbers),
        "max": max(numbers),
    }


def _spread(numbers: Sequence[float], sign: str = "") -> str:
    mean, low, high = (f"{100 * x:{sign}.1f}" for x in (fmean(numbers), min(numbers), max(numbers)))
    return f"{mean} ± {100 * pstdev(numbers):.1f}\n{low} to {high}"


def _percent(number: float) -> str:
    return f"{100 * number:.2f} %"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "from source"
    return found
