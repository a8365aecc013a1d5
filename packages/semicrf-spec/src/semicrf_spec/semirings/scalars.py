"""Semirings whose elements are single numbers.

Times beside that of `LOG` are of scans and their gradients, as measured in `docs/semirings.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from array_api_compat import array_namespace

from semicrf_spec.semirings.protocol import Array, ScalarSemiring
from semicrf_spec.semirings.sums import logsumexp


@dataclass(frozen=True)
class LogSemiring(ScalarSemiring):
    """`(logsumexp, +)`: sums of weights, kept as logarithms.

    Cost: one number an element; a product is an addition, a sum of n takes n exponentials and a logarithm.
    """

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
class MaxSemiring(ScalarSemiring):
    """`(max, +)`: the best score.

    Cost: one number an element, no exponentials.
    """

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
        """The largest entry along an axis; its gradient is 0 where every entry is `-inf`."""
        xp = array_namespace(x)
        if x.shape[axis] == 0:
            return xp.sum(x, axis=axis) - math.inf
        largest = xp.max(x, axis=axis)
        return xp.where(largest > -math.inf, largest, xp.full_like(largest, -math.inf))


@dataclass(frozen=True)
class RealSemiring(ScalarSemiring):
    """`(+, *)`: sums of weights as they are; overflows where `log` does not.

    Cost: one number an element, an exponential only to lift it.
    """

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

    Cost: one number an element, no exponentials.
    """

    name: str = "count"

    def lift(self, score: Array) -> Array:
        """1 where the score is allowed, 0 where it is `-inf`."""
        xp = array_namespace(score)
        return xp.astype(score > -math.inf, score.dtype)


@dataclass(frozen=True)
class BooleanSemiring(CountSemiring):
    """`(or, and)` over 0 and 1, in the dtype of the scores: whether any segmentation is not forbidden.

    Cost: that of a count.
    """

    name: str = "boolean"

    def add(self, a: Array, b: Array) -> Array:
        """1 where one of the two is."""
        return array_namespace(a, b).maximum(a, b)

    def sum(self, x: Array, axis: int) -> Array:
        """1 where an entry along the axis is."""
        xp = array_namespace(x)
        return xp.max(x, axis=axis) if x.shape[axis] else xp.sum(x, axis=axis)
