"""What a semiring is, and how its elements lie in arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from array_api_compat import array_namespace, device

Array = Any
Constant = float | tuple[float, ...]
"""An element of a semiring: one number, or a tuple of several."""


class Semiring(Protocol):
    """A commutative semiring over array entries.

    An element is one number, or a few. Elements of shape `S` are an array of that shape, or one of `(*S, n)`
    whose last axis holds the `n` numbers of an element. So they are indexed, stacked and broadcast alike,
    by their first axes, and an `axis` counts those of `S`.

    Laws: `add` and `mul` are associative and commutative, `mul` distributes over `add`, `zero` is
    neutral for `add` and annihilates under `mul`, `one` is neutral for `mul`; `sum` is repeated `add`.
    Lifting turns sums into products, `-inf` into `zero` and 0 into `one`.

    Cost: O(n) time for each element of n numbers, unless a semiring says otherwise; `dot` holds the products.
    """

    @property
    def name(self) -> str:
        """What the semiring computes."""

    @property
    def zero(self) -> Constant:
        """The neutral element of `add`."""

    @property
    def one(self) -> Constant:
        """The neutral element of `mul`."""

    @property
    def arity(self) -> int:
        """How many scores `lift` takes."""
        return 1

    @property
    def lift(self) -> Callable[..., Array]:
        """The elements for `arity` arrays of one shape, the first of scores in nats."""

    def add(self, a: Array, b: Array) -> Array:
        """Combine alternatives."""

    def mul(self, a: Array, b: Array) -> Array:
        """Combine parts."""

    def sum(self, x: Array, axis: int) -> Array:
        """`add` along an axis."""

    def dot(self, a: Array, b: Array, axis: int) -> Array:
        """`sum` along an axis of the products of `a` and `b`: whatever contracts goes through here."""
        return self.sum(self.mul(a, b), axis)

    def zeros(self, shape: tuple[int, ...], like: Array) -> Array:
        """`zero` everywhere, in the library and dtype of another array."""
        return filled(self.zero, shape, like)

    def ones(self, shape: tuple[int, ...], like: Array) -> Array:
        """`one` everywhere, in the library and dtype of another array."""
        return filled(self.one, shape, like)


class ScalarSemiring(Semiring, Protocol):
    """A semiring whose elements are single numbers."""

    @property
    def zero(self) -> float:
        """The neutral element of `add`."""

    @property
    def one(self) -> float:
        """The neutral element of `mul`."""


def filled(constant: Constant, shape: tuple[int, ...], like: Array) -> Array:
    """One element everywhere, broadcast."""
    xp = array_namespace(like)
    element = xp.asarray(constant, dtype=like.dtype, device=device(like))
    return xp.broadcast_to(element, (*shape, *element.shape))
