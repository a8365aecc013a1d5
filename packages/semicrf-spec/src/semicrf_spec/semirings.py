"""Semirings, written once over the array API.

A semi-Markov model asks one question in many algebras: the sum over segmentations of the product of
their parts. `log` answers with the log partition, `max` with the best score, `real` with the partition
itself and `count` with the number of segmentations that are allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from array_api_compat import array_namespace

Array = Any


def logsumexp(x: Array, axis: int, *, namespace: Any = None) -> Array:
    """`log(sum(exp(x)))` along an axis, `-inf` where every entry is `-inf`.

    Never NaN for finite or `-inf` entries, and neither are its derivatives of any order.

    Args:
        x: finite or `-inf`.
        axis: which is summed.
        namespace: of the array API, for tracers, which cannot ask the array for it.
    Source: the shifted sum of Blanchard, Higham & Higham 2021.
    """
    xp = array_namespace(x) if namespace is None else namespace
    if x.shape[axis] == 0:
        return xp.sum(x, axis=axis) - math.inf
    peak = xp.max(x, axis=axis, keepdims=True)
    peak = xp.where(peak > -math.inf, peak, xp.zeros_like(peak))
    total = xp.sum(xp.exp(x - peak), axis=axis)
    empty = total == 0
    log_total = xp.log(xp.where(empty, xp.ones_like(total), total)) + xp.squeeze(peak, axis=axis)
    return xp.where(empty, xp.full_like(log_total, -math.inf), log_total)


class Semiring(Protocol):
    """A commutative semiring whose elements are array entries.

    Laws: `add` and `mul` are associative and commutative, `mul` distributes over `add`, `zero` is
    neutral for `add` and annihilates under `mul`, `one` is neutral for `mul`; `sum` is repeated `add`.
    """

    @property
    def name(self) -> str:
        """What the semiring computes."""

    @property
    def zero(self) -> float:
        """The neutral element of `add`."""

    @property
    def one(self) -> float:
        """The neutral element of `mul`."""

    def lift(self, score: Array) -> Array:
        """The element for a score in nats."""

    def add(self, a: Array, b: Array) -> Array:
        """Combine alternatives."""

    def mul(self, a: Array, b: Array) -> Array:
        """Combine parts."""

    def sum(self, x: Array, axis: int) -> Array:
        """`add` along an axis."""


@dataclass(frozen=True)
class LogSemiring:
    """`(logsumexp, +)`: sums of weights, kept as logarithms."""

    name: str = "log"
    zero: float = -math.inf
    one: float = 0.0

    def lift(self, score: Array) -> Array:
        """The score itself."""
        return score

    def add(self, a: Array, b: Array) -> Array:
        """`log(exp(a) + exp(b))`."""
        xp = array_namespace(a, b)
        return logsumexp(xp.stack(xp.broadcast_arrays(a, b)), axis=0)

    def mul(self, a: Array, b: Array) -> Array:
        """`a + b`."""
        return a + b

    def sum(self, x: Array, axis: int) -> Array:
        """`logsumexp` along an axis."""
        return logsumexp(x, axis)


@dataclass(frozen=True)
class MaxSemiring:
    """`(max, +)`: the best score."""

    name: str = "max"
    zero: float = -math.inf
    one: float = 0.0

    def lift(self, score: Array) -> Array:
        """The score itself."""
        return score

    def add(self, a: Array, b: Array) -> Array:
        """The larger of the two."""
        return array_namespace(a, b).maximum(a, b)

    def mul(self, a: Array, b: Array) -> Array:
        """`a + b`."""
        return a + b

    def sum(self, x: Array, axis: int) -> Array:
        """The largest entry along an axis."""
        xp = array_namespace(x)
        return xp.max(x, axis=axis) if x.shape[axis] else xp.sum(x, axis=axis) - math.inf


@dataclass(frozen=True)
class RealSemiring:
    """`(+, *)`: sums of weights as they are; overflows where `log` does not."""

    name: str = "real"
    zero: float = 0.0
    one: float = 1.0

    def lift(self, score: Array) -> Array:
        """`exp(score)`."""
        return array_namespace(score).exp(score)

    def add(self, a: Array, b: Array) -> Array:
        """`a + b`."""
        return a + b

    def mul(self, a: Array, b: Array) -> Array:
        """`a * b`."""
        return a * b

    def sum(self, x: Array, axis: int) -> Array:
        """The sum along an axis."""
        return array_namespace(x).sum(x, axis=axis)


@dataclass(frozen=True)
class CountSemiring(RealSemiring):
    """`(+, *)` over 0 and 1: how many segmentations are not forbidden.

    Counts are kept in the dtype of the scores: exact up to `2**53` in float64.
    """

    name: str = "count"

    def lift(self, score: Array) -> Array:
        """1 where the score is allowed, 0 where it is `-inf`."""
        xp = array_namespace(score)
        return xp.astype(score > -math.inf, score.dtype)


LOG = LogSemiring()
MAX = MaxSemiring()
REAL = RealSemiring()
COUNT = CountSemiring()
SEMIRINGS: tuple[Semiring, ...] = (LOG, MAX, REAL, COUNT)
"""Every semiring there is."""
