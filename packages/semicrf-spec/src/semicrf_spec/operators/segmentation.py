"""A batch of segmentations as two tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from semicrf_spec.segments import UNKNOWN, Segment, check_segments, too_long

NO_LABEL = -1
"""The label of a position that belongs to no segment."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One segmentation for each sequence of a batch.

    Args:
        labels: `(B, T)` int64, the label of every position, `-1` outside of any segment.
        durations: `(B, T)` int64, the positions in the segment that begins here, 0 where none does.
        lengths: `(B,)` int64 positions.
        scores: `(B,)` float64 nats, if they are known; `-inf` where no segmentation is allowed, and
            then there are no segments either.
    """

    labels: Tensor
    durations: Tensor
    lengths: Tensor
    scores: Tensor | None = None

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
        ends = [s[-1][1] if len(s) else 0 for s in segments] if lengths is None else list(map(int, lengths))
        if len(ends) != len(segments):
            raise ValueError(f"{len(segments)} lists of segments but {len(ends)} lengths; expected one each")
        tiled = [
            check_segments(given, length, sequence=b)
            for b, (given, length) in enumerate(zip(segments, ends, strict=True))
        ]
        time = max(ends, default=0) if num_positions is None else num_positions
        if max(ends, default=0) > time:
            raise ValueError(f"segments end at {max(ends)}; expected them within T = {time} positions")
        labels = torch.full((len(tiled), time), NO_LABEL, dtype=torch.int64)
        durations = torch.zeros(len(tiled), time, dtype=torch.int64)
        for b, sequence in enumerate(tiled):
            if sequence:
                starts, stops, names = torch.tensor(sequence, dtype=torch.int64).unbind(1)
                durations[b, starts] = stops - starts
                labels[b, : ends[b]] = names.repeat_interleave(stops - starts)
        found = cls(labels, durations, torch.tensor(ends, dtype=torch.int64))
        return found.to(device) if device is not None else found

    @classmethod
    def from_labels(cls, labels: Tensor, lengths: Tensor | None = None) -> Segmentation:
        """One segment for every maximal run of one label.

        Args:
            labels: `(B, T)` integers; what stands past the lengths does not matter.
            lengths: `(B,)`; T if missing.
        """
        batch, time = labels.shape
        if lengths is None:
            lengths = labels.new_full((batch,), time, dtype=torch.int64)
        place = torch.arange(time, device=labels.device)
        within = place < lengths[:, None]
        begins = torch.ones_like(within)
        begins[:, 1:] = labels[:, 1:] != labels[:, :-1]
        # the first boundary at or past each position, then the first one strictly past it
        boundary = torch.where(begins & within, place, lengths[:, None])
        following = boundary.flip(1).cummin(1).values.flip(1)
        following = torch.cat([following[:, 1:], lengths[:, None]], dim=1)
        durations = torch.where(begins & within, following - place, 0)
        return cls(torch.where(within, labels, NO_LABEL).long(), durations, lengths.long())

    @property
    def starts(self) -> Tensor:
        """`(B, T)` bool: a segment begins here."""
        return self.durations > 0

    @property
    def num_segments(self) -> Tensor:
        """`(B,)` int64."""
        return self.starts.sum(1)

    def to(self, device: torch.device | str) -> Segmentation:
        """The same segmentation on a device."""
        scores = None if self.scores is None else self.scores.to(device)
        return Segmentation(
            self.labels.to(device), self.durations.to(device), self.lengths.to(device), scores
        )

    def to_list(self) -> list[list[Segment]]:
        """One list of segments per sequence."""
        found: list[list[Segment]] = [[] for _ in range(len(self.labels))]
        sequence, start = torch.nonzero(self.durations, as_tuple=True)
        end = start + self.durations[sequence, start]
        label = self.labels[sequence, start]
        for b, *segment in torch.stack([sequence, start, end, label], dim=1).tolist():
            found[b].append(Segment(*segment))
        return found

    def to_labels(self, fill: int = NO_LABEL) -> Tensor:
        """`(B, T)` int64 label of every position, `fill` where there is none."""
        return self.labels.masked_fill(self.labels == NO_LABEL, fill)


def check_segmentation(
    labels: Tensor, durations: Tensor, lengths: Tensor, num_classes: int, max_duration: int
) -> tuple[Tensor, Tensor]:
    """Copies of labels and durations, once they are known to tile every sequence.

    Positions past the lengths come back as label 0 and duration 0, so that they may index.

    Raises: ValueError naming the sequence and the segment that is at fault, and the remedy.
    """
    within = torch.arange(labels.shape[1], device=labels.device) < lengths[:, None]
    faults = (
        within & ((labels < 0) | (labels >= num_classes) | (durations > max_duration))
        | ~_tiles(durations, within)
        | _changes_inside(labels, durations, within)
    )
    if bool(faults.any()):
        for b in faults.any(1).nonzero().flatten().tolist():
            _explain(labels[b], durations[b], int(lengths[b]), num_classes, max_duration, b)
    return torch.where(within, labels, 0), torch.where(within, durations, 0)


def _tiles(durations: Tensor, within: Tensor) -> Tensor:
    """Where a segment begins just when the one before it ends: `(B, T)`.

    Each end lies past its begin, so if the set of begins but the first, and the end of the sequence, is the
    set of ends, every segment ends where the next begins.
    """
    time = durations.shape[1]
    begins = durations != 0
    place = torch.arange(time, device=durations.device)
    ends = (place + durations).clamp(0, time)
    is_end = torch.zeros(len(durations), time + 1, dtype=torch.bool, device=durations.device)
    is_end = is_end.scatter(1, torch.where(begins, ends, time), True)[:, :time]
    expected = is_end & within
    expected[:, :1] = within[:, :1]
    return (begins == expected) & (durations >= 0) & (~begins | (place + durations <= within.sum(1, keepdim=True)))


def _changes_inside(labels: Tensor, durations: Tensor, within: Tensor) -> Tensor:
    """Where a label differs from the one before it though no segment begins: `(B, T)`."""
    changed = torch.zeros_like(within)
    changed[:, 1:] = (labels[:, 1:] != labels[:, :-1]) & (durations[:, 1:] == 0)
    return changed & within


def _explain(
    labels: Tensor, durations: Tensor, length: int, num_classes: int, max_duration: int, sequence: int
) -> None:
    """Raise the error that says what is wrong with one sequence."""
    unknown = (labels[:length] == UNKNOWN).nonzero().flatten().tolist()
    if unknown:
        raise ValueError(
            f"sequence {sequence}: position {unknown[0]} has the unknown label {UNKNOWN}, so its segments are "
            "not known; use supervision='labels', which sums over every segmentation that agrees"
        )
    segments = [
        Segment(start, start + int(durations[start]), int(labels[start]))
        for start in durations.nonzero().flatten().tolist()
    ]
    check_segments(
        segments, length, num_classes=num_classes, max_duration=max_duration, sequence=sequence
    )
    raise ValueError(f"sequence {sequence}: the label changes inside a segment; expected one label each")


_SCHEMA = "(Tensor labels, Tensor durations, Tensor lengths, int num_classes, int max_duration)"
torch.library.define("semicrf::check_segmentation", f"{_SCHEMA} -> (Tensor, Tensor)")
torch.library.impl("semicrf::check_segmentation", "default", check_segmentation)


@torch.library.register_fake("semicrf::check_segmentation")
def _fake_check_segmentation(
    labels: Tensor, durations: Tensor, lengths: Tensor, num_classes: int, max_duration: int
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(labels), torch.empty_like(durations)
