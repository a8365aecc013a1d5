"""Distributions of durations, one for each label, as duration scores of a model."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from semicrf_nn.constraints import positive
from semicrf_nn.plots import plot_durations
from semicrf_spec.operators import can_look, logsumexp

SegmentLists = Iterable[Iterable[tuple[int, int, int]]]


class Durations(nn.Module, ABC):
    """Log-probabilities of durations `1..K`, one distribution for each label.

        forward()[d - 1, c] = scores()[d - 1, c] - log sum_{d'=1}^{K} exp(scores()[d' - 1, c])

    A family gives `scores`, its log-density at whole durations up to a constant; normalising over `1..K`
    truncates it and makes it discrete. Computed in float64; the answer has the dtype and the device of the
    module. Cost of every family: O(K C) time and memory for each call; of a mixture, as often as it has
    components.

    Args:
        num_classes: C.
        max_duration: K, in positions.
    Raises: ValueError naming the argument that is no whole number of at least 1.
    """

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__()
        self.num_classes = positive("num_classes", num_classes)
        self.max_duration = positive("max_duration", max_duration)
        self.register_buffer("like", torch.empty(0), persistent=False)  # some families have no parameter

    @abstractmethod
    def scores(self, d: Tensor) -> Tensor:
        """Log-density of durations `d`, `(K, 1)` float64, up to a constant for each label: `(K, C)`."""

    def forward(self) -> Tensor:
        """`(K, C)` nats; exponentials of a column sum to 1."""
        like = cast(Tensor, self.like)
        d = torch.arange(1, self.max_duration + 1, dtype=torch.float64, device=like.device)[:, None]
        scores = self.scores(d).expand(self.max_duration, self.num_classes)
        return scores.log_softmax(0).to(like.dtype)

    @classmethod
    def from_segments(cls, segments: SegmentLists, *arguments: Any) -> Self:
        """The distribution of this family under which given segments are most likely.

        Args:
            segments: lists of `(start, end, label)`, one a sequence.
            arguments: those of the constructor.
        Raises: what the constructor and `fit` raise.
        """
        return cls(*arguments).fit(segments)

    def fit(self, segments: SegmentLists) -> Self:
        """Move the parameters to where given segments are most likely, and return this.

        Args:
            segments: lists of `(start, end, label)`, one a sequence. Labels that none bears stay as they are.
        Raises: ValueError naming the segment that is longer than K, has a label out of range, or lasts as
            long as is forbidden.
        Cost: some hundred evaluations of all `K * C` probabilities (L-BFGS).
        """
        counts = count_durations(segments, self.num_classes, self.max_duration)
        parameters = list(self.parameters())
        if not parameters:
            return self
        self._check_allowed(counts)
        dtype = parameters[0].dtype
        counts = counts.to(parameters[0].device)
        self.double()
        optimiser = torch.optim.LBFGS(self.parameters(), max_iter=500, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            likelihood = torch.where(counts > 0.0, counts * self(), 0.0).sum()  # else -inf times 0 is NaN
            value: Tensor = -likelihood / counts.sum().clamp(min=1.0)
            value.backward()  # type: ignore[no-untyped-call]  # PyTorch's
            return value

        optimiser.step(loss)  # type: ignore[no-untyped-call]  # PyTorch's
        optimiser.zero_grad()
        return self.to(dtype)

    def _check_allowed(self, counts: Tensor) -> None:
        with torch.no_grad():
            forbidden = (counts > 0.0) & (self().to(counts.device) == -torch.inf)
        if bool(forbidden.any()):
            row, label = forbidden.nonzero()[0].tolist()
            raise ValueError(
                f"label {label} has a segment of {row + 1} positions, which the distribution forbids; "
                "expected segments that it allows"
            )

    def plot(self, names: Sequence[str] | None = None, ax: Any = None) -> Any:
        """Draw the probability of every duration for each label; needs matplotlib, the extra `[plot]`.

        Args:
            names: of the labels; their numbers if missing.
            ax: matplotlib's axes to draw on; new ones if missing.
        Returns: the axes. Cost: O(K C).
        """
        return plot_durations(self(), names, ax)


class LearnedDurations(Durations):
    """A free probability for every duration and label."""

    SMOOTHING = 0.5
    """What `fit` adds to every count, so that what did not occur stays possible (Jeffreys)."""

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.score = nn.Parameter(torch.zeros(max_duration, num_classes))

    def scores(self, d: Tensor) -> Tensor:
        """The parameters."""
        return self.score.double()

    def fit(self, segments: SegmentLists) -> Self:
        """Set the parameters to the logarithms of smoothed counts, and return this."""
        counts = count_durations(segments, self.num_classes, self.max_duration)
        with torch.no_grad():
            self.score.copy_((counts + self.SMOOTHING).log())
        return self


class UniformDurations(Durations):
    """Every duration as likely as any other."""

    def scores(self, d: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(d)


class GeometricDurations(Durations):
    """A segment goes on with the same probability at every position: what a hidden Markov model implies."""

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.logit = nn.Parameter(torch.zeros(num_classes))  # of going on

    def scores(self, d: Tensor) -> Tensor:
        """`(d - 1) log p`, p being the probability of going on."""
        return (d - 1.0) * nn.functional.logsigmoid(self.logit.double())


class PoissonDurations(Durations):
    """`d - 1` has a Poisson distribution."""

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.log_rate = nn.Parameter(torch.zeros(num_classes))

    def scores(self, d: Tensor) -> Tensor:
        """`(d - 1) log rate - log (d - 1)!`."""
        return (d - 1.0) * self.log_rate.double() - torch.lgamma(d)


class NegativeBinomialDurations(Durations):
    """`d - 1` has a negative binomial distribution: a Poisson one of uncertain rate."""

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


class LogNormalDurations(Durations):
    """`log d` has a normal distribution."""

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.mean = nn.Parameter(torch.zeros(num_classes))
        self.log_deviation = nn.Parameter(torch.zeros(num_classes))

    def scores(self, d: Tensor) -> Tensor:
        """`-log d - (log d - mean)^2 / (2 deviation^2)`."""
        precision = self.log_deviation.double().clamp(-EXTREME, EXTREME).neg().exp()
        mean = self.mean.double().clamp(-EXTREME, EXTREME)
        return -d.log() - 0.5 * ((d.log() - mean) * precision).square()


class GammaDurations(Durations):
    """A gamma distribution, by its mean and shape."""

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.log_mean = nn.Parameter(torch.zeros(num_classes))
        self.log_shape = nn.Parameter(torch.zeros(num_classes))

    def scores(self, d: Tensor) -> Tensor:
        """`shape (log x - x + 1) - log d`, with `x = d / mean`."""
        shape = self.log_shape.double().clamp(-EXTREME, EXTREME).exp()
        log_x = d.log() - self.log_mean.double().clamp(-EXTREME, EXTREME)
        return shape * (log_x - torch.expm1(log_x)) - d.log()


class CallableDurations(Durations):
    """What a function of durations says.

    Args:
        function: of durations `(K, 1)` float64, log-densities up to a constant, `(K, C)` or `(K, 1)`; if it
            is a module, its parameters are learned.
    """

    def __init__(self, num_classes: int, max_duration: int, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(num_classes, max_duration)
        self.function = function

    def scores(self, d: Tensor) -> Tensor:
        """The function, once its answer is known to be one.

        Raises: ValueError for another shape, NaN, `+inf` and labels without any duration.
        """
        found = self.function(d)
        expected = (self.max_duration, self.num_classes)
        if found.shape not in (expected, (self.max_duration, 1)):
            raise ValueError(
                f"the function of durations answers with shape {tuple(found.shape)}; expected (K, C) = "
                f"{expected}, or (K, 1)"
            )
        best = found.detach().amax(0)  # NaN if there is one
        if can_look(found) and not bool((best.abs() < math.inf).all()):
            raise ValueError(
                "the function of durations answers with NaN or +inf, or with -inf for every duration of a "
                "label; expected log-densities, -inf where one is forbidden"
            )
        return found


class MixtureDurations(Durations):
    """A mixture, with weights of its own for each label.

    Args:
        components: at least one distribution, all of the same `num_classes` and `max_duration`.
    """

    def __init__(self, components: Sequence[Durations]) -> None:
        sizes = {(c.num_classes, c.max_duration) for c in components}
        if len(sizes) != 1:
            raise ValueError(
                f"components have (num_classes, max_duration) {sorted(sizes)}; expected at least one "
                "component, and the same sizes of all"
            )
        super().__init__(*sizes.pop())
        self.components = nn.ModuleList(components)
        self.weight = nn.Parameter(torch.zeros(len(components), self.num_classes))

    def scores(self, d: Tensor) -> Tensor:
        """`log sum_m softmax(weight)_m p_m(d)`."""
        each = torch.stack([component() for component in self.components]).double()
        return logsumexp(self.weight.double().log_softmax(0)[:, None] + each, 0)

    def fit(self, segments: SegmentLists) -> Self:
        """Move the parameters to where given segments are most likely, and return this.

        Components are fitted by themselves first, each to a part of every label's segments, the first to the
        shortest, less those that it forbids: of one family they would never part ways. Arguments, errors and
        cost are those of `Durations.fit`.
        """
        lists = [list(sequence) for sequence in segments]
        count_durations(lists, self.num_classes, self.max_duration)
        shortest_first = sorted((s for sequence in lists for s in sequence), key=lambda s: s[1] - s[0])
        by_label = [[s for s in shortest_first if s[2] == c] for c in range(self.num_classes)]
        count = len(self.components)
        for m, component in enumerate(self.components):
            allowed = (component() > -torch.inf).tolist()
            parts = [own[len(own) * m // count : len(own) * (m + 1) // count] for own in by_label]
            cast(Durations, component).fit(
                [(start, end, c) for start, end, c in part if allowed[end - start - 1][c]] for part in parts
            )
        return super().fit(lists)


EXTREME = 30.0
"""Logarithms of parameters count up to it, of either sign: beyond, every distribution is at its limit."""


def count_durations(segments: SegmentLists, num_classes: int, max_duration: int) -> Tensor:
    """`(K, C)` float64: how many segments of each label last d positions, in row d - 1.

    Raises: ValueError naming the segment that is longer than K or has a label out of range.
    """
    counts = torch.zeros(max_duration, num_classes, dtype=torch.float64)
    for b, sequence in enumerate(segments):
        for start, end, label in sequence:
            lasts = end - start
            if not (1 <= lasts <= max_duration and 0 <= label < num_classes):
                raise ValueError(
                    f"sequence {b}: segment {(start, end, label)} lasts {lasts} positions; expected 1 to "
                    f"max_duration = {max_duration}, and 0 <= label < {num_classes}. suggest_max_duration "
                    "says what a max_duration covers"
                )
            counts[lasts - 1, label] += 1.0
    return counts
