"""Operators that find gold labels and segments sound, or raise.

They are operators, not functions, so that they also look when a compiled graph runs.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from semicrf_spec.potentials import check_lengths, outside
from semicrf_spec.segments import UNKNOWN, Segment, check_segments


class _Here(threading.local):
    """What holds in this thread; no `ContextVar`, which compiled graphs cannot set.

    True whatever `torch.distributions` says: torch.compile tells it to validate nothing, once and for all.
    """

    def __init__(self) -> None:
        self.validating = True


_here = _Here()


class validation:  # noqa: N801  # a context, with a name like those of PyTorch
    """A context in which values are checked, or are not; `validation(None)` changes nothing."""

    def __init__(self, wanted: bool | None) -> None:
        self.wanted = wanted

    def __enter__(self) -> None:
        self.before = _here.validating
        if self.wanted is not None:
            _here.validating = self.wanted

    def __exit__(self, *_: object) -> None:
        _here.validating = self.before


def validating() -> bool:
    """Whether values are to be checked here: everywhere but in `validation(False)`."""
    return _here.validating


def can_look(tensor: Tensor) -> bool:
    """Whether values are to be checked and may be read now, which on a GPU waits for it.

    Not on `meta`, nor while a graph is traced or a CUDA graph captured.
    """
    if not validating() or torch.compiler.is_compiling() or tensor.is_meta:
        return False
    return tensor.device.type != "cuda" or not torch.cuda.is_current_stream_capturing()


def check_segmentation(
    labels: Tensor,
    durations: Tensor,
    lengths: Tensor,
    num_classes: int,
    max_duration: int,
    validate: bool = True,
) -> tuple[Tensor, Tensor]:
    """Labels and durations `(..., B, T)` as int64, once they tile the `(B,)` or `(..., B)` lengths.

    Positions past the lengths come back as label 0 and duration 0, so that they may index. A compiled graph
    holds `validate`, as it runs in no context.

    Raises: ValueError naming the sequence and the segment that is at fault, and the remedy.
    """
    labels, durations = labels.long(), durations.long()
    within = _within(labels, lengths)
    if validate and can_look(labels):
        faults = (
            within & ((labels < 0) | (labels >= num_classes) | (durations > max_duration))
            | ~_tiles(durations, within)
            | _changes_inside(labels, durations, within)
        )
        if _any_fault(faults, lengths):
            for *sample, b in faults.any(-1).nonzero().tolist():
                at = (*sample, b)
                sequence = f"{b} of sample {', '.join(map(str, sample))}" if sample else b
                length = int(lengths.expand(labels.shape[:-1])[at])
                _explain(labels[at], durations[at], length, num_classes, max_duration, sequence)
    return torch.where(within, labels, 0), torch.where(within, durations, 0)


def _within(labels: Tensor, lengths: Tensor) -> Tensor:
    """`(..., B, T)`: true where a position counts."""
    return torch.arange(labels.shape[-1], device=labels.device) < lengths[..., None]


def _any_fault(faults: Tensor, lengths: Tensor) -> bool:
    """Whether there is any, once the lengths are found sound; a GPU is asked about both at once.

    Raises: ValueError naming the length that is out of range.
    """
    time = faults.shape[-1]
    if not bool(faults.any() | outside(lengths, time).any()):
        return False
    check_lengths(lengths, time)
    return True


def _tiles(durations: Tensor, within: Tensor) -> Tensor:
    """Where a segment begins just when the one before it ends: `(..., B, T)`.

    Each end lies past its begin, so if the set of begins but the first, and the end of the sequence, is the
    set of ends, every segment ends where the next begins.
    """
    *batch, time = durations.shape
    begins = durations != 0
    place = torch.arange(time, device=durations.device)
    ends = (place + durations).clamp(0, time)
    is_end = torch.zeros(*batch, time + 1, dtype=torch.bool, device=durations.device)
    is_end = is_end.scatter(-1, torch.where(begins, ends, time), True)[..., :time]
    expected = is_end & within
    expected[..., :1] = within[..., :1]
    return (
        (begins == expected)
        & (durations >= 0)
        & (~begins | (place + durations <= within.sum(-1, keepdim=True)))
    )


def _changes_inside(labels: Tensor, durations: Tensor, within: Tensor) -> Tensor:
    """Where a label differs from the one before it though no segment begins: `(..., B, T)`."""
    changed = torch.zeros_like(labels, dtype=torch.bool)
    changed[..., 1:] = (labels[..., 1:] != labels[..., :-1]) & (durations[..., 1:] == 0)
    return changed & within


def _explain(
    labels: Tensor, durations: Tensor, length: int, num_classes: int, max_duration: int, sequence: int | str
) -> None:
    """Raise the error that says what is wrong with one sequence."""
    unknown = (labels[:length] == UNKNOWN).nonzero().flatten().tolist()
    if unknown:
        known = length - len(unknown)
        trailing = unknown == list(range(known, length))
        padding = f"if that is padding, give lengths, {known} here; else " if trailing else ""
        raise ValueError(
            f"sequence {sequence}: position {unknown[0]} has the unknown label {UNKNOWN}, so its segments "
            f"are not known; {padding}use supervision='labels', which sums over every segmentation that "
            "agrees"
        )
    segments = [
        Segment(start, start + int(durations[start]), int(labels[start]))
        for start in durations.nonzero().flatten().tolist()
    ]
    check_segments(segments, length, num_classes=num_classes, max_duration=max_duration, sequence=sequence)
    raise ValueError(f"sequence {sequence}: the label changes inside a segment; expected one label each")


def check_labels(labels: Tensor, lengths: Tensor, num_classes: int, validate: bool = True) -> Tensor:
    """The labels as int64, once they are known to be in range or unknown; unknown past the lengths.

    `validate` as in `check_segmentation`.

    Raises: ValueError naming the sequence and the position.
    """
    labels = labels.long()  # in uint8, -100 is 156
    within = _within(labels, lengths)
    if validate and can_look(labels):
        faults = within & ((labels < 0) | (labels >= num_classes)) & (labels != UNKNOWN)
        if _any_fault(faults, lengths):
            b, t = faults.nonzero()[0].tolist()
            raise ValueError(
                f"sequence {b}: position {t} has label {int(labels[b, t])}; expected 0 <= label < "
                f"{num_classes}, or {UNKNOWN} where it is unknown"
            )
    return torch.where(within, labels, UNKNOWN)


def _fake_check_segmentation(labels: Tensor, durations: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(labels, dtype=torch.int64), torch.empty_like(durations, dtype=torch.int64)


def _fake_check_labels(labels: Tensor, *_: object) -> Tensor:
    return torch.empty_like(labels, dtype=torch.int64)


torch.library.define(
    "semicrf::check_segmentation",
    "(Tensor labels, Tensor durations, Tensor lengths, int num_classes, int max_duration,"
    " bool validate=True) -> (Tensor, Tensor)",
)
torch.library.define(
    "semicrf::check_labels",
    "(Tensor labels, Tensor lengths, int num_classes, bool validate=True) -> Tensor",
)
torch.library.impl("semicrf::check_segmentation", "default", check_segmentation)
torch.library.impl("semicrf::check_labels", "default", check_labels)
torch.library.register_fake("semicrf::check_segmentation", _fake_check_segmentation)
torch.library.register_fake("semicrf::check_labels", _fake_check_labels)
