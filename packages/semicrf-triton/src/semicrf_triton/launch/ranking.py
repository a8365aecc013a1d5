"""The k best segmentations."""

from __future__ import annotations

import torch
from torch import Tensor

from semicrf_spec import Potentials
from semicrf_spec.operators import NO_LABEL
from semicrf_triton.kernels.ranking import rank_kernel, walk_kernel
from semicrf_triton.launch.blocks import lists_for, options
from semicrf_triton.launch.terms import LARGEST, fixed_of, kind_of, terms_of
from semicrf_triton.launch.viterbi import POSITIONS


def ranking(given: Potentials[Tensor], k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Labels and durations of the k best, each `(k, B, T)` int64, and which of them there are, `(k, B)`.

    Of terms that are `prepared`.

    Raises: ValueError for more labels, ranks or durations than the kernels hold.
    """
    batch, time, classes = given.shape
    max_duration = given.max_duration
    lists = lists_for(classes, k)
    if min(time, max_duration) * lists.ranks >= LARGEST:
        raise ValueError(
            f"K = {max_duration} durations of k = {k} ranks are more than the GPU kernels can number: "
            "use backend='eager', or move the tensors to the CPU"
        )
    device = given.emissions.device
    rows = max(min(time, max_duration + lists.tile), 1)
    window = torch.empty((batch, rows, classes, lists.ranks), dtype=torch.int64, device=device)
    closed = torch.empty((batch, classes, lists.ranks), dtype=torch.int64, device=device)
    lasted = torch.empty((batch, time, classes, k), dtype=torch.int32, device=device)
    entered = torch.empty((batch, time, classes, k), dtype=torch.int16, device=device)
    ended = torch.empty((batch, k), dtype=torch.int32, device=device)
    rank_kernel[(batch,)](
        terms_of(given), given.transition, fixed_of(given.duration), window, closed, lasted, entered, ended,
        rows, time, max_duration, classes, k,
        BY_POSITION=given.transition.ndim == 4, DURATIONS=kind_of(given.duration),
        BLOCK_C=lists.classes, BLOCK_T=lists.tile, BITS=lists.bits, **options(lists.warps),
    )  # fmt: skip
    labels = torch.full((k, batch, time), NO_LABEL, dtype=torch.int64, device=device)
    durations = torch.zeros_like(labels)
    if batch:
        walk_kernel[(k * batch,)](
            lasted, entered, ended, given.lengths, labels, durations, batch, time, classes, k,
            BITS=lists.bits, BLOCK=POSITIONS,
        )  # fmt: skip
    lengths = torch.full_like(ended[:, 0], time) if given.lengths is None else given.lengths
    first = torch.arange(k, device=device)[:, None] == 0
    return labels, durations, (ended.mT >= 0) | (first & (lengths == 0))
