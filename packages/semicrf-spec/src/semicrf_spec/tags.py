"""BIO and BIOES tags, and the segments they spell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from semicrf_spec.segments import Segment, tiling

Scheme = Literal["BIO", "BIOES"]

OUTSIDE = "O"
"""The tag, and the class name, of what belongs to no named segment."""


def segments_to_tags(
    segments: Iterable[tuple[int, int, int]], names: Sequence[str], scheme: Scheme = "BIO"
) -> list[str]:
    """The tag of every position.

    Args:
        segments: segments that tile the sequence.
        names: the name of every label; the one called `O`, if any, is tagged `O` throughout.
        scheme: `"BIO"`, or `"BIOES"`, which also marks last (E) and single (S) positions.
    Raises: ValueError naming the segment that leaves a gap, overlaps, is empty or has no name, or the scheme.
    """
    if scheme not in get_args(Scheme):
        raise ValueError(f"scheme is {scheme!r}; expected one of {get_args(Scheme)}")
    tiled = tiling(segments, num_classes=len(names))
    return [tag for segment in tiled for tag in _spell(names[segment.label], segment, scheme)]


def _spell(name: str, segment: Segment, scheme: Scheme) -> list[str]:
    if name == OUTSIDE:
        return [OUTSIDE] * segment.duration
    prefixes = ["B"] + ["I"] * (segment.duration - 1)
    if scheme == "BIOES":
        prefixes[-1] = "E" if segment.duration > 1 else "S"
    return [f"{prefix}-{name}" for prefix in prefixes]


def tags_to_segments(tags: Sequence[str], names: Sequence[str], scheme: Scheme = "BIO") -> list[Segment]:
    """The segments that the tags spell; every run of `O` is one segment.

    Raises: ValueError that names the first position whose tag is unknown or cannot follow the one
        before it (an `I-X` that continues no `X`, an `S-X` that goes on).
    """
    label_of = {name: label for label, name in enumerate(names)}
    segments: list[Segment] = []
    previous: tuple[str, str | None] = ("", None)
    for position, tag in enumerate(tags):
        prefix, _, name = tag.partition("-") if tag != OUTSIDE else ("", "", OUTSIDE)
        if not (prefix and name) and tag != OUTSIDE:
            raise ValueError(
                f"tag {tag!r} at position {position}; expected {OUTSIDE!r} or a tag like 'B-name'"
            )
        if name not in label_of:
            raise ValueError(f"tag {tag!r} at position {position}: no class is named {name!r}")
        fresh = name != previous[1] or prefix in ("B", "S") or previous[0] in ("E", "S")
        start = position if fresh else segments.pop().start
        segments.append(Segment(start, position + 1, label_of[name]))
        previous = (prefix, name)
    for position, (given, spelt) in enumerate(
        zip(tags, segments_to_tags(segments, names, scheme), strict=True)
    ):
        if given != spelt:
            raise ValueError(
                f"tag {given!r} at position {position} is not legal {scheme} there: expected {spelt!r}"
            )
    return segments
