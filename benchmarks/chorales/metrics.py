"""How good a segmentation is: frames right, and segments right to the position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from semicrf_spec import Segment, segments_to_labels

FIELDS = ("accuracy", "precision", "recall", "f1")


@dataclass(frozen=True)
class Counts:
    """What is counted; counts of several chorales add up."""

    positions: int = 0
    right_positions: int = 0
    true_segments: int = 0
    decoded_segments: int = 0
    right_segments: int = 0
    """Same start, same end and same label."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.positions + other.positions,
            self.right_positions + other.right_positions,
            self.true_segments + other.true_segments,
            self.decoded_segments + other.decoded_segments,
            self.right_segments + other.right_segments,
        )

    @property
    def accuracy(self) -> float:
        """Share of positions with the right label."""
        return _share(self.right_positions, self.positions)

    @property
    def precision(self) -> float:
        """Share of decoded segments that are true."""
        return _share(self.right_segments, self.decoded_segments)

    @property
    def recall(self) -> float:
        """Share of true segments that were decoded."""
        return _share(self.right_segments, self.true_segments)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _share(2 * self.right_segments, self.true_segments + self.decoded_segments)


def count(true: Sequence[Segment], decoded: Sequence[Segment]) -> Counts:
    """Counts of one chorale; both segmentations tile the same positions."""
    labels, guesses = segments_to_labels(true), segments_to_labels(decoded)
    return Counts(
        positions=len(labels),
        right_positions=sum(a == b for a, b in zip(labels, guesses, strict=True)),
        true_segments=len(true),
        decoded_segments=len(decoded),
        right_segments=len(set(true) & set(decoded)),
    )


def total(counts: Iterable[Counts]) -> Counts:
    """Counts of several chorales taken together."""
    return sum(counts, Counts())


def merge(segments: Iterable[Segment]) -> list[Segment]:
    """The same labels with equal neighbours made one, as the analysis has them."""
    merged: list[Segment] = []
    for segment in segments:
        if merged and merged[-1].label == segment.label:
            segment = Segment(merged.pop().start, segment.end, segment.label)
        merged.append(segment)
    return merged


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
