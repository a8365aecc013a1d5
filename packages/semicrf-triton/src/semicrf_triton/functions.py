"""The call signature of every backend, for GPU tensors: answered by an error until the kernels come."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from semicrf_spec import Potentials
from semicrf_spec.operators import SCHEMAS, Posteriors, Segmentation, over_terms, score

__all__ = ["entropy", "log_partition", "posteriors", "score", "viterbi"]


def no_kernels(*_: Any) -> NoReturn:
    """Say what is missing and what serves instead.

    Raises: RuntimeError, always.
    """
    raise RuntimeError(
        "semicrf-triton has no GPU kernels in this version: move the tensors to the CPU, where the compiled "
        "backend is fast, or use backend='eager', which runs on any device"
    )


@over_terms
def log_partition(potentials: Potentials[Tensor]) -> Tensor:
    """Log of the summed weight of all segmentations; see `semicrf_spec.operators.log_partition`.

    Raises: RuntimeError until the kernels come.
    """
    no_kernels()


@over_terms
def posteriors(potentials: Potentials[Tensor]) -> Posteriors:
    """Expected counts of every term; see `semicrf_spec.operators.posteriors`.

    Raises: RuntimeError until the kernels come.
    """
    no_kernels()


@over_terms
def viterbi(potentials: Potentials[Tensor]) -> Segmentation:
    """The segmentation of highest score; see `semicrf_spec.operators.viterbi`.

    Raises: RuntimeError until the kernels come.
    """
    no_kernels()


@over_terms
def entropy(potentials: Potentials[Tensor]) -> Tensor:
    """Entropy of the distribution over segmentations; see `semicrf_spec.operators.entropy`.

    Raises: RuntimeError until the kernels come.
    """
    no_kernels()


for _name in SCHEMAS:
    torch.library.impl(f"semicrf::{_name}", "cuda", no_kernels)
