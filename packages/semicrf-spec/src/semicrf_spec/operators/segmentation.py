"""A batch of segmentations as two tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from operator import index
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semicrf_spec.operators.checks import can_look
from semicrf_spec.potentials import check_lengths
from semicrf_spec.segments import Segment, check_segments, tiling

NO_LABEL = -1
"""The label of a position that belongs to no segment."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One segmentation for each sequence of a batch, or, with more axes in front, several.

    Args:
        labels: `(..., B, T)` int64, the label of every position, `-1` outside of any segment.
        durations: `(..., B, T)` int64, the positions in the segment that begins here, 0 where none does.
        lengths: `(B,)` int64 positions.
        scores: `(..., B)` float64 nats, if they are known; `-inf` where no segmentation is allowed, and
            then there are no segments either.
    """

    labels: Tensor
    durations: Tensor
    lengths: Tensor
    scores: Tensor | None = None

    def __post_init__(self) -> None:
        grid = self.labels.shape
        for name, shape in (("labels", grid), ("durations", grid), ("lengths", grid[-2:-1])):
            given: Tensor = getattr(self, name)
            if given.shape != shape or len(grid) < 2 or given.is_floating_point():
                raise ValueError(
                    f"{name} have shape {tuple(given.shape)} and dtype {given.dtype}; expected integers: "
                    "labels (..., B, T), durations (..., B, T) and lengths (B,)"
                )

    @classmethod
    def from_list(
        cls,
        segments: Sequence[Sequence[tuple[int, int, int]]],
        *,
        num_positions: int | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        device: torch.device | str | None = None,
    ) -> Segmentation:
        """From one list of `(start, end, label)` per sequence.

        Args:
            segments: B lists of half-open segments that tile their sequence.
            num_positions: T; the longest length if missing.
            lengths: `(B,)`; where the lists end if missing.
            device: where the tensors go.
        Raises: ValueError naming the sequence and the segment that leaves a gap, overlaps or is empty.
        """
        if lengths is None:
            tiled = [tiling(given, sequence=b) for b, given in enumerate(segments)]
            ends = [given[-1].end if given else 0 for given in tiled]
        else:
            ends = _integers("lengths", lengths)
            if len(ends) != len(segments):
                raise ValueError(
                    f"{len(segments)} lists of segments but {len(ends)} lengths; expected one each"
                )
            tiled = [
                check_segments(given, length, sequence=b)
                for b, (given, length) in enumerate(zip(segments, ends, strict=True))
            ]
        time = max(ends, default=0) if num_positions is None else num_positions
        if max(ends, default=0) > time:
            raise ValueError(f"segments end at {max(ends)}; expected them within T = {time} positions")
        labels = np.full((len(tiled), time), NO_LABEL, np.int64)
        durations = np.zeros_like(labels)
        for b, sequence in enumerate(tiled):
            starts, stops, names = np.array(sequence, dtype=np.int64).reshape(-1, 3).T
            durations[b, starts] = stops - starts
            labels[b, : ends[b]] = np.repeat(names, stops - starts)
        found = cls(
            torch.from_numpy(labels), torch.from_numpy(durations), torch.tensor(ends, dtype=torch.int64)
        )
        return found.to(device) if device is not None else found

    @classmethod
    def from_labels(cls, labels: Tensor, lengths: Tensor | None = None) -> Segmentation:
        """One segment for every maximal run of one label.

        Args:
            labels: `(B, T)` integers; what stands past the lengths does not matter.
            lengths: `(B,)`; T if missing.
        Raises: ValueError for labels that are no integers of shape `(B, T)`, and for lengths over T.
        """
        check_label_grid(labels)
        labels = labels.long()  # in uint8, -1 is 255
        batch, time = labels.shape
        if lengths is None:
            lengths = labels.new_full((batch,), time, dtype=torch.int64)
        elif lengths.shape != (batch,) or lengths.dtype == torch.bool or lengths.is_floating_point():
            raise ValueError(
                f"lengths have shape {tuple(lengths.shape)} and dtype {lengths.dtype}; expected integers of "
                f"shape (B,) = ({batch},). Of a (B, T) mask give mask.sum(1)"
            )
        elif can_look(lengths):
            check_lengths(lengths, time)
        place = torch.arange(time, device=labels.device)
        within = place < lengths[:, None]
        begins = torch.ones_like(within)
        begins[:, 1:] = labels[:, 1:] != labels[:, :-1]
        # the first boundary at or past each position, then the first one strictly past it
        boundary = torch.where(begins & within, place, lengths[:, None])
        following = boundary.flip(1).cummin(1).values.flip(1)
        following = torch.cat([following[:, 1:], lengths[:, None]], dim=1)
        durations = torch.where(begins & within, following - place, 0)
        return cls(torch.where(within, labels, NO_LABEL), durations, lengths.long())

    @property
    def starts(self) -> Tensor:
        """`(..., B, T)` bool: a segment begins here."""
        return self.durations > 0

    @property
    def num_segments(self) -> Tensor:
        """`(..., B)` int64."""
        return self.starts.sum(-1)

    def to(self, device: torch.device | str) -> Segmentation:
        """The same segmentation on a device."""
        scores = None if self.scores is None else self.scores.to(device)
        return Segmentation(
            self.labels.to(device), self.durations.to(device), self.lengths.to(device), scores
        )

    def __getitem__(self, index: int) -> Segmentation:
        """Of samples `(n, ..., B, T)` the one of that number: `(..., B, T)`.

        Raises: ValueError where there is no axis before B, IndexError past the last.
        """
        if self.labels.ndim == 2:
            raise ValueError(
                f"labels have shape (B, T) = {tuple(self.labels.shape)}, so this is one segmentation a "
                "sequence; expected (n, ..., B, T), as of samples. Use to_list() for its segments"
            )
        scores = None if self.scores is None else self.scores[index]
        return Segmentation(self.labels[index], self.durations[index], self.lengths, scores)

    def unbind(self) -> list[Segmentation]:
        """All that indexing gives."""
        return [self[i] for i in range(len(self.labels))]

    def to_list(self) -> list[Any]:
        """One list of segments per sequence, `list[list[Segment]]`; of samples, a list of such lists."""
        grids = (self.labels, self.durations)
        labels, durations = (grid.long().flatten(0, -2).numpy(force=True) for grid in grids)
        sequence, start = (durations > 0).nonzero()
        columns = (start, start + durations[sequence, start], labels[sequence, start])
        rows = zip(*(column.tolist() for column in columns), strict=True)
        segments = map(tuple.__new__, repeat(Segment), rows)  # Segment(...) takes twice as long
        counts = np.bincount(sequence, minlength=len(labels))
        lists = (list(islice(segments, count)) for count in counts.tolist())
        return _nested(lists, self.labels.shape[:-1])

    def to_labels(self, fill: int = NO_LABEL) -> Tensor:
        """`(..., B, T)` int64 label of every position, `fill` where there is none."""
        return self.labels.masked_fill(self.labels == NO_LABEL, fill)


torch.serialization.add_safe_globals([Segmentation])  # else torch.load(weights_only=True) refuses it


def _nested(items: Iterator[Any], shape: Sequence[int]) -> list[Any]:
    """The items, in lists of lists of this shape."""
    if len(shape) == 1:
        return list(islice(items, shape[0]))
    return [_nested(items, shape[1:]) for _ in range(shape[0])]


def _integers(name: str, values: Tensor | Sequence[int]) -> list[int]:
    try:
        return [index(value) for value in values]
    except TypeError:
        raise TypeError(f"{name} are {values!r}; expected integers") from None


def check_label_grid(labels: Tensor, positions: tuple[int, int] | None = None) -> None:
    """Raise unless labels are integers of shape `(B, T)`, and of that one if it is given.

    Raises: ValueError with what was expected and what was given.
    """
    integer = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if not integer or labels.ndim != 2 or positions not in (None, tuple(labels.shape)):
        expected = "(B, T)" if positions is None else f"(B, T) = {positions}"
        raise ValueError(
            f"labels have shape {tuple(labels.shape)} and dtype {labels.dtype}; expected integers of shape "
            f"{expected}"
        )
