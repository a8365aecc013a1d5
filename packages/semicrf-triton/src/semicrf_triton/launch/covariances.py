"""Covariances of counts with a value, from what was scanned."""

from __future__ import annotations

import math

import torch
import triton
from torch import Tensor

from semicrf_triton.kernels.covariances import (
    Covariances,
    boundary_covariance_kernel,
    drift_kernel,
    duration_covariance_kernel,
    transition_covariance_kernel,
)
from semicrf_triton.kernels.means import Means, Values, means_kernel
from semicrf_triton.kernels.terms import BY_SEGMENT
from semicrf_triton.launch.posteriors import (
    Statistics,
    counted,
    durations_by,
    of_all,
    of_segments,
    scans_of,
    sizes_of,
    summed,
)
from semicrf_triton.launch.scan import Scanned
from semicrf_triton.launch.terms import masked_beyond

Given = tuple[Tensor | None, ...]
"""Values of `Statistics`, in their order."""


def covariances(scanned: Scanned, given: Given, boundaries: bool) -> Statistics:
    """Covariances with a value, of what was scanned in both directions and kept."""
    batch, time, _, classes = scanned.shape
    blocks = scanned.blocks
    given = tuple(None if value is None else value.float().contiguous() for value in given)
    durations = given[4]
    if durations is not None and scanned.kind == BY_SEGMENT.value:
        given = (*given[:4], masked_beyond(durations, scanned.terms.lengths, 0.0), *given[5:])
    scale, unit = scales(scanned, given)
    values = Values._make((*given, scale))
    counts = counted(scanned, True)
    means = means_of(scanned, values, counts.begins, counts.ends)
    chunks = triton.cdiv(time + 1, blocks.chunk)

    def empty(*shape: int) -> Tensor:
        return torch.empty((batch, *shape), dtype=torch.float32, device=scale.device)

    pairs = (classes, classes)
    nothing = (unit * 0.0)[:, None, None, None]  # but NaN where the value is unknown
    found = Covariances(
        position=empty(time, classes),
        begins=empty(time, classes),
        ends=empty(time, classes),
        transitions=nothing.repeat(1, time, *pairs) if scanned.by_position else empty(chunks, *pairs),
        net=torch.empty((batch, chunks, classes), dtype=torch.int64, device=scale.device),
        center=torch.empty((batch, chunks), dtype=torch.int64, device=scale.device),
        unit=unit,
    )
    scans, sizes = scans_of(scanned), sizes_of(scanned)
    share = scanned.blocks.boundaries._replace(programs=1)
    grid = (batch * chunks,)
    boundary_covariance_kernel[grid](*scans, values, means, found, *sizes, **of_segments(scanned, share))
    found = found._replace(net=found.net.cumsum(1) - found.net)
    drift_kernel[grid](scanned.terms, counts, means, found, time, classes, **of_all(scanned))
    transition_covariance_kernel[grid](
        *scans[:3], scanned.passed, counts, values, means, found, sizes[0], time, classes,
        BY_POSITION=scanned.by_position, **of_all(scanned),
    )  # fmt: skip
    durations = durations_by(duration_covariance_kernel, scanned, share, counts, values, means, found)
    if scanned.kind == BY_SEGMENT.value:
        durations = durations + nothing
    last = (lengths_of(scanned, scale.device) - 1).clamp(min=0)[:, None, None].expand(batch, 1, classes)
    nowhere = found.position.new_empty(batch, 0, classes)
    return Statistics(
        found.position,
        found.begins if boundaries else nowhere,
        found.ends if boundaries else nowhere,
        found.transitions if scanned.by_position else summed(found.transitions),
        durations,
        found.begins[:, 0],
        found.ends.gather(1, last)[:, 0],
    )


def means_of(scanned: Scanned, values: Values, begins: Tensor, ends: Tensor) -> Means:
    """Means of a value in both directions, side by side."""
    batch, time, _, classes = scanned.shape
    blocks = scanned.blocks

    def empty(*shape: int) -> Tensor:
        return torch.empty((batch, 2, *shape), dtype=torch.int64, device=begins.device)

    found = Means(empty(time, classes), empty(time, classes), empty(classes), empty())
    means_kernel[(batch, 2)](
        *scans_of(scanned), values, found, begins, ends, *sizes_of(scanned),
        BY_POSITION=scanned.by_position, DURATIONS=scanned.kind,
        **blocks.tiled(blocks.mean),
    )  # fmt: skip
    return found


def lengths_of(scanned: Scanned, device: torch.device) -> Tensor:
    """`(B,)` int64."""
    batch, time = scanned.shape[:2]
    given = scanned.terms.lengths
    return torch.full((batch,), time, dtype=torch.int64, device=device) if given is None else given


def scales(scanned: Scanned, given: Given) -> tuple[Tensor, Tensor]:
    """`(B,)` float32: what makes integers of values, whose sums still fit, and the unit that they then have.

    Of a sequence in which a value that counts is NaN or infinite, 0 and NaN.
    """
    time = scanned.shape[1]
    device = scanned.sums.factor.device
    lengths = lengths_of(scanned, device)
    place = torch.arange(time, device=device)
    within = place < lengths[:, None]
    inside = within & (place > 0) if scanned.by_position else lengths > 1
    used = (within, within, within, inside, lengths > 0, lengths > 0, lengths > 0)
    found = [torch.zeros_like(lengths, dtype=torch.float32)]
    for value, counts in zip(given, used, strict=True):
        if value is not None:
            mask = counts.reshape(*counts.shape, *(1,) * (value.ndim - counts.ndim))
            found.append(torch.where(mask, value, 0.0).abs().flatten(1).amax(1))
    largest = torch.stack(found).amax(0)
    known = largest.isfinite()
    bits = 60 - (6 * time).bit_length()  # a position adds at most its own value and those of its boundaries
    power = (bits - torch.frexp(torch.where(known, largest, 0.0)).exponent).clamp(max=100).double()
    return (
        torch.where(known, torch.exp2(power), 0.0).float(),
        torch.where(known, torch.exp2(-power), math.nan).float(),
    )
