"""A weight and a statistic of what it is the weight of: entropies, divergences, expectations, covariances.

An element says of a set of alternatives how much they weigh, as a logarithm, and what holds on average *among
them*. Of independent parts the statistics add up; a sum over alternatives averages them by their shares of
the weight and adds what the choice between the alternatives is worth. Nothing large is ever subtracted.

Times beside that of `LOG` are of scans and their gradients, as measured in `docs/semirings.md`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

from array_api_compat import array_namespace

from semicrf_spec.semirings.protocol import Array, Semiring
from semicrf_spec.semirings.sums import shares


class _Statistics(Semiring):
    """Elements `(log weight, ...)`: products add, and what weighs nothing has no statistics."""

    @property
    def weights(self) -> int:
        """How many log weights an element begins with, the first of which counts."""
        return 1

    def add(self, a: Array, b: Array) -> Array:
        """`sum` of the two."""
        xp = array_namespace(a, b)
        return self.sum(xp.stack(xp.broadcast_arrays(a, b)), 0)

    def mul(self, a: Array, b: Array) -> Array:
        """Weights multiply, and statistics of independent parts add."""
        both = a + b
        return self._joined(both[..., : self.weights], both[..., self.weights :])

    def sum(self, x: Array, axis: int) -> Array:
        """Weights add, statistics are averaged."""
        return array_namespace(x).stack(self._summed(x, axis), axis=-1)

    @abstractmethod
    def _summed(self, x: Array, axis: int) -> list[Array]:
        """The numbers of the sum along an axis, each an array."""

    def _joined(self, log_weights: Array, statistics: Array) -> Array:
        """`(..., weights)` and `(..., n)` as elements."""
        xp = array_namespace(log_weights)
        counts = log_weights[..., :1] > -math.inf
        return xp.concat([log_weights, xp.where(counts, statistics, xp.zeros_like(statistics))], axis=-1)


@dataclass(frozen=True)
class EntropySemiring(_Statistics):
    """`(log weight, entropy)`: the entropy of the distribution over alternatives, in nats.

        H = sum_i share_i (H_i - log share_i)

    Cost: two numbers an element.
    Source: Hernando, Crespi & Cybenko 2005; in other numbers, Cortes, Mohri, Rastogi & Riley 2008.
    """

    name: str = "entropy"
    zero: tuple[float, ...] = (-math.inf, 0.0)
    one: tuple[float, ...] = (0.0, 0.0)

    def lift(self, score: Array) -> Array:
        """One alternative is certain."""
        xp = array_namespace(score)
        return xp.stack([score, xp.zeros_like(score)], axis=-1)

    def _summed(self, x: Array, axis: int) -> list[Array]:
        found = shares(x[..., 0], axis)
        entropy = array_namespace(x).sum(found.share * (x[..., 1] - found.log_share), axis=axis)
        return [found.log_sum, entropy]


@dataclass(frozen=True)
class CrossEntropySemiring(_Statistics):
    """`(log weight of p, log weight of q, cross-entropy)`, `-sum_y p(y) log q(y)` in nats.

        H(p, q) = sum_i p_i (H_i - log q_i)

    with the shares `p_i`, `q_i` of the two weights. Infinite, with gradient 0, where `q` forbids
    anything that `p` does not, however improbable.

    Cost: three numbers an element, two sums of weights in a sum.
    """

    name: str = "cross_entropy"
    zero: tuple[float, ...] = (-math.inf, -math.inf, 0.0)
    one: tuple[float, ...] = (0.0, 0.0, 0.0)
    arity: int = 2

    @property
    def weights(self) -> int:
        """Those of p and q."""
        return 2

    def lift(self, score: Array, other: Array) -> Array:
        """One alternative, of score `score` in `p` and `other` in `q`."""
        xp = array_namespace(score, other)
        cost = xp.where(other > -math.inf, xp.zeros_like(score), xp.full_like(score, math.inf))
        return self._joined(xp.stack([score, other], axis=-1), cost[..., None])

    def _summed(self, x: Array, axis: int) -> list[Array]:
        xp = array_namespace(x)
        p, q, each = shares(x[..., 0], axis), shares(x[..., 1], axis), x[..., 2]
        forbidden = each == math.inf
        finite = xp.where(forbidden, xp.zeros_like(each), each)
        total = xp.sum(p.share * (finite + self._of_choice(p.log_share, q.log_share)), axis=axis)
        infinite = xp.any(forbidden, axis=axis)
        return [p.log_sum, q.log_sum, xp.where(infinite, xp.full_like(total, math.inf), total)]

    def _of_choice(self, log_p: Array, log_q: Array) -> Array:
        """What it costs on top that this alternative is chosen."""
        return -log_q


@dataclass(frozen=True)
class KLDivergenceSemiring(CrossEntropySemiring):
    """`(log weight of p, log weight of q, divergence)`, `sum_y p(y) log(p(y) / q(y))` in nats.

        KL(p || q) = sum_i p_i (KL_i + log p_i - log q_i)

    with the shares `p_i`, `q_i` of the two weights: exactly 0 of equal scores. Infinite, with gradient 0,
    where `q` forbids anything that `p` does not, however improbable.

    Cost: three numbers an element, as of a cross-entropy.
    """

    name: str = "kl_divergence"

    def _of_choice(self, log_p: Array, log_q: Array) -> Array:
        return log_p - log_q


@dataclass(frozen=True)
class ExpectationSemiring(_Statistics):
    """`(log weight, mean)`: the mean of a value that is the sum of the values of the parts.

        E[V] = sum_i share_i E_i[V]

    The first-order expectation semiring `(p, r)` of Li & Eisner 2009 with `r = p E[V]`. Values are finite
    wherever the score is; what they are elsewhere does not matter.

    Cost: two numbers an element.
    """

    name: str = "expectation"
    zero: tuple[float, ...] = (-math.inf, 0.0)
    one: tuple[float, ...] = (0.0, 0.0)
    arity: int = 2

    def lift(self, score: Array, value: Array) -> Array:
        """One alternative and its value."""
        return self._joined(score[..., None], value[..., None])

    def _summed(self, x: Array, axis: int) -> list[Array]:
        found = shares(x[..., 0], axis)
        return [found.log_sum, array_namespace(x).sum(found.share * x[..., 1], axis=axis)]


@dataclass(frozen=True)
class CovarianceSemiring(_Statistics):
    """`(log weight, mean of V, mean of W, covariance)` of two values that are sums of those of the parts.

        Cov[V, W] = sum_i share_i (Cov_i + (E_i[V] - E[V]) (E_i[W] - E[W]))

    The second-order expectation semiring `(p, r, s, t)` of Li & Eisner 2009 with `r = p E[V]`, `s = p E[W]`
    and `t = p E[V W] = p (Cov[V, W] + E[V] E[W])`, in a form that does not lose the covariance in the product
    of the means. Values are finite wherever the score is; what they are elsewhere does not matter.

    Cost: four numbers an element.
    """

    name: str = "covariance"
    zero: tuple[float, ...] = (-math.inf, 0.0, 0.0, 0.0)
    one: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    arity: int = 3

    def lift(self, score: Array, value: Array, other: Array) -> Array:
        """One alternative and its two values."""
        xp = array_namespace(score, value, other)
        return self._joined(score[..., None], xp.stack([value, other, xp.zeros_like(score)], axis=-1))

    def _summed(self, x: Array, axis: int) -> list[Array]:
        xp = array_namespace(x)
        found = shares(x[..., 0], axis)
        v, w, covariance = x[..., 1], x[..., 2], x[..., 3]
        mean_v, mean_w = (xp.sum(found.share * each, axis=axis, keepdims=True) for each in (v, w))
        among = covariance + (v - mean_v) * (w - mean_w)
        means = (xp.squeeze(mean, axis=axis) for mean in (mean_v, mean_w))
        return [found.log_sum, *means, xp.sum(found.share * among, axis=axis)]
