"""The k best scores as an element."""

from __future__ import annotations

import math
from dataclasses import dataclass

from array_api_compat import array_namespace

from semicrf_spec.semirings.protocol import Array, Semiring


@dataclass(frozen=True)
class KMaxSemiring(Semiring):
    """The k best scores, best first, `-inf` where there are fewer: elements of k numbers.

    Every alternative counts once, equal scores as often as there are alternatives that have them. Where
    an answer is `-inf` its gradient is 0.

    Args:
        k: how many, at least 1.
    Raises: ValueError for a k below 1.
    Cost: O(k log k) a sum of two, O(k^2 log k) a product.
    Source: Goodman 1999; Huang & Chiang 2005.
    """

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k is {self.k}; expected at least 1")

    @property
    def name(self) -> str:
        """What the semiring computes."""
        return f"{self.k}_max"

    @property
    def zero(self) -> tuple[float, ...]:
        """No alternative."""
        return (-math.inf,) * self.k

    @property
    def one(self) -> tuple[float, ...]:
        """One, of score 0."""
        return (0.0, *self.zero[1:])

    def lift(self, score: Array) -> Array:
        """The score, and no other."""
        return self._best(score[..., None])

    def add(self, a: Array, b: Array) -> Array:
        """The k best of both."""
        xp = array_namespace(a, b)
        return self._best(xp.concat(xp.broadcast_arrays(a, b), axis=-1))

    def mul(self, a: Array, b: Array) -> Array:
        """The k best sums of one of `a` and one of `b`."""
        xp = array_namespace(a, b)
        sums = a[..., :, None] + b[..., None, :]
        return self._best(xp.reshape(sums, (*sums.shape[:-2], self.k * self.k)))

    def sum(self, x: Array, axis: int) -> Array:
        """The k best of all along an axis."""
        xp = array_namespace(x)
        together = xp.moveaxis(x, axis if axis >= 0 else axis - 1, -2)
        *shape, number, _ = together.shape
        return self._best(xp.reshape(together, (*shape, number * self.k)))

    def _best(self, x: Array) -> Array:
        """The k best along the last axis."""
        xp = array_namespace(x)
        missing = self.zeros(x.shape[:-1], x)[..., : max(0, self.k - x.shape[-1])]
        x = xp.concat([x, missing], axis=-1)
        best = xp.sort(x, axis=-1, descending=True)[..., : self.k]
        return xp.where(best > -math.inf, best, xp.full_like(best, -math.inf))
