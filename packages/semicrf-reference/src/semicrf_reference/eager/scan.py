"""The recursion, in any semiring, over factored potentials."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from semicrf_spec import LOG, DensePotentials, Potentials, ScalarSemiring


def partition(potentials: Potentials[Tensor], semiring: ScalarSemiring = LOG) -> Tensor:
    """Semiring sum over segmentations of the semiring product of their parts.

        star[s, c]    = start[c] if s = 0, else sum_c' closed[s, c'] * transition[s, c', c]
        open[t, d, c] = star[t-d, c] * begin[t-d, c] * product of emissions[u, c] over t-d <= u < t
        closed[t, c]  = finish[t-1, c] * sum_d open[t, d, c] * duration[d-1, c]
        partition     = sum_c closed[L, c] * end[c]

    `star` and `closed` are alpha_star and alpha of the documentation.

    Args:
        potentials: scores in nats; computed in float64.
        semiring: what sum and product mean, of single numbers; `semicrf_reference.scan` takes all.
    Returns: `(B,)` float64 semiring elements; `one` for an empty sequence.
    Raises: ValueError naming the argument that holds NaN or `+inf`, or the length out of range; TypeError
        for a semiring whose elements are several numbers.
    Cost: O(B T C (K + C)) time in a Python loop over T; autograd keeps O(B T C (K + C)).
    Source: Murphy 2002; Yu 2010.
    """
    if not isinstance(semiring.zero, float):
        raise TypeError(
            f"the elements of the semiring '{semiring.name}' are several numbers; expected single ones. "
            "semicrf_reference.scan sums them, over semicrf_reference.eager.edges"
        )
    terms = lifted(prepared(potentials), semiring)
    empty = terms.emissions[:, :0].sum((1, 2))  # 0, and part of the graph even when T = 0
    answers = [empty + semiring.one]
    for _, closed in messages(terms, semiring):
        answers.append(semiring.sum(semiring.mul(closed, terms.end), 1))
    return torch.stack(answers, 1).gather(1, terms.lengths[:, None].long()).squeeze(1)


def messages(terms: DensePotentials[Tensor], semiring: ScalarSemiring) -> Iterator[tuple[Tensor, Tensor]]:
    """`open` `(B, K, C)` and `closed` `(B, C)` of `partition` at each boundary from 1 on.

    Args:
        terms: elements of the semiring.
        semiring: what sum and product mean.
    """
    mul, total = semiring.mul, semiring.sum
    batch, _, classes = terms.shape
    closed = terms.emissions.new_full((batch, classes), semiring.zero)
    open_ = terms.emissions.new_full((batch, terms.max_duration, classes), semiring.zero)
    # cut up once: the gradient of a slice is as large as what it was cut from
    positional = (terms.emissions, terms.transition, terms.begin, terms.finish, terms.cuts)
    places = zip(*(term.unbind(1) for term in positional), strict=True)
    for t, (emissions, transition, begin, finish, cut) in enumerate(places):
        arriving = total(mul(closed[:, :, None], transition), 1)
        star = terms.start.expand(batch, -1) if t == 0 else arriving
        lasting = torch.where(cut[:, None, None], semiring.zero, open_)
        open_ = mul(shifted(mul(star, begin), lasting), emissions[:, None])
        closed = mul(finish, total(mul(open_, terms.duration), 1))
        yield open_, closed


def prepared(potentials: Potentials[Tensor]) -> DensePotentials[Tensor]:
    """Checked, float64, dense, and 0 past the lengths."""
    potentials.check_values()
    return DensePotentials.of(potentials.as_float64().masked())


def lifted(terms: DensePotentials[Tensor], semiring: ScalarSemiring) -> DensePotentials[Tensor]:
    """Scores as elements of the semiring."""
    return terms.map(lambda term: semiring.lift(term) if term.is_floating_point() else term)


def shifted(opening: Tensor, open_: Tensor) -> Tensor:
    """`(B, K, C)` open segments one position later: the new ones, and the old ones but the oldest."""
    return torch.cat([opening[:, None], open_[:, :-1]], dim=1)
