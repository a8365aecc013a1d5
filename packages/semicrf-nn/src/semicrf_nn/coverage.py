"""How many of given segments, and of their positions, a longest duration covers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from semicrf_nn.counts import SegmentLists, each_segment


class Coverage:
    """How much of given segments a `max_duration` covers; printing it shows a table.

    Attributes:
        max_duration: the least that covers the quantile of the segments that was asked for.
        longest: the longest segment, in positions.
    """

    def __init__(self, durations: Sequence[int], quantile: float) -> None:
        self._sorted = torch.tensor(sorted(durations))
        self.longest = int(self._sorted[-1])
        self.max_duration = self.at(quantile)

    def at(self, quantile: float) -> int:
        """The least `max_duration` that covers this share of the segments."""
        return int(self._sorted[max(math.ceil(quantile * len(self._sorted)), 1) - 1])

    def segments(self, max_duration: int) -> float:
        """The share of segments that are no longer."""
        return float((self._sorted <= max_duration).double().mean())

    def positions(self, max_duration: int) -> float:
        """The share of positions that lie in them."""
        within = self._sorted[self._sorted <= max_duration]
        return float(within.sum() / self._sorted.sum())

    def __repr__(self) -> str:
        rows = sorted({self.at(q) for q in (0.5, 0.75, 0.9, 0.95, 0.99, 1.0)} | {self.max_duration})
        lines = [f"{k:>12}  {self.segments(k):>8.1%}  {self.positions(k):>9.1%}" for k in rows]
        return "\n".join([f"max_duration  segments  positions  (suggested: {self.max_duration})", *lines])


def suggest_max_duration(segments: SegmentLists, quantile: float = 0.95) -> Coverage:
    """The least `max_duration` that covers a share of given segments, and what another would cover.

    Args:
        segments: lists of `(start, end, label)`, one a sequence; or a `Segmentation`. Read once.
        quantile: the share, above 0 and at most 1.
    Returns: `Coverage`, with `.max_duration`; printing it shows a table.
    Raises: ValueError without segments, or for a quantile that is none.
    Cost: O(n log n) for n segments. Time and memory of a model grow with `max_duration`, so what a few long
        segments need is paid for all.
    """
    durations = [segment.duration for _, segment in each_segment(segments)]
    if not durations:
        raise ValueError(
            "segments are empty; expected at least one to take durations from. An iterator that was read "
            "before is empty too: give a list"
        )
    if not 0.0 < quantile <= 1.0:
        raise ValueError(f"quantile is {quantile}; expected a share above 0 and at most 1")
    return Coverage(durations, quantile)
