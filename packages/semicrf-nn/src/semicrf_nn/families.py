"""Families of durations with few parameters, fitted by maximum likelihood."""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from semicrf_nn.durations import Durations
from semicrf_nn.fitting import EXTREME, fit_labels, moments


class _FamilyDurations(Durations):
    """A family whose parameters are all `(C,)`, each label's own."""

    @abstractmethod
    def _from_moments(self, mean: Tensor, variance: Tensor) -> dict[str, Tensor]:
        """Parameters of about that mean and variance `(C,)`, in positions: where a fit begins."""

    def _fit(self, counts: Tensor) -> Tensor:
        names, current = zip(*self.named_parameters(), strict=True)
        guess = self._from_moments(*moments(counts))
        begin = torch.stack([guess[name] for name in names])

        def log_probabilities(parameters: Tensor) -> Tensor:
            given = dict(zip(names, parameters, strict=True))
            return cast(Tensor, functional_call(self, given, ()))

        with torch.no_grad():
            found, unfinished = fit_labels(log_probabilities, begin, counts)
            for parameter, values in zip(current, found, strict=True):
                parameter.copy_(torch.where(counts.sum(0) > 0.0, values, parameter))
        return unfinished


class GeometricDurations(_FamilyDurations):
    """A segment goes on with the same probability at every position: what a hidden Markov model implies.

        p(d) = a^(d - 1) / Z,   a = sigmoid(logit)

    Attributes:
        logit: `(C,)` parameter, log-odds of going on; untruncated, `exp(logit)` positions follow the first.

    Source: Rabiner 1989.
    """

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.logit = nn.Parameter(torch.zeros(num_classes))  # of going on

    def scores(self, d: Tensor) -> Tensor:
        """`(d - 1) log a`."""
        return (d - 1.0) * nn.functional.logsigmoid(self.logit.double())

    def _from_moments(self, mean: Tensor, variance: Tensor) -> dict[str, Tensor]:
        return {"logit": _after_the_first(mean).log()}


class PoissonDurations(_FamilyDurations):
    """`d - 1` has a Poisson distribution.

        p(d) = rate^(d - 1) / (d - 1)! / Z

    Attributes:
        log_rate: `(C,)` parameter, logarithm of the rate in positions, the untruncated mean of d - 1.

    Source: Russell & Moore 1985.
    """

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.log_rate = nn.Parameter(torch.zeros(num_classes))

    def scores(self, d: Tensor) -> Tensor:
        """`(d - 1) log rate - log (d - 1)!`."""
        return (d - 1.0) * self.log_rate.double() - torch.lgamma(d)

    def _from_moments(self, mean: Tensor, variance: Tensor) -> dict[str, Tensor]:
        return {"log_rate": _after_the_first(mean).log()}


class NegativeBinomialDurations(_FamilyDurations):
    """`d - 1` has a negative binomial distribution: a Poisson one of uncertain rate.

        p(d) = Gamma(count + d - 1) / (Gamma(count) (d - 1)!) a^(d - 1) / Z,   a = sigmoid(logit)

    Attributes:
        log_count: `(C,)` parameter, logarithm of the count, no unit: 1 is geometric, infinity is Poisson.
        logit: `(C,)` parameter, log-odds of a; untruncated, d - 1 has the mean `count exp(logit)` positions.

    Source: Johnson, Kemp & Kotz 2005.
    """

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.log_count = nn.Parameter(torch.zeros(num_classes))
        self.logit = nn.Parameter(torch.zeros(num_classes))

    def scores(self, d: Tensor) -> Tensor:
        """`sum_{j < d - 1} log((count + j) / (1 + j)) + (d - 1) log sigmoid(logit)`."""
        count = self.log_count.double().clamp(-EXTREME, EXTREME).exp()
        steps = ((count + d - 1.0) / d).log()
        ways = torch.cat([torch.zeros_like(steps[:1]), steps[:-1].cumsum(0)])
        return ways + (d - 1.0) * nn.functional.logsigmoid(self.logit.double())

    def _from_moments(self, mean: Tensor, variance: Tensor) -> dict[str, Tensor]:
        more = _after_the_first(mean)
        count = more.square() / torch.maximum(variance - more, 0.01 * more)  # hardly a Poisson's variance
        return {"log_count": count.log(), "logit": (more / count).log()}


class LogNormalDurations(_FamilyDurations):
    """`log d` has a normal distribution.

        p(d) = 1/d exp(-(log d - mean)^2 / (2 deviation^2)) / Z

    Attributes:
        mean: `(C,)` parameter, mean of log d, d in positions; untruncated, the median of d is `exp(mean)`.
        log_deviation: `(C,)` parameter, logarithm of the standard deviation of log d, no unit.

    Source: Johnson, Kotz & Balakrishnan 1994.
    """

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.mean = nn.Parameter(torch.zeros(num_classes))
        self.log_deviation = nn.Parameter(torch.zeros(num_classes))

    def scores(self, d: Tensor) -> Tensor:
        """`-log d - (log d - mean)^2 / (2 deviation^2)`."""
        precision = self.log_deviation.double().clamp(-EXTREME, EXTREME).neg().exp()
        mean = self.mean.double().clamp(-EXTREME, EXTREME)
        return -d.log() - 0.5 * ((d.log() - mean) * precision).square()

    def _from_moments(self, mean: Tensor, variance: Tensor) -> dict[str, Tensor]:
        square = torch.log1p(variance / mean.square())
        return {"mean": mean.log() - 0.5 * square, "log_deviation": 0.5 * square.log()}


class GammaDurations(_FamilyDurations):
    """A gamma distribution, by its mean and shape.

        p(d) = 1/d (x exp(1 - x))^shape / Z,   x = d / mean

    Attributes:
        log_mean: `(C,)` parameter, logarithm of the untruncated mean in positions.
        log_shape: `(C,)` parameter, logarithm of the shape, no unit; the variance is `mean^2 / shape`.

    Source: Levinson 1986.
    """

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.log_mean = nn.Parameter(torch.zeros(num_classes))
        self.log_shape = nn.Parameter(torch.zeros(num_classes))

    def scores(self, d: Tensor) -> Tensor:
        """`shape (log x - x + 1) - log d`, with `x = d / mean`."""
        shape = self.log_shape.double().clamp(-EXTREME, EXTREME).exp()
        log_x = d.log() - self.log_mean.double().clamp(-EXTREME, EXTREME)
        return shape * (log_x - torch.expm1(log_x)) - d.log()

    def _from_moments(self, mean: Tensor, variance: Tensor) -> dict[str, Tensor]:
        return {"log_mean": mean.log(), "log_shape": (mean.square() / variance).log()}


def _after_the_first(mean: Tensor) -> Tensor:
    """Mean of d - 1, which has a logarithm."""
    return (mean - 1.0).clamp(min=1e-3)
