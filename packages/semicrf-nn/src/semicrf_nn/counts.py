"""Segments as users give them, and how many of each label last how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import index

import torch
from torch import Tensor

from semicrf_spec import Segment
from semicrf_spec.operators import Segmentation

SegmentLists = Segmentation | Iterable[Iterable[tuple[int, int, int]]]


def each_segment(segments: SegmentLists) -> Iterator[tuple[int, Segment]]:
    """Every segment, with the number of its sequence.

    Raises: ValueError naming the sequence and what in it is no segment.
    """
    for b, sequence in enumerate(_lists(segments)):
        for given in sequence:
            try:
                segment = Segment(*map(index, given))
            except TypeError:
                raise ValueError(
                    f"sequence {b} of segments holds {given!r}; expected whole numbers (start, end, label), "
                    "in one list for each sequence"
                ) from None
            yield b, segment


def _lists(segments: SegmentLists) -> Iterable[Iterable[tuple[int, int, int]]]:
    if not isinstance(segments, Segmentation):
        return segments
    lists = segments.to_list()
    for _ in segments.labels.shape[:-2]:  # of samples
        lists = list(chain.from_iterable(lists))
    return lists


def count_durations(segments: SegmentLists, num_classes: int, max_duration: int) -> Tensor:
    """`(K, C)` float64: how many segments of each label last d positions, in row d - 1.

    Raises: ValueError naming the segment that is none, is longer than K or has a label out of range.
    """
    found: Counter[tuple[int, int]] = Counter()
    for b, segment in each_segment(segments):
        if not (1 <= segment.duration <= max_duration and 0 <= segment.label < num_classes):
            raise ValueError(
                f"sequence {b}: segment {tuple(segment)} lasts {segment.duration} positions; expected 1 to "
                f"max_duration = {max_duration}, and 0 <= label < {num_classes}. suggest_max_duration "
                "says what a max_duration covers"
            )
        found[segment.duration - 1, segment.label] += 1
    counts = torch.zeros(max_duration, num_classes, dtype=torch.float64)
    for place, count in found.items():
        counts[place] = count
    return counts
