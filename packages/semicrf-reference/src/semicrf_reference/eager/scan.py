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

    `star` and `closed` are alpha_star and alpha of the documentation. Where transitions depend on the
    duration, so does `star`, and every duration that a segment may reach is kept apart while it is open.

    Args:
        potentials: scores in nats; computed in float64.
        semiring: what sum and product mean, of single numbers; `semicrf_reference.scan` takes all.
    Returns: `(B,)` float64 semiring elements; `one` for an empty sequence.
    Raises: ValueError naming the argument that holds NaN or `+inf`, or the length out of range; TypeError
        for a semiring whose elements are several numbers.
    Cost: O(B T C (K + C)) time in a Python loop over T, O(B T K C (K + C)) where transitions depend on the
        duration; autograd keeps as much.
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
    transitions = by_duration(terms)
    closed = terms.emissions.new_full((batch, classes), semiring.zero)
    # (B, age, D, C), D being 1 or, where a segment's duration counts from its beginning, K
    open_ = closed[:, None, None].expand(-1, terms.max_duration, transitions.shape[2], -1)
    # cut up once: the gradient of a slice is as large as what it was cut from
    positional = (terms.emissions, transitions, terms.begin, terms.finish, terms.cuts, by_end(terms))
    places = zip(*(term.unbind(1) for term in positional), strict=True)
    for t, (emissions, transition, begin, finish, cut, duration) in enumerate(places):
        arriving = total(mul(closed[:, None, :, None], transition), 2)
        star = terms.start.expand_as(arriving) if t == 0 else arriving
        lasting = torch.where(cut[:, None, None, None], semiring.zero, open_)
        open_ = mul(shifted(mul(star, begin[:, None]), lasting), emissions[:, None, None])
        ending = of_age(open_)
        closed = mul(finish, total(mul(ending, duration), 1))
        yield ending, closed


def by_duration(terms: DensePotentials[Tensor]) -> Tensor:
    """Transitions `(B, T, D, C, C)`, D being K where they depend on the duration, else 1."""
    return terms.transition if terms.transition.ndim == 5 else terms.transition[:, :, None]


def by_end(terms: DensePotentials[Tensor]) -> Tensor:
    """`(B, T, K, C)`: the scores of durations by where segments end; anything of those that do not fit."""
    time = terms.shape[1]
    duration = terms.duration
    if duration.ndim == 3:
        return duration[:, None].expand(-1, time, -1, -1)
    age = torch.arange(terms.max_duration, device=duration.device)
    start = torch.arange(time, device=duration.device)[:, None] - age
    return duration[:, start.clamp(min=0), age]


def of_age(open_: Tensor) -> Tensor:
    """`(B, K, ..., C)`: of open segments `(B, age, D, ..., C)` those that last as long as they are open."""
    return open_[:, :, 0] if open_.shape[2] == 1 else open_.diagonal(dim1=1, dim2=2).movedim(-1, 1)


def prepared(potentials: Potentials[Tensor]) -> DensePotentials[Tensor]:
    """Checked, float64, dense, and 0 past the lengths."""
    potentials.check_values()
    return DensePotentials.of(potentials.as_float64().masked())


def lifted(terms: DensePotentials[Tensor], semiring: ScalarSemiring) -> DensePotentials[Tensor]:
    """Scores as elements of the semiring."""
    return terms.map(lambda term: semiring.lift(term) if term.is_floating_point() else term)


def shifted(opening: Tensor, open_: Tensor) -> Tensor:
    """Open segments `(B, age, ...)` one position later: the new ones, and the old ones but the oldest."""
    return torch.cat([opening[:, None], open_[:, :-1]], dim=1)
