"""Open segments in memory: the weight of all that leads to the begin of a segment, begin included.

Entry `s` of a scan is `star[s] * exp(begin[s])` less the emissions from the beginning of the sequence to
`s`, so that one shift, the same for all entries of a label, brings them to any later position. It is a
mantissa and an exponent relative to the *frame* of its label, an int64 that is kept once for FRAME entries,
so that nothing overflows at any length. *Hurdles* are no emissions: forbidden positions, and boundaries that
no segment may lie across. They are counted, and a segment is allowed if it passes none of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from semicrf_triton.kernels.axes import SUMMED_BEFORE
from semicrf_triton.kernels.wide import NOTHING

FRAME = tl.constexpr(16)
"""Entries that share a frame."""

_LARGEST = 26
LARGEST = tl.constexpr(2**_LARGEST)
"""Exponents beyond it, relative to the frame, count as it: 4.6e7 nats."""
COUNT_BITS = tl.constexpr(_LARGEST + 1)
LARGEST_COUNT = tl.constexpr(2 ** (31 - _LARGEST) - 1)
"""Hurdles after the beginning of a frame and before its last entry: at most `2 * FRAME - 1`."""


class Open(NamedTuple):
    """Pointers to the open segments of scans: `(rows, C)` each, frames `(rows / FRAME, C)`."""

    mantissa: Any
    packed: Any
    frame: Any
    hurdles: Any


@triton.jit
def open_of(opens, scan, rows, C):
    """The open segments of one scan."""
    entry = scan.to(tl.int64) * rows * C
    frame = entry // FRAME
    return Open(opens.mantissa + entry, opens.packed + entry, opens.frame + frame, opens.hurdles + frame)


@triton.jit
def relative(exponent):
    """An int64 exponent as int32, relative to one that it is not far above."""
    return tl.minimum(tl.maximum(exponent, NOTHING), LARGEST).to(tl.int32)


@triton.jit
def store_frame(opens, row, exponent, hurdles, c, C):
    """Begin a frame: what its exponents are relative to, and how many hurdles are before it."""
    place = row // FRAME * C + c
    tl.store(opens.frame + place, exponent, mask=c < C)
    tl.store(opens.hurdles + place, hurdles, mask=c < C)


@triton.jit
def store_open(opens, row, c, C, mask, mantissa, exponent, hurdles):
    """Store entries, their exponents and hurdles relative to the frame."""
    place = row * C + c
    packed = tl.minimum(tl.maximum(exponent, -LARGEST), LARGEST - 1) + (hurdles << COUNT_BITS)
    tl.store(opens.mantissa + place, mantissa, mask=mask)
    tl.store(opens.packed + place, packed, mask=mask)


@triton.jit
def load_open(opens, row, c, C, mask):
    """Mantissas, int64 exponents, and the number of hurdles before them."""
    place, at_frame = row * C + c, row // FRAME * C + c
    mantissa = tl.load(opens.mantissa + place, mask=mask, other=0.0)
    packed = tl.load(opens.packed + place, mask=mask, other=0)
    count = ((packed + LARGEST) >> COUNT_BITS) & LARGEST_COUNT
    exponent = packed - (count << COUNT_BITS)
    frame = tl.load(opens.frame + at_frame, mask=mask, other=0)
    hurdles = tl.load(opens.hurdles + at_frame, mask=mask, other=0)
    return mantissa, frame + exponent, hurdles + count


class Frames(NamedTuple):
    """Two frames of a scan as entries of another meet them, and the row at which the later one begins.

    The exponents, `(X, C)` int32, are to be added to those of products with an entry of the frame. What is
    taken off a packed entry leaves its exponent where as many hurdles are before it as the first of the two
    has behind, else too much.
    """

    later: Any
    later_e: Any
    later_shift: Any
    early_e: Any
    early_shift: Any


@triton.jit
def frame_between(own_e, own_passed, other, frame, c, C):
    """What entries `(X, C)` of one scan and all of those of one frame of another have in common."""
    place, mask = frame * C + c, (c < C) & (frame + 0 * c >= 0)
    exponent = own_e + tl.load(other.frame + place, mask=mask, other=0)[None, :]
    hurdles = own_passed - tl.load(other.hurdles + place, mask=mask, other=0)[None, :]
    possible = (hurdles >= 0) & (hurdles <= LARGEST_COUNT)
    exponent = tl.minimum(tl.maximum(exponent, NOTHING), -NOTHING).to(tl.int32)
    return tl.where(possible, exponent, NOTHING), tl.where(possible, hurdles, 0) << COUNT_BITS


@triton.jit
def frames_between(own_e, own_passed, other, last, c, C):
    """The two frames that end with the one of the row `last` of the other scan."""
    later = tl.maximum(last, 0) // FRAME
    later_e, later_shift = frame_between(own_e, own_passed, other, later, c, C)
    early_e, early_shift = frame_between(own_e, own_passed, other, later - 1, c, C)
    return Frames(later * FRAME, later_e, later_shift, early_e, early_shift)


@triton.jit
def load_between(other, frames, y, c, C, mask):
    """Entries in rows of two frames, for X entries and D durations; rows and entries as `axes.py` has them.

    Returns: mantissas, the exponents of products, and whether no hurdle is between.
    """
    in_later = (y >= frames.later)[:, :, None]
    later_e, early_e = (
        tl.expand_dims(frames.later_e, SUMMED_BEFORE), tl.expand_dims(frames.early_e, SUMMED_BEFORE)
    )  # fmt: skip
    later_shift, early_shift = (
        tl.expand_dims(frames.later_shift, SUMMED_BEFORE), tl.expand_dims(frames.early_shift, SUMMED_BEFORE)
    )  # fmt: skip
    between = tl.where(in_later, later_e, early_e)
    shift = tl.where(in_later, later_shift, early_shift)
    place = y[:, :, None] * C + c[None, None, :]
    mantissa = tl.load(other.mantissa + place, mask=mask, other=0.0)
    exponent = tl.load(other.packed + place, mask=mask, other=0) - shift
    return mantissa, exponent + between, (exponent >= -LARGEST) & (exponent < LARGEST)
