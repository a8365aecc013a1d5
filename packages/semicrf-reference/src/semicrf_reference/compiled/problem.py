"""What the kernels read and write, as arrays over the tensors' memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from semicrf_spec import DensePotentials, Potentials
from semicrf_spec.cost import Size, scan_operations

Array = npt.NDArray[Any]
POSITIONAL = ("emissions", "begin", "finish")


@dataclass(frozen=True)
class Problem:
    """The terms of a batch, checked and dense, in the order of the call signature.

    Terms with one score per position and label are float32 or float64, whichever holds them all; the other
    scores are float64. Nothing is copied whose dtype fits already.
    """

    arrays: tuple[Array, ...]
    size: Size

    @classmethod
    def of(cls, terms: Sequence[Tensor | None]) -> Self:
        """Read the arguments of an operator."""
        given: Potentials[Any] = Potentials(*terms)
        given.check_values()
        real = torch.float32
        for name in POSITIONAL:
            term = getattr(given, name)
            real = real if term is None else torch.promote_types(real, term.dtype)
        dtypes = {"lengths": torch.int64, **dict.fromkeys(POSITIONAL, real)}
        cast = {name: term.to(dtypes.get(name, torch.float64)) for name, term in given.items()}
        batch, time, classes = given.shape
        for name in ("start", "end"):
            cast.setdefault(name, torch.zeros(classes, dtype=torch.float64))
        dense = DensePotentials.of(Potentials(**cast))
        arrays = tuple(term.detach().numpy() for _, term in dense.items())
        return cls(arrays, Size(batch, time, given.max_duration, classes))

    @property
    def operations(self) -> int:
        """Multiply-adds of one scan."""
        return scan_operations("compiled", self.size)


class Messages(NamedTuple):
    """What one scan leaves: `star` and `closed` `(B, T, C)`, and `scale` `(B, T + 1, 2)`."""

    star: Array
    closed: Array
    scale: Array

    @classmethod
    def kept(cls, size: Size) -> Messages:
        """Room for the messages of every position."""
        shape = (size.batch, size.time, size.classes)
        return cls(np.empty(shape), np.empty(shape), np.empty((size.batch, size.time + 1, 2)))

    @classmethod
    def passing(cls, size: Size) -> Messages:
        """Room for one row a sequence: every position writes over the one before, and the last one stays."""
        shape = (size.batch, size.classes)
        return cls(
            along_time(np.empty(shape), size.time),
            along_time(np.empty(shape), size.time),
            along_time(np.empty((size.batch, 2)), size.time + 1),
        )


class Counts(NamedTuple):
    """Posteriors to be added up: `(B, T, C)` three times, `(B, T, C, C)`, `(B, K, C)`."""

    position: Array
    begins: Array
    ends: Array
    transitions: Array
    durations: Array

    @classmethod
    def zeros(cls, size: Size, transitions: Array) -> Counts:
        """Nothing counted yet; `transitions` may hold one `(C, C)` a sequence for all positions."""
        positions = (size.batch, size.time, size.classes)
        durations = np.zeros((size.batch, size.max_duration, size.classes))
        return cls(np.zeros(positions), np.zeros(positions), np.zeros(positions), transitions, durations)


def along_time(rows: Array, time: int) -> Array:
    """A view `(B, time, ...)` of `(B, ...)` in which every time is the same memory."""
    strides = (rows.strides[0], 0, *rows.strides[1:])
    return np.lib.stride_tricks.as_strided(rows, (len(rows), time, *rows.shape[1:]), strides)
