"""Mixtures of distributions of durations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self, cast

import torch
from torch import Tensor, nn

from semicrf_nn import fitting
from semicrf_nn.counts import SegmentLists
from semicrf_nn.durations import Durations
from semicrf_spec.operators import logsumexp


class MixtureDurations(Durations):
    """A mixture, with weights of its own for each label.

        p(d) = sum_m softmax(weight)_m p_m(d)

    Args:
        components: M >= 1 distributions, all of the same `num_classes` and `max_duration`.

    Attributes:
        components: `nn.ModuleList` of the M distributions.
        weight: `(M, C)` parameter, nats, log-shares of the components up to a constant for each label.

    Raises: ValueError for components that are no distributions, the same twice, or of different sizes.
    """

    def __init__(self, components: Iterable[Durations]) -> None:
        given = list(components)
        if not all(isinstance(c, Durations) for c in given) or len(set(map(id, given))) != len(given):
            raise ValueError(
                f"components are {[type(c).__name__ for c in given]}, with {len(set(map(id, given)))} "
                "different ones; expected distributions of durations, each an object of its own"
            )
        sizes = {(c.num_classes, c.max_duration) for c in given}
        if len(sizes) != 1:
            raise ValueError(
                f"components have (num_classes, max_duration) {sorted(sizes)}; expected at least one "
                "component, and the same sizes of all"
            )
        super().__init__(*sizes.pop())
        self.components = nn.ModuleList(given)
        self.weight = nn.Parameter(torch.zeros(len(given), self.num_classes))

    def scores(self, d: Tensor) -> Tensor:
        """`log sum_m softmax(weight)_m p_m(d)`."""
        return logsumexp(self._joint(), 0)

    def _joint(self) -> Tensor:
        """`(M, K, C)` float64: log-probabilities of a component and a duration."""
        each = torch.stack([component() for component in self.components]).double()
        return self.weight.double().log_softmax(0)[:, None] + each

    def fit(self, segments: SegmentLists) -> Self:
        """Move weights and components to where given segments are likely, and return this.

        A local maximum of the likelihood of each label. Components are fitted by themselves first, each to a
        part of every label's segments, the first to the shortest, less those that it forbids: of one family
        they would never part ways. Then, in turns, every segment is shared out among the components that may
        have made it, and they are fitted to their shares (EM), each as its own `fit` says. Arguments and
        errors are those of `Durations.fit`.

        Cost: tens to hundreds of turns, in each one fit of every component.
        Source: Dempster, Laird & Rubin 1977.
        """
        return super().fit(segments)

    @torch.no_grad()
    def _fit(self, counts: Tensor) -> Tensor:
        total = counts.sum(0)
        below = torch.cat([torch.zeros_like(counts[:1]), counts.cumsum(0)])  # row d: shorter than d + 1
        for m, component in enumerate(self.components):
            low, high = (total * i / len(self.components) for i in (m, m + 1))
            part = below.clamp(low, high).diff(dim=0)
            cast(Durations, component)._fit(part.where(component() > -torch.inf, 0.0))
        self.weight.masked_fill_(total > 0.0, 0.0)
        unfinished = total > 0.0
        value = torch.where(unfinished, -torch.inf, 0.0)
        for _ in range(fitting.STEPS):
            joint = self._joint()
            whole = logsumexp(joint, 0)
            reached = torch.where(counts > 0.0, counts * whole, 0.0).sum(0)
            unfinished = (reached - value).abs() > fitting.GAIN * total  # learned ones need not go up
            if not bool(unfinished.any()):
                break
            value = reached
            shares = torch.where(counts > 0.0, counts * (joint - whole).exp(), 0.0)
            weight = (shares.sum(1) / total).log().clamp(min=-fitting.EXTREME)
            self.weight.copy_(torch.where(total > 0.0, weight, self.weight))
            for component, share in zip(self.components, shares, strict=True):
                cast(Durations, component)._fit(share)
        return unfinished
