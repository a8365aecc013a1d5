"""Posteriors of what was scanned."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from semicrf_triton.kernels.posteriors import Counts, boundary_kernel, cover_kernel, duration_kernel
from semicrf_triton.kernels.terms import BY_SEGMENT
from semicrf_triton.launch.blocks import Share, options
from semicrf_triton.launch.scan import Scanned


class Statistics(NamedTuple):
    """What `semicrf::posteriors` returns after the log partitions, in float32."""

    position: Tensor
    begins: Tensor
    ends: Tensor
    transitions: Tensor
    durations: Tensor
    first: Tensor
    last: Tensor


def counted(scanned: Scanned, boundaries: bool) -> Counts:
    """What ends and begins at each boundary and covers each position, and the drift."""
    batch, time, _, classes = scanned.shape
    blocks = scanned.blocks
    chunks = triton.cdiv(time + 1, blocks.chunk)  # of boundaries
    device = scanned.sums.factor.device

    def empty(*shape: int) -> Tensor:
        return torch.empty((batch, *shape), dtype=torch.float32, device=device)

    pairs = (classes, classes)
    counts = Counts(
        position=empty(time, classes),
        begins=empty(time, classes) if boundaries else None,
        ends=empty(time, classes) if boundaries else None,
        first=empty(classes),
        last=empty(classes),
        transitions=empty(time, *pairs).zero_() if scanned.by_position else empty(chunks, *pairs),
        net=torch.empty((batch, chunks, classes), dtype=torch.int64, device=device),
        cover=empty(chunks),
    )
    boundary_kernel[(batch * chunks,)](
        *scans_of(scanned), scanned.passed, counts, *sizes_of(scanned),
        BY_POSITION=scanned.by_position, **of_segments(scanned, blocks.boundaries),
    )  # fmt: skip
    counts = counts._replace(net=counts.net.cumsum(1) - counts.net)
    cover_kernel[(batch * chunks,)](
        scanned.terms, scanned.sums, counts, time, classes, **of_all(scanned)
    )  # fmt: skip
    return counts


def scans_of(scanned: Scanned) -> tuple[NamedTuple, ...]:
    """What kernels read of scans."""
    return scanned.terms, scanned.weights, scanned.opens, scanned.sums


def sizes_of(scanned: Scanned) -> tuple[int, ...]:
    """Rows of what is open, T, K and C."""
    return scanned.opens.mantissa.shape[2], *scanned.shape[1:]


def of_all(scanned: Scanned) -> dict[str, int]:
    """How a program takes a chunk of boundaries."""
    blocks = scanned.blocks
    sizes = {"CHUNK": blocks.chunk, "BLOCK_C": blocks.classes, "BLOCK_T": blocks.positions}
    return sizes | options(blocks.helpers)


def of_segments(scanned: Scanned, share: Share) -> dict[str, int]:
    """How it takes the segments of a chunk; of those with terms of their own, with all registers."""
    own = scanned.by_position or scanned.kind == BY_SEGMENT.value
    registers = options(scanned.blocks.helpers, 1 if own else share.programs)
    return {"DURATIONS": scanned.kind, "BLOCK_D": share.durations, **of_all(scanned), **registers}


def durations_by(kernel: Any, scanned: Scanned, share: Share, *arguments: Any) -> Tensor:
    """`(B, K, C)`: what a kernel counts of segments by their durations, span by span.

    Or `(B, T, K, C)`, of each segment, where each has a score of its own.
    """
    batch, time, max_duration, classes = scanned.shape
    blocks = scanned.blocks
    each = scanned.kind == BY_SEGMENT.value
    # spans so long that their sums are small beside emissions
    span = blocks.chunk * triton.cdiv(4 * max_duration, blocks.chunk)
    parts = max(triton.cdiv(time, span), 1)
    shape = (batch, time if each else parts, max_duration, classes)
    durations = torch.zeros(shape, dtype=torch.float32, device=scanned.sums.factor.device)
    kernel[(batch * parts * triton.cdiv(max_duration, share.durations),)](
        *scans_of(scanned), *arguments, durations, *sizes_of(scanned), span, parts,
        **of_segments(scanned, share),
    )  # fmt: skip
    return durations if each else summed(durations)


def posteriors(scanned: Scanned, boundaries: bool) -> Statistics:
    """Posteriors of what was scanned in both directions and kept."""
    batch, time, _, classes = scanned.shape
    counts = counted(scanned, boundaries)
    durations = durations_by(duration_kernel, scanned, scanned.blocks.lasting, counts)
    nowhere = counts.position.new_empty(batch, 0, classes)
    cover: Tensor = counts.cover
    if scanned.by_position:
        chunk = scanned.blocks.chunk
        transitions = counts.transitions / cover.repeat_interleave(chunk, 1)[:, :time, None, None]
    else:
        transitions = summed(counts.transitions / cover[:, :, None, None])
    return Statistics(
        counts.position,
        counts.begins if boundaries else nowhere,
        counts.ends if boundaries else nowhere,
        transitions,
        durations,
        counts.first / cover[:, :1],
        counts.last / cover_at_last(cover, scanned),
    )


def summed(parts: Tensor) -> Tensor:
    """The sum over axis 1, in float64."""
    return parts.sum(1, dtype=torch.float64).float()


def cover_at_last(cover: Tensor, scanned: Scanned) -> Tensor:
    """`(B, 1)`: the drift at the last position of each sequence."""
    time, chunk, lengths = scanned.shape[1], scanned.blocks.chunk, scanned.terms.lengths
    if lengths is None:
        last = max(time - 1, 0) // chunk
        return cover[:, last : last + 1]
    return cover.gather(1, (lengths.long().clamp(1, max(time, 1)) - 1)[:, None] // chunk)
