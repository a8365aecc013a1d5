"""The terms of one sequence, in the direction of a scan."""

from __future__ import annotations

from typing import NamedTuple

from semicrf_reference.compiled.jit import inlined
from semicrf_reference.compiled.problem import Array


class Terms(NamedTuple):
    """The terms of one sequence, in the direction of the scan; what is missing has no columns."""

    emissions: Array  # (L, C)
    transition: Array  # (L - 1, C, C), row s - 1 leads to step s
    duration: Array  # (K, C)
    start: Array
    begin: Array  # (L, C) or (L, 0)
    finish: Array  # (L, C) or (L, 0)
    cuts: Array  # (L - 1,) or (0,), entry s - 1 says whether none may lie across the boundary before step s


@inlined
def forward_terms(arrays, b, n):
    """The terms of a sequence of the batch, as they are."""
    emissions, transition, _, duration, start, _, begin, finish, _, cuts = arrays
    return Terms(
        emissions[b, :n], transition[b, 1:n], duration[b], start, begin[b, :n], finish[b, :n], cuts[b, 1:n]
    )


@inlined
def backward_terms(arrays, b, n):
    """The terms of a sequence of the batch, read from its end."""
    emissions, _, transposed, duration, _, end, begin, finish, _, cuts = arrays
    return Terms(
        emissions[b, :n][::-1],
        transposed[b, 1:n][::-1],
        duration[b],
        end,
        finish[b, :n][::-1],
        begin[b, :n][::-1],
        cuts[b, 1:n][::-1],
    )
