"""A picture of one chorale: its notes, true and decoded chords, and where the model sees boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.patches import Rectangle

from semicrf_spec import Segment

from .data import GRID, Chorale
from .labels import QUALITIES, ROOTS, chord_name

matplotlib.use("Agg")
import matplotlib.pyplot as plt

POSITIONS_PER_ROW = 64
INK, RIGHT, WRONG, CURVE = "#222222", "#2a7f62", "#c8442f", "#2f5d8a"


def draw(path: Path, chorale: Chorale, decoded: Sequence[Segment], boundaries: Sequence[float]) -> None:
    """Write a PNG, in rows like the systems of a score."""
    true = chorale.segments
    rows = -(-chorale.length // POSITIONS_PER_ROW)
    figure, axes = plt.subplots(
        2 * rows,
        1,
        figsize=(16, 3.4 * rows),
        height_ratios=[3, 1.6] * rows,
        layout="constrained",
        squeeze=False,
    )
    figure.suptitle(
        f"{chorale.title} (BWV {chorale.bwv}, Riemenschneider {chorale.number}), held out: "
        "notes, chords of the analysis, chords decoded, posterior of a boundary",
        fontsize=13,
    )
    for row in range(rows):
        window = (row * POSITIONS_PER_ROW, (row + 1) * POSITIONS_PER_ROW)
        upper, lower = axes[2 * row, 0], axes[2 * row + 1, 0]
        _notes_and_chords(upper, chorale, true, decoded, window)
        _posterior(lower, chorale, true, boundaries, window)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _notes_and_chords(
    axis: Any,
    chorale: Chorale,
    true: Sequence[Segment],
    decoded: Sequence[Segment],
    window: tuple[int, int],
) -> None:
    low, high = chorale.pitches[chorale.pitches >= 0].min(), chorale.pitches.max()
    for voice, onsets in zip(chorale.pitches, chorale.onsets, strict=True):
        edges = np.flatnonzero(onsets | np.r_[True, voice[1:] != voice[:-1]]).tolist()
        for start, end in zip(edges, [*edges[1:], chorale.length], strict=True):
            if voice[start] >= 0 and start < window[1] and end > window[0]:
                axis.plot((start + 0.15, end - 0.15), [voice[start]] * 2, color="#888888", linewidth=3)
    for base, segments, against in ((low - 9, true, decoded), (low - 16, decoded, true)):
        for segment in segments:
            if segment.start < window[1] and segment.end > window[0]:
                _block(axis, segment, base, segment in against)
    axis.set_ylim(low - 17, high + 2)
    axis.set_yticks([low - 6, low - 13], ["analysis", "decoded"])
    _bar_lines(axis, chorale, window)
    axis.set_xticklabels([])


def _block(axis: Any, segment: Segment, base: float, right: bool) -> None:
    root, quality = divmod(segment.label, len(QUALITIES))
    axis.add_patch(
        Rectangle(
            (segment.start, base),
            segment.duration,
            6,
            facecolor=plt.get_cmap("hsv")(root * 7 % 12 / len(ROOTS)),  # neighbours by fifths
            alpha=0.35 if quality == 0 else 0.18,
        )
    )
    axis.add_patch(
        Rectangle(
            (segment.start, base),
            segment.duration,
            6,
            fill=False,
            edgecolor=INK if right else WRONG,
            linewidth=0.8 if right else 2.2,
        )
    )
    axis.text(
        segment.start + segment.duration / 2,
        base + 3,
        chord_name(segment.label),
        ha="center",
        va="center",
        fontsize=9 if segment.duration > 2 else 7,
        color=INK if right else WRONG,
        clip_on=True,
    )


def _posterior(
    axis: Any,
    chorale: Chorale,
    true: Sequence[Segment],
    boundaries: Sequence[float],
    window: tuple[int, int],
) -> None:
    at = np.arange(chorale.length)
    axis.vlines([start for start, _, _ in true], 0, 1, color=RIGHT, linewidth=5, alpha=0.3)
    axis.vlines(at, 0, boundaries, color=CURVE, linewidth=1.6)
    axis.plot(at, boundaries, "o", color=CURVE, markersize=3)
    axis.set_ylim(0, 1.05)
    axis.set_yticks([0, 1])
    axis.set_ylabel("P(boundary)", fontsize=8)
    _bar_lines(axis, chorale, window)


def _bar_lines(axis: Any, chorale: Chorale, window: tuple[int, int]) -> None:
    for bar in np.flatnonzero(chorale.metre == 0):
        axis.axvline(bar, color="#bbbbbb", linewidth=0.8, zorder=0)
    axis.set_xlim(window)
    beats = range(window[0], min(window[1], chorale.length) + 1, GRID)
    axis.set_xticks(list(beats), [str(beat // GRID) for beat in beats], fontsize=7)
    axis.spines[["top", "right"]].set_visible(False)
