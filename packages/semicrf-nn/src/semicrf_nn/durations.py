"""Distributions of durations, one for each label, as duration scores of a model."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from semicrf_nn.constraints import positive
from semicrf_nn.counts import SegmentLists, count_durations
from semicrf_nn.fitting import fit_together
from semicrf_nn.plots import plot_durations
from semicrf_spec.operators import can_look


class Durations(nn.Module, ABC):
    """Log-probabilities of durations `1..K`, one distribution for each label.

        forward()[d - 1, c] = scores()[d - 1, c] - log sum_{d'=1}^{K} exp(scores()[d' - 1, c])

    A family gives `scores`, its log-density at whole durations up to a constant; normalising over `1..K`
    truncates it and makes it discrete. Computed in float64; the answer has the dtype and the device of the
    module. Any real number is a parameter: of what is positive, the logarithm is, which counts up to 30 of
    either sign. All are 0 at first. Cost of every family: O(K C) time and memory for each call; of a mixture,
    as often as it has components.

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
    def from_segments(cls, segments: SegmentLists, *arguments: Any, **named: Any) -> Self:
        """A distribution of this family, fitted to segments: `cls(...).fit(segments)`.

        Args:
            segments: what `fit` takes.
            arguments: those of the constructor, by position or by name.
        Raises: what the constructor and `fit` raise.
        """
        return cls(*arguments, **named).fit(segments)

    def fit(self, segments: SegmentLists) -> Self:
        """Move the parameters to where given segments are most likely, and return this.

        Geometric, Poisson, negative binomial, log-normal and gamma durations: the maximum likelihood of each
        label by itself, wherever the parameters stood before, until a step gains less than 1e-9 nats a
        segment. Where it lies at infinity, as when all segments of a label last equally long, the fit ends at
        finite parameters beside it. Functions: all labels together, uphill from where the parameters stand.
        Learned durations and mixtures are fitted otherwise, and say how.

        Args:
            segments: lists of `(start, end, label)`, one a sequence; or a `Segmentation`. Labels that none
                bears stay as they are.
        Raises: ValueError naming the segment that is none, is longer than K, has a label out of range, or
            lasts as long as is forbidden. Warns, naming the labels, when a fit ends before it is done.
        Cost: for each label about ten steps of O(K); of functions some hundred evaluations.
        """
        counts = count_durations(segments, self.num_classes, self.max_duration)
        like = cast(Tensor, self.like)
        dtype, counts = like.dtype, counts.to(like.device)
        self.double()
        try:
            self._check_allowed(counts)
            unfinished = self._fit(counts)
        finally:
            self.to(dtype)
        if bool(unfinished.any()):
            warnings.warn(
                f"{type(self).__name__}.fit ended before it was done, for labels "
                f"{unfinished.nonzero().flatten().tolist()}; expected it to converge. Look at plot(), or "
                "take a family that is closer to these durations",
                stacklevel=2,
            )
        return self

    def _fit(self, counts: Tensor) -> Tensor:
        """Fit float64 parameters to counts `(K, C)`; the labels `(C,)` that are not done, as booleans."""
        return torch.full((self.num_classes,), fit_together(self, counts), device=counts.device)

    def _check_allowed(self, counts: Tensor) -> None:
        with torch.no_grad():
            forbidden = (counts > 0.0) & (self() == -torch.inf)
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
        Returns: the axes. Raises: ValueError unless there is a name for each label. Cost: O(K C).
        """
        return plot_durations(self(), names, ax)


class LearnedDurations(Durations):
    """A free probability for every duration and label.

        p(d) = exp(score[d - 1]) / Z

    Attributes:
        score: `(K, C)` parameter, nats, log-probabilities up to a constant for each label.

    Source: Ferguson 1980.
    """

    SMOOTHING = 0.5
    """What `fit` adds to every count, so that what did not occur stays possible (Jeffreys)."""

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.score = nn.Parameter(torch.zeros(max_duration, num_classes))

    def scores(self, d: Tensor) -> Tensor:
        """The parameters."""
        return self.score.double()

    def fit(self, segments: SegmentLists) -> Self:
        """Set the scores to the logarithms of how often each duration occurs plus 1/2, and return this.

        Not the maximum of the likelihood, which forbids what did not occur, but the mean under Jeffreys'
        prior; a label that no segment bears becomes uniform. Arguments and errors: those of `Durations.fit`.
        """
        return super().fit(segments)

    def _fit(self, counts: Tensor) -> Tensor:
        with torch.no_grad():
            self.score.copy_((counts + self.SMOOTHING).log())
        return torch.zeros_like(counts[0], dtype=torch.bool)


class UniformDurations(Durations):
    """Every duration as likely as any other: `p(d) = 1 / K`. It has no parameters, and nothing to fit."""

    def scores(self, d: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(d)


class CallableDurations(Durations):
    """What a function of durations says: `p(d) = exp(function(d)) / Z`.

    Args:
        function: of durations `(K, 1)` float64, log-densities up to a constant, `(K, C)` or `(K, 1)`; if it
            is a module, its parameters are learned.

    Attributes:
        function: the same.

    Cost: what the function costs, once for each call.
    """

    def __init__(self, num_classes: int, max_duration: int, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(num_classes, max_duration)
        self.function = function

    def scores(self, d: Tensor) -> Tensor:
        """The function, once its answer is known to be one.

        Raises: ValueError for what is no tensor of floats or has another shape, for NaN, `+inf` and labels
            without any duration.
        """
        found: object = self.function(d)
        expected = (self.max_duration, self.num_classes)
        if not (isinstance(found, Tensor) and found.is_floating_point()):
            what = f"dtype {found.dtype}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ValueError(
                f"the function of durations answers with {what}; expected log-densities, a tensor of floats "
                f"of shape (K, C) = {expected}, or (K, 1)"
            )
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
        return found.double()
