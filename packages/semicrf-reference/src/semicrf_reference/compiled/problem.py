"""What the kernels read and write, as arrays over the tensors' memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semicrf_spec import Potentials
from semicrf_spec.cost import Size, scan_operations
from semicrf_spec.potentials import check_factored

Array = npt.NDArray[Any]

TERMS = (
    "Tuple((real[:,:,:], float64[:,:,:,:], float64[:,:,:,:], float64[:,:,:,:], float64[:], float64[:],"
    "real[:,:,:], real[:,:,:], int64[:], boolean[:,:]))"
)
"""Types of the arrays of a `Problem`, which may have any strides."""


def array_of(term: Tensor) -> Array:
    """A tensor's memory; of one of 16 bits a copy, as numpy lacks bfloat16, and is slow on float16."""
    if term.dtype in (torch.bfloat16, torch.float16):
        term = term.float()
    found: Array = term.numpy(force=True)
    return found


def spread(term: Array, *shape: int) -> Array:
    """In float64 and with more axes, along which all is the same memory; by numpy, whose calls cost least."""
    found = np.broadcast_to(term.astype(np.float64, copy=False), shape)
    found.flags.writeable = True  # as the kernels have all arrays, though they write to no term
    return found


@dataclass(frozen=True)
class Problem:
    """The terms of a batch, checked, in the order of the call signature but for the transposed transition.

    Terms with one score per position and label are float32 or float64, whichever holds them all; the other
    scores are float64. Nothing is copied whose dtype fits already. `begin` and `finish` have no columns where
    they are missing, and `cuts` neither.
    """

    arrays: tuple[Array, ...]
    size: Size
    by_position: bool  # whether there is one transition for each boundary
    by_segment: bool  # whether there is one score of a duration for each beginning

    @classmethod
    def of(cls, terms: Sequence[Tensor | None]) -> Self:
        """Read the arguments of an operator."""
        given: Potentials[Any] = Potentials(*(term if term is None else array_of(term) for term in terms))
        check_factored(given, "compiled")
        given.check_values()
        batch, time, classes = given.shape
        by_position = (given.emissions, given.begin, given.finish)
        wide = any(term is not None and term.dtype == np.float64 for term in by_position)
        real = np.float64 if wide else np.float32

        def per_label(term: Array | None) -> Array:
            return np.zeros(classes) if term is None else term.astype(np.float64, copy=False)

        def per_position(term: Array | None) -> Array:
            return np.empty((batch, time, 0), real) if term is None else term.astype(real, copy=False)

        lengths, cuts = given.lengths, given.cuts
        by_segment = given.duration.ndim == 4
        duration = given.duration if by_segment else given.duration[..., None, :, :]
        transition = spread(given.transition, batch, time, classes, classes)
        arrays = (
            per_position(given.emissions),
            transition,
            transition.swapaxes(2, 3),
            spread(duration, batch, time, given.max_duration, classes),
            per_label(given.start),
            per_label(given.end),
            per_position(given.begin),
            per_position(given.finish),
            np.full(batch, time, np.int64) if lengths is None else lengths.astype(np.int64, copy=False),
            np.empty((batch, 0), np.bool_) if cuts is None else cuts,
        )
        size = Size(batch, time, given.max_duration, classes)
        return cls(arrays, size, given.transition.ndim == 4, by_segment)

    def values(self, given: Sequence[Tensor | None] = (None,) * 7) -> tuple[Array, ...]:
        """A value of each count that `Answers.statistics` lists, as terms; each sequence has its own."""
        batch, time, max_duration, classes = self.size
        position, begins, ends, transitions, durations, first, last = given

        def read(value: Tensor | None, *shape: int) -> Array:
            return spread(np.zeros(()) if value is None else array_of(value), *shape)

        def per_position(value: Tensor | None) -> Array:
            none = value is None or value.shape[1] == 0
            return np.empty((batch, time, 0)) if none else read(value, batch, time, classes)

        if transitions is not None and not self.by_position:
            transitions = transitions[:, None]
        if durations is not None and not self.by_segment:
            durations = durations[:, None]
        transition = read(transitions, batch, time, classes, classes)
        return (
            read(position, batch, time, classes),
            transition,
            transition.swapaxes(2, 3),
            read(durations, batch, time, max_duration, classes),
            read(first, batch, classes),
            read(last, batch, classes),
            per_position(begins),
            per_position(ends),
            *self.arrays[8:],
        )

    def has_unknown(self, values: Sequence[Array]) -> Array:
        """`(B,)`: whether a value that is used is no finite number."""
        batch, time, _, _ = self.size
        lengths = self.arrays[8]
        place = np.arange(time)
        within = place < lengths[:, None]
        found = np.zeros(batch, bool)
        position, transition, _, duration, first, last, begins, ends = values[:8]
        everywhere = np.ones((1, 1), bool)
        lasting, counted = duration[:, :1], everywhere
        if self.by_segment:  # else nothing here may be as large as T * K
            lasting, last_place = duration, place[:, None] + np.arange(duration.shape[2])
            counted = last_place[None, :, :, None] < lengths[:, None, None, None]
        used = (
            (position, within),
            (begins, within),
            (ends, within),
            (transition, within & (place > 0)) if self.by_position else (transition[:, :1], everywhere),
            (lasting, counted),
            (first, everywhere),
            (last, everywhere),
        )
        for value, live in used:
            bad = ~np.isfinite(value)
            if bad.any():
                bad &= live.reshape(*live.shape, *(1,) * (value.ndim - live.ndim))
                found |= bad.reshape(batch, -1).any(1)
        return found

    @property
    def operations(self) -> int:
        """Multiply-adds of one scan."""
        return scan_operations("compiled", self.size)


class Answers(NamedTuple):
    """What the scans write. Forward and backward scan count transitions and durations apart."""

    total: Array  # (B,)
    position: Array  # (B, T, C), where the scans also keep one of their messages
    begins: Array  # (B, T, C), or (1, 0, C) if not wanted
    ends: Array
    edges: Array  # (2, B, C), labels of the first and the last segment
    transitions: Array  # (2, B, 1, C, C), or (1, B, T, C, C) with one for each boundary
    durations: Array  # (2, B, 1, K, C), or (1, B, T, K, C) with one for each beginning

    @classmethod
    def of_log_partition(cls, size: Size) -> Self:
        """Nothing but the log partition."""
        batch, classes = size.batch, size.classes
        nothing = np.empty((1, 0, classes))
        per_label = np.empty((2, 1, classes))
        return cls(
            np.empty(batch), nothing, nothing, nothing, per_label,
            np.empty((1, 1, 1, classes, classes)), per_label[:, None, None],
        )  # fmt: skip

    @classmethod
    def of_posteriors(cls, problem: Problem, boundaries: bool, added: bool) -> Self:
        """Everything, but `begins` and `ends` only where `boundaries` are wanted.

        Those of positions are zeros where they are `added` up; else they will be written, each of them.
        """
        batch, time, max_duration, classes = problem.size
        of_positions = np.zeros if added else np.empty
        shape = (batch, time, classes) if boundaries else (1, 0, classes)

        def zeros(apart: bool, *shape: int) -> Array:
            return np.zeros((1, batch, time, *shape) if apart else (2, batch, 1, *shape))

        return cls(
            np.empty(batch),
            of_positions((batch, time, classes)),
            of_positions(shape),
            of_positions(shape),
            np.zeros((2, batch, classes)),
            zeros(problem.by_position, classes, classes),
            zeros(problem.by_segment, max_duration, classes),
        )

    def statistics(self, problem: Problem, boundaries: bool) -> tuple[Array, ...]:
        """Everything but the total, in the order of `semicrf::posteriors`."""
        batch, classes = problem.size.batch, problem.size.classes
        nothing = np.empty((batch, 0, classes))
        return (
            self.position,
            self.begins if boundaries else nothing,
            self.ends if boundaries else nothing,
            *(
                counts[0] if len(counts) == 1 else counts[0, :, 0] + counts[1, :, 0]
                for counts in (self.transitions, self.durations)
            ),
            self.edges[0],
            self.edges[1],
        )


ANSWERS = (
    "Tuple((float64[::1], float64[:,:,::1], float64[:,:,::1], float64[:,:,::1], float64[:,:,::1],"
    "float64[:,:,:,:,::1], float64[:,:,:,:,::1]))"
)
"""Types of the arrays of `Answers`."""


SPARE = 256
"""Steps after which open segments move to the front of their tape, or K if that is more."""
