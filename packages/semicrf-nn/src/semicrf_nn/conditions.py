"""What is known of a segmentation, as potentials that forbid everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import index
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semicrf_nn.constraints import ForbiddenTransitions, duration_mask, per_class, transition_mask
from semicrf_spec import UNKNOWN, Potentials, Segment
from semicrf_spec.operators import Segmentation, agreeing, can_look, lengths_of
from semicrf_spec.potentials import axes_of

KnownSegments = Sequence[Sequence[tuple[int, int, int]]]


def without_scores(potentials: Potentials[Tensor]) -> Potentials[Tensor]:
    """What is allowed scores 0, what is forbidden stays so."""

    def allowed(term: Tensor) -> Tensor:
        return term.masked_fill(term > -torch.inf, 0.0) if term.is_floating_point() else term

    return potentials.map(allowed)


def selected(potentials: Potentials[Tensor], sequences: Tensor) -> Potentials[Tensor]:
    """The potentials of some sequences, given by their numbers, any number of times each."""
    return Potentials(
        **{n: term[sequences] if axes_of(n, term)[0] == "B" else term for n, term in potentials.items()}
    )


def tensor_of(name: str, given: Any, device: torch.device) -> Tensor:
    """What is given of every position, on the device.

    Raises: ValueError naming the argument for what makes no tensor, as lists that differ in length do not.
    """
    try:
        return torch.as_tensor(given, device=device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} make no tensor: {error}. Expected rows of T entries each, those of shorter sequences "
            "filled up with anything"
        ) from None


def with_labels(potentials: Potentials[Tensor], labels: Tensor) -> Potentials[Tensor]:
    """Only labels that agree with `(B, T)` known ones, `-100` being unknown."""
    return replace(potentials, emissions=agreeing(potentials, labels))


def with_allowed(potentials: Potentials[Tensor], allowed: Tensor) -> Potentials[Tensor]:
    """Only labels that are allowed at their position: booleans that broadcast to `(B, T, C)`."""
    shape = potentials.shape
    try:
        grid = torch.broadcast_to(allowed, shape)
    except RuntimeError:
        grid = None
    if grid is None or allowed.dtype != torch.bool:
        raise ValueError(
            f"allowed has shape {tuple(allowed.shape)} and dtype {allowed.dtype}; expected booleans that "
            f"broadcast to (B, T, C) = {shape}, true where a label may be"
        )
    return replace(potentials, emissions=potentials.emissions.masked_fill(~grid, -torch.inf))


def with_boundaries(potentials: Potentials[Tensor], boundaries: Tensor) -> Potentials[Tensor]:
    """Segments begin where `(B, T)` known boundaries are 1 and nowhere where they are 0; `-100` is unknown.

    A segment begins at position 0 whatever stands there.
    """
    positions = potentials.shape[:2]
    if boundaries.shape != positions or boundaries.is_floating_point() or boundaries.is_complex():
        raise ValueError(
            f"boundaries have shape {tuple(boundaries.shape)} and dtype {boundaries.dtype}; expected "
            f"booleans or integers of shape (B, T) = {positions}"
        )
    device = potentials.emissions.device
    known = boundaries.long()
    place = torch.arange(positions[1], device=device)
    wrong = (known != 0) & (known != 1) & (known != UNKNOWN) & (place < lengths_of(potentials)[:, None])
    if can_look(known) and bool(wrong.any()):
        b, t = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"boundaries[{b}, {t}] is {int(known[b, t])}; expected 1 where a segment begins, 0 where none "
            f"does, or {UNKNOWN} where that is unknown"
        )
    found = potentials
    cuts, within = known == 1, (known == 0) & (place > 0)
    if _any(cuts):
        found = replace(found, cuts=cuts if found.cuts is None else found.cuts | cuts)
    if _any(within):
        begin = torch.zeros_like(found.emissions) if found.begin is None else found.begin
        found = replace(found, begin=begin.masked_fill(within[:, :, None], -torch.inf))
    return found


def _any(mask: Tensor) -> bool:
    """Whether there is anything to do, for all that can be known now."""
    return not can_look(mask) or bool(mask.any())


def with_segments(potentials: Potentials[Tensor], segments: KnownSegments) -> Potentials[Tensor]:
    """Only segmentations that hold given segments, one list a sequence; label `-100` is any label."""
    batch, time, _ = potentials.shape
    labels = np.full((batch, time), UNKNOWN)
    boundaries = np.full((batch, time + 1), UNKNOWN)
    for b, known in enumerate(placed(segments, potentials)):
        free = 0
        for (start, end, label), number in sorted((segment, i) for i, segment in enumerate(known)):
            where = f"sequence {b}, segment {number} {(start, end, label)}"
            if start < free:
                raise ValueError(f"{where} overlaps another: expected at most one segment at a position")
            if end - start > potentials.max_duration:
                raise ValueError(
                    f"{where} lasts {end - start} positions; expected at most max_duration = "
                    f"{potentials.max_duration}"
                )
            labels[b, start:end] = label
            boundaries[b, start + 1 : end] = 0
            boundaries[b, [start, end]] = 1
            free = end
    device = potentials.emissions.device
    found = with_labels(potentials, torch.from_numpy(labels).to(device))
    return with_boundaries(found, torch.from_numpy(boundaries[:, :time]).to(device))


def lists_of(segments: KnownSegments | Segmentation) -> KnownSegments:
    """One list of segments a sequence.

    Raises: ValueError for a `Segmentation` with several a sequence.
    """
    if not isinstance(segments, Segmentation):
        return segments
    if segments.labels.ndim > 2:
        raise ValueError(
            f"segments have labels of shape {tuple(segments.labels.shape)}; expected (B, T), one "
            "segmentation a sequence. Of samples and of the k best give one, segments[i]"
        )
    return segments.to_list()


def placed(segments: KnownSegments, potentials: Potentials[Tensor]) -> list[list[Segment]]:
    """Some segments of each sequence, in any order, once they lie within it; label `-100` is any label.

    Raises: ValueError naming the sequence and the segment that does not.
    """
    batch, _, classes = potentials.shape
    if len(segments) != batch:
        raise ValueError(f"{len(segments)} lists of segments given; expected B = {batch}, one a sequence")
    return [
        [_segment(segment, length, classes, f"sequence {b}, segment {i}") for i, segment in enumerate(given)]
        for b, (given, length) in enumerate(zip(segments, lengths_of(potentials).tolist(), strict=True))
    ]


def _segment(given: Any, length: int, num_classes: int, where: str) -> Segment:
    try:
        segment = Segment(*map(index, given))
    except TypeError:
        raise ValueError(f"{where} is {given!r}; expected three integers (start, end, label)") from None
    start, end, label = segment
    if not 0 <= start < end <= length:
        raise ValueError(
            f"{where} {tuple(segment)} does not fit: expected 0 <= start < end <= length = {length}"
        )
    if not (0 <= label < num_classes or label == UNKNOWN):
        raise ValueError(
            f"{where} {tuple(segment)} has a label out of range: expected 0 <= label < {num_classes}, or "
            f"{UNKNOWN} where it is unknown"
        )
    return segment


def with_forbidden_transitions(
    potentials: Potentials[Tensor], forbidden: ForbiddenTransitions
) -> Potentials[Tensor]:
    """No transition that is forbidden."""
    mask = transition_mask(forbidden, potentials.shape[2])
    return replace(potentials, transition=potentials.transition + mask.to(potentials.transition))


def with_durations(
    potentials: Potentials[Tensor], shortest: int | Sequence[int], longest: int | Sequence[int] | None
) -> Potentials[Tensor]:
    """No segment shorter or longer than its label may last."""
    classes, max_duration = potentials.shape[2], potentials.max_duration
    least = per_class("min_duration", shortest, classes)
    most = per_class("max_duration", max_duration if longest is None else longest, classes)
    mask = duration_mask(least, most, max_duration)
    return replace(potentials, duration=potentials.duration + mask.to(potentials.duration))


def check_something_left(conditioned: Tensor, given: Callable[[], Tensor]) -> None:
    """Raise if log partitions given conditions are `-inf` where those without, which it may ask for, are not.

    Raises: ValueError naming the first sequence.
    """
    impossible = torch.isneginf(conditioned)
    if bool(impossible.any()) and bool((impossible := impossible & ~torch.isneginf(given())).any()):
        raise ValueError(
            f"sequence {int(impossible.nonzero()[0])}: no segmentation satisfies the constraints; they "
            "contradict one another, or durations (a known segment longer than max_duration, which may be "
            "raised), or scores of -inf"
        )
