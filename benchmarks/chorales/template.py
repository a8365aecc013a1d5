"""The baseline that learns nothing: every position takes the triad that fits its notes best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semicrf_spec import Segment, labels_to_segments

from .data import Chorale
from .labels import QUALITIES, ROOTS

TRIADS = {"major": (0, 4, 7), "minor": (0, 3, 7), "diminished": (0, 3, 6)}


def decode(chorale: Chorale, *, weigh: bool = True) -> list[Segment]:
    """Runs of the best triad.

    A triad scores a point for every sounding note in it and loses one for every note outside.

    Args:
        chorale: the notes; its labels are not looked at.
        weigh: count every voice, and let the root decide a tie. Otherwise a pitch class counts
            once, and the lowest pitch class wins a tie.
    """
    notes = sounding(chorale)
    if not weigh:
        notes = np.minimum(notes, 1)
    scores = np.full((chorale.length, len(ROOTS), len(QUALITIES)), -np.inf)
    for quality, triad in TRIADS.items():
        weights = np.full(12, -1.0)
        weights[list(triad)] = 1.0
        weights[0] += 0.1 * weigh
        for root in range(12):
            scores[:, root, QUALITIES.index(quality)] = notes @ np.roll(weights, root)
    return labels_to_segments(scores.reshape(chorale.length, -1).argmax(axis=1).tolist())


def sounding(chorale: Chorale) -> NDArray[np.float64]:
    """`(T, 12)` how many voices sound each pitch class."""
    pitches = chorale.pitches[:, :, None]
    same = (pitches % 12 == np.arange(12)) & (pitches >= 0)
    voices: NDArray[np.float64] = same.sum(axis=0, dtype=np.float64)
    return voices
