"""Log partition, posteriors and entropy: the scan in the log semiring and its derivatives."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from semicrf_reference.eager.scan import partition
from semicrf_spec import DensePotentials, Potentials
from semicrf_spec.operators import (
    Posteriors,
    cross_entropy_by,
    entropy_from,
    kl_divergence_by,
    over_terms,
)
from semicrf_spec.potentials import axes_of
from semicrf_spec.semirings import MAX


@over_terms
def log_partition(potentials: Potentials[Tensor]) -> Tensor:
    """Log of the summed weight of all segmentations.

        log_partition = log sum_y exp(score(y))

    Args: the terms of `semicrf_spec.Potentials`.
    Returns: `(B,)` float64 nats; 0 for an empty sequence, `-inf` where nothing is allowed.
        Differentiable by autograd any number of times.
    Raises: ValueError or TypeError naming the argument, what was expected and what was given.
    Cost: that of `partition`.
    Source: Sarawagi & Cohen 2004; factored as in Murphy 2002.
    """
    return partition(potentials)


@over_terms
def posteriors(potentials: Potentials[Tensor]) -> Posteriors:
    """Expected counts of every term: the derivatives of `log_partition`, by autograd.

    Args: the terms of `semicrf_spec.Potentials`.
    Returns: `Posteriors`, float64; all 0 past the lengths and where nothing is allowed. Differentiable by
        autograd any number of times.
    Raises: ValueError or TypeError naming the argument, what was expected and what was given.
    Cost: a few times that of `partition`.
    Source: Eisner 2016, "Inside-outside and forward-backward algorithms are just backprop".
    """
    return log_partition_and_posteriors(potentials)[1]


@over_terms
def entropy(potentials: Potentials[Tensor]) -> Tensor:
    """Entropy of the distribution over segmentations.

        entropy = log_partition - E[score]

    Args: the terms of `semicrf_spec.Potentials`.
    Returns: `(B,)` float64 nats; 0 where nothing is allowed. Differentiable by autograd.
    Raises: ValueError or TypeError naming the argument, what was expected and what was given.
    Cost: that of `posteriors`.
    Source: Li & Eisner 2009.
    """
    return entropy_from(*log_partition_and_posteriors(potentials), potentials)


def log_partition_and_posteriors(potentials: Potentials[Tensor]) -> tuple[Tensor, Posteriors]:
    """Both, from one scan."""
    again = torch.is_grad_enabled() and any(term.requires_grad for _, term in potentials.items())
    potentials.check_values()
    with torch.inference_mode(False), torch.enable_grad():
        terms = DensePotentials.of(potentials.as_float64()).map(_tracked)
        found = partition(terms)
        wanted = [terms.emissions, terms.begin, terms.finish, terms.transition, terms.duration]
        position, begins, ends, transitions, durations = torch.autograd.grad(
            found.sum(), wanted, create_graph=again, materialize_grads=True
        )
    if "T" not in axes_of("transition", potentials.transition):
        transitions = transitions.sum(1)
    statistics = Posteriors(position, begins, ends, transitions, durations)
    return (found, statistics) if again else (found.detach(), statistics)


def _tracked(term: Tensor) -> Tensor:
    """A copy that gradients are taken by: the user's own tensor may serve as several terms."""
    copy = term.clone()
    return copy.requires_grad_() if copy.is_floating_point() and not copy.requires_grad else copy


best_score = partial(partition, semiring=MAX)
cross_entropy = cross_entropy_by(log_partition_and_posteriors, partition, best_score)
kl_divergence = kl_divergence_by(log_partition_and_posteriors, partition, best_score)
