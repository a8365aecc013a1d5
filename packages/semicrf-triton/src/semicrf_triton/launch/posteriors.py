"""Posteriors of what was scanned."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from semicrf_triton.kernels.posteriors import Counts, boundary_kernel, cover_kernel, duration_kernel
from semicrf_triton.launch.blocks import options
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


def posteriors(scanned: Scanned, boundaries: bool) -> Statistics:
    """Posteriors of what was scanned in both directions and kept."""
    batch, time, max_duration, classes = scanned.shape
    blocks = scanned.blocks
    device = scanned.sums.factor.device
    chunks = triton.cdiv(time + 1, blocks.chunk)  # of boundaries
    rows = scanned.opens.mantissa.shape[2]

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
    sizes = (time, max_duration, classes)
    of_all = {
        "CHUNK": blocks.chunk,
        "BLOCK_C": blocks.classes,
        "BLOCK_T": blocks.positions,
        **options(blocks.helpers),
    }
    of_segments = {"BY_SEQUENCE": scanned.by_sequence, "BLOCK_D": blocks.deep, **of_all}
    scans = (scanned.terms, scanned.weights, scanned.opens, scanned.sums)
    boundary_kernel[(batch * chunks,)](
        *scans, scanned.passed, counts, rows, *sizes, BY_POSITION=scanned.by_position, **of_segments
    )
    counts = counts._replace(net=counts.net.cumsum(1) - counts.net)
    cover_kernel[(batch * chunks,)](scanned.terms, counts, time, classes, **of_all)

    span = blocks.chunk * triton.cdiv(
        4 * max_duration, blocks.chunk
    )  # so that sums are small beside emissions
    parts = max(triton.cdiv(time, span), 1)
    durations = empty(parts, max_duration, classes)
    duration_kernel[(batch * parts * triton.cdiv(max_duration, blocks.deep),)](
        *scans, counts, durations, rows, *sizes, span, parts, **of_segments
    )

    cover: Tensor = counts.cover
    if scanned.by_position:
        transitions = counts.transitions / cover.repeat_interleave(blocks.chunk, 1)[:, :time, None, None]
    else:
        transitions = summed(counts.transitions / cover[:, :, None, None])
    return Statistics(
        counts.position,
        counts.begins if boundaries else empty(0, classes),
        counts.ends if boundaries else empty(0, classes),
        transitions,
        summed(durations),
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
