"""Chord labels: a root (one of 12 pitch classes) and a quality, as one integer."""

from __future__ import annotations

ROOTS = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
QUALITIES = ("major", "minor", "diminished", "augmented", "other")
NUM_LABELS = len(ROOTS) * len(QUALITIES)

_SUFFIXES = ("", "m", "°", "+", "?")


def chord_label(root: int, quality: str) -> int:
    """The label of a root (pitch class, C is 0) and a quality."""
    return root % len(ROOTS) * len(QUALITIES) + QUALITIES.index(quality)


def chord_name(label: int) -> str:
    """A short name: `C`, `F♯m`, `B°`."""
    root, quality = divmod(label, len(QUALITIES))
    return ROOTS[root] + _SUFFIXES[quality]
