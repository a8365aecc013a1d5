"""Terms as the kernels read them."""

from __future__ import annotations

from dataclasses import replace

import torch
import triton
from torch import Tensor

from semicrf_spec import Potentials
from semicrf_spec.potentials import check_factored
from semicrf_triton.kernels.fixed import fixed_kernel
from semicrf_triton.kernels.terms import BY_SEGMENT, Terms, Weights, exp_kernel

BLOCK = 1024
ALIGNMENT = 16
"""Bytes."""
LARGEST = 2**31 - 2**20
"""Entries of a sequence are numbered by int32, those past its end included."""


def prepared(potentials: Potentials[Tensor]) -> Potentials[Tensor]:
    """The terms without their history, copied where they are views, and lengths held between 0 and T.

    Raises: ValueError for terms that are not factored, and for more entries than the kernels can number.
    """
    check_factored(potentials, "triton")
    _, time, classes = potentials.shape
    for name, count in (("T", time), ("K", potentials.max_duration)):
        if count * classes >= LARGEST:
            raise ValueError(
                f"{name} * C = {count * classes} is more than the GPU kernels can number, {LARGEST}: "
                "use backend='eager', or move the tensors to the CPU"
            )
    given = potentials.map(torch.Tensor.detach)
    if given.lengths is not None:
        given = replace(given, lengths=given.lengths.long().clamp(0, time))
    if kind_of(given.duration) == BY_SEGMENT.value:
        given = replace(given, duration=masked_beyond(given.duration, given.lengths, -torch.inf))
    if given.cuts is not None:
        before_first = torch.arange(time, device=given.cuts.device) == 0
        given = replace(given, cuts=given.cuts & ~before_first)
    return given.map(aligned)


def aligned(term: Tensor) -> Tensor:
    """In one piece that begins where Triton takes it to: else it compiles kernels once more."""
    whole = term.contiguous()
    return whole if whole.data_ptr() % ALIGNMENT == 0 else whole.clone()


def terms_of(given: Potentials[Tensor]) -> Terms:
    """The terms that are read as scores."""
    cuts = None if given.cuts is None else given.cuts.view(torch.int8)
    return Terms(given.emissions, given.start, given.end, given.begin, given.finish, given.lengths, cuts)


def weights_of(given: Potentials[Tensor]) -> Weights:
    """The terms that are read as weights."""
    return Weights(*exponentials(given.transition), *exponentials(given.duration))


def exponentials(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissas and exponents of the exponentials."""
    mantissas = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
    exponents = torch.empty(scores.shape, dtype=torch.int32, device=scores.device)
    count = scores.numel()
    exp_kernel[(triton.cdiv(count, BLOCK),)](scores, mantissas, exponents, count, BLOCK=BLOCK)
    return mantissas, exponents


def kind_of(duration: Tensor) -> int:
    """How many axes it has beside `(K, C)`: `BY_SEQUENCE` and `BY_SEGMENT` are kinds."""
    return duration.ndim - 2


def masked_beyond(each: Tensor, lengths: Tensor | None, beyond: float) -> Tensor:
    """Numbers of segments, `(B, T, K, C)`, but another one for those that end past their sequence."""
    batch, time, max_duration, _ = each.shape
    place = torch.arange(time, device=each.device)
    last = place[:, None] + torch.arange(max_duration, device=each.device)
    stop = place.new_full((batch,), time) if lengths is None else lengths
    return torch.where((last < stop[:, None, None])[..., None], each, beyond)


def fixed_of(duration: Tensor) -> Tensor:
    """The durations in fixed point."""
    fixed = torch.empty(duration.shape, dtype=torch.int64, device=duration.device)
    fixed_kernel[(triton.cdiv(duration.numel(), BLOCK),)](duration, fixed, duration.numel(), BLOCK=BLOCK)
    return fixed
