"""The call signature of every backend, over the operators.

Each function checks shapes, then calls the operator; PyTorch's dispatcher finds the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from semicrf_spec.operators.calls import over_terms
from semicrf_spec.operators.derivatives import LogPartition, Terms, needs_boundaries
from semicrf_spec.operators.divergences import cross_entropy_by, kl_divergence_by
from semicrf_spec.operators.expectations import Posteriors, expected_score
from semicrf_spec.operators.gold import lengths_of
from semicrf_spec.operators.ranking import ranking
from semicrf_spec.operators.sampling import sampling
from semicrf_spec.operators.segmentation import Segmentation
from semicrf_spec.potentials import Potentials

REVERSE_MODE = (
    "use torch.autograd.grad or backward(), or backend='eager', which is differentiable in every mode"
)
FUNCTORCH = "functorch transforms"
"""What PyTorch's errors say where `torch.func` meets what it cannot see into."""


@over_terms
def log_partition(potentials: Potentials[Tensor]) -> Tensor:
    """Log of the summed weight of all segmentations.

        log_partition = log sum_y exp(score(y))

    Args:
        emissions: `(B, T, C)` nats, score of label c at position t.
        transition: `(C, C)` nats from row to column, or `(B, T, C, C)` where entry s serves the boundary
            before position s.
        duration: `(K, C)` or `(B, K, C)` nats; row d - 1 scores a segment of d positions.
        start: `(C,)` nats, first label.
        end: `(C,)` nats, last label.
        begin: `(B, T, C)` nats, a segment of c begins at t.
        finish: `(B, T, C)` nats, a segment of c has t as its last position.
        lengths: `(B,)` integers in `[0, T]`; T if missing.
        cuts: `(B, T)` booleans, where a segment has to begin; nowhere if missing.
    Returns: `(B,)` float64 nats; 0 for an empty sequence, `-inf` where nothing is allowed.
    Raises: ValueError or TypeError naming the argument, what was expected and what was given.
    Cost: O(B T C (K + C)) time. O(B K C) memory without gradients, O(B T C) with.
    Source: Sarawagi & Cohen 2004; factored as in Murphy 2002.
    """
    _refuse_forward_mode(potentials)
    terms = potentials.terms()
    found: Tensor
    if torch.is_grad_enabled() and any(term.requires_grad for _, term in potentials.items()):
        found = _log_partition_that_learns(terms)
    else:
        found = torch.ops.semicrf.log_partition(*terms)
    return found


def _log_partition_that_learns(terms: Terms) -> Tensor:
    """By the operator itself in compiled graphs, and where `torch.func` cannot see into a function."""
    found: Tensor
    if not torch.compiler.is_compiling():
        try:
            found = LogPartition.apply(*terms)  # type: ignore[no-untyped-call]  # PyTorch's
            return found
        except RuntimeError as error:
            if FUNCTORCH not in str(error):
                raise
    found, *_ = _differentiable(torch.ops.semicrf.posteriors, *terms, needs_boundaries(terms))
    return found


@over_terms
def posteriors(potentials: Potentials[Tensor]) -> Posteriors:
    """Expected counts of every term under `p(y) = exp(score(y) - log_partition)`.

        begins[s, c]      = exp(alpha_star[s, c] + beta_star[s, c] - log_partition)
        ends[t - 1, c]    = exp(alpha[t, c] + beta[t, c] - log_partition)
        position[u, c]    = sum_{s<=u} begins[s, c] - sum_{t<=u} ends[t-1, c]

    Arguments and errors are those of `log_partition`.

    Returns: `Posteriors`; all 0 past the lengths and where nothing is allowed. float64, but float32 on a
        GPU for emissions of at most 32 bits.
    Cost: O(B T C (K + C)) time, O(B T C) memory.
    Source: Yu 2010, section 2.
    """
    return _log_partition_and_posteriors(potentials)[1]


@over_terms
def viterbi(potentials: Potentials[Tensor]) -> Segmentation:
    """The segmentation of highest score.

        argmax_y score(y)

    Of equal scores the same one wins on every backend: read from the last segment backwards, the lowest
    label, then the shortest duration. Arguments and errors are those of `log_partition`.

    Returns: `Segmentation` with its scores, not differentiable; without segments and with score `-inf`
        where nothing is allowed.
    Cost: O(B T C (K + C)) time, O(B T C) memory.
    Source: Sarawagi & Cohen 2004.
    """
    with torch.no_grad():
        scores, labels, durations = torch.ops.semicrf.viterbi(*potentials.terms())
    return Segmentation(labels, durations, lengths_of(potentials), scores)


top_k = ranking(torch.ops.semicrf.top_k)
sample = sampling(torch.ops.semicrf.sample)


@over_terms
def entropy(potentials: Potentials[Tensor]) -> Tensor:
    """Entropy of the distribution over segmentations, exact at any length.

        entropy = log_partition - E[score]

    Arguments and errors are those of `log_partition`.

    Returns: `(B,)` float64 nats; 0 where nothing is allowed.
    Cost: that of `posteriors`.
    Source: Li & Eisner 2009.
    """
    return entropy_from(*_log_partition_and_posteriors(potentials), potentials)


def _log_partition_and_posteriors(potentials: Potentials[Tensor]) -> tuple[Tensor, Posteriors]:
    _refuse_forward_mode(potentials)
    log_partition, *counts = _differentiable(torch.ops.semicrf.posteriors, *potentials.terms(), True)
    return log_partition, Posteriors(*counts[:5])


def _differentiable(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the function, with errors that name the backend for what it has no derivative rule for."""
    try:
        return function(*arguments)
    except RuntimeError as error:
        if FUNCTORCH in str(error):
            raise RuntimeError(f"torch.func does not reach into this backend: {REVERSE_MODE}") from error
        raise


def _refuse_forward_mode(potentials: Potentials[Tensor]) -> None:
    """Raise where a term carries a tangent, which the operators would drop without a word."""
    if torch.compiler.is_compiling():
        return
    for name, term in potentials.items():
        if unpack_dual(term).tangent is not None:  # type: ignore[no-untyped-call]  # PyTorch's
            raise NotImplementedError(f"{name} carries a forward-mode tangent: {REVERSE_MODE}")


def _best_score(potentials: Potentials[Tensor]) -> Tensor:
    scores: Tensor = torch.ops.semicrf.viterbi(*potentials.terms())[0]
    return scores


cross_entropy = cross_entropy_by(_log_partition_and_posteriors, log_partition.of, _best_score)
kl_divergence = kl_divergence_by(_log_partition_and_posteriors, log_partition.of, _best_score)


def entropy_from(log_partition: Tensor, posteriors: Posteriors, potentials: Potentials[Tensor]) -> Tensor:
    """`log_partition - E[score]`, 0 where nothing is allowed."""
    allowed = log_partition > -torch.inf
    return torch.where(allowed, log_partition, 0.0) - expected_score(posteriors, potentials)
