"""Segments, and their conversions to and from per-position labels and tags."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import index
from typing import NamedTuple, cast

UNKNOWN = -100
"""The label of a position whose label is not known."""


class Segment(NamedTuple):
    """Positions `start .. end - 1` bear `label`: half-open, in positions."""

    start: int
    end: int
    label: int

    @property
    def duration(self) -> int:
        """Number of positions."""
        return self.end - self.start


def check_segments(
    segments: Iterable[tuple[int, int, int]],
    length: int,
    *,
    num_classes: int | None = None,
    max_duration: int | None = None,
    sequence: int | str = 0,
) -> list[Segment]:
    """The segments, once they are known to tile `[0, length)`.

    Args:
        segments: `(start, end, label)` triples in order.
        length: positions in the sequence.
        num_classes: C, if labels are to be checked.
        max_duration: K, if durations are to be checked.
        sequence: its index, or what else it is to be called in errors.
    Raises: ValueError that names the sequence, the segment and what is wrong: a gap, an overlap,
        an empty segment, a label out of range or a duration over K.
    """
    checked: list[Segment] = []
    at = 0
    for number, triple in enumerate(segments):
        segment = _as_segment(triple, sequence, number)
        where = f"sequence {sequence}, segment {number} {tuple(segment)}"
        if segment.start != at:
            fault = "leaves a gap" if segment.start > at else "overlaps the one before it"
            raise ValueError(f"{where} {fault}: expected it to start at {at}, since ends are exclusive")
        if segment.end <= segment.start:
            raise ValueError(f"{where} is empty: expected end > start")
        if num_classes is not None and not 0 <= segment.label < num_classes:
            raise ValueError(f"{where} has a label out of range: expected 0 <= label < {num_classes}")
        if max_duration is not None and segment.duration > max_duration:
            raise ValueError(too_long(where, segment.duration, max_duration))
        checked.append(segment)
        at = segment.end
    if at != length:
        raise ValueError(
            f"sequence {sequence}: its {len(checked)} segments end at {at}; "
            f"expected them to tile all {length} positions"
        )
    return checked


def tiling(
    segments: Iterable[tuple[int, int, int]], *, num_classes: int | None = None, sequence: int = 0
) -> list[Segment]:
    """The segments, once they are known to tile the positions up to the last one's end."""
    given = list(segments)
    length = _as_segment(given[-1], sequence, len(given) - 1).end if given else 0
    return check_segments(given, length, num_classes=num_classes, sequence=sequence)


def too_long(where: str, duration: int, max_duration: int) -> str:
    """The message for a segment longer than K, with both remedies."""
    return (
        f"{where} lasts {duration} positions, longer than max_duration = {max_duration}: "
        "raise max_duration, or train with supervision='labels', which sums over every way "
        "of cutting a run"
    )


def _as_segment(triple: object, sequence: int | str, number: int) -> Segment:
    try:
        start, end, label = cast(tuple[int, int, int], triple)
        return Segment(index(start), index(end), index(label))
    except (TypeError, ValueError):
        hint = ". Labels by position go into a (B, T) tensor" if isinstance(triple, int) else ""
        raise ValueError(
            f"sequence {sequence}, segment {number} is {triple!r}; expected three integers "
            f"(start, end, label){hint}"
        ) from None


def segments_to_labels(segments: Iterable[tuple[int, int, int]]) -> list[int]:
    """The label of every position.

    Raises: ValueError naming the segment that leaves a gap, overlaps or is empty.
    """
    return [segment.label for segment in tiling(segments) for _ in range(segment.duration)]


def labels_to_segments(labels: Iterable[int]) -> list[Segment]:
    """One segment for every maximal run of one label.

    Equal neighbours merge: labels do not say where they are cut.
    """
    segments: list[Segment] = []
    for label, run in groupby(labels):
        start = segments[-1].end if segments else 0
        segments.append(Segment(start, start + len(list(run)), index(label)))
    return segments
