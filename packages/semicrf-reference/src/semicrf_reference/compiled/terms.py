"""The terms of one sequence, in the direction of a scan."""

from __future__ import annotations

from typing import NamedTuple

from semicrf_reference.compiled.jit import inlined
from semicrf_reference.compiled.problem import Array


class Terms(NamedTuple):
    """The terms of one sequence, in the direction of the scan; what is missing has no columns."""

    emissions: Array  # (L, C)
    transition: Array  # (L - 1, C, C), row s - 1 leads to step s
    duration: Array  # (L, K, C): in a row those of what begins at the position; not reversed
    start: Array
    begin: Array  # (L, C) or (L, 0)
    finish: Array  # (L, C) or (L, 0)
    cuts: Array  # (L - 1,) or (0,), entry s - 1 says whether none may lie across the boundary before step s


@inlined
def forward_terms(arrays, b, n):
    """The terms of a sequence of the batch, as they are."""
    emissions, transition, _, duration, start, _, begin, finish, _, cuts = arrays
    return Terms(
        emissions[b, :n],
        transition[b, 1:n],
        duration[b, :n],
        start,
        begin[b, :n],
        finish[b, :n],
        cuts[b, 1:n],
    )


@inlined
def backward_terms(arrays, b, n):
    """The terms of a sequence of the batch, read from its end."""
    emissions, _, transposed, duration, _, end, begin, finish, _, cuts = arrays
    return Terms(
        emissions[b, :n][::-1],
        transposed[b, 1:n][::-1],
        duration[b, :n],
        end,
        finish[b, :n][::-1],
        begin[b, :n][::-1],
        cuts[b, 1:n][::-1],
    )


@inlined
def read_ending(duration, row, onward, reach, first, out):
    """Scores of what ends at a boundary, the longest first, into columns of `out` from `first` on.

    The one of `reach` positions stands in a row of the durations, the next `onward` rows after it, and so on:
    1 where a scan goes forward, 0 where it goes backward, and where it ends they all begin.
    """
    for k in range(reach):
        for c in range(out.shape[0]):
            out[c, first + k] = duration[row + k * onward, reach - 1 - k, c]
