"""The GPU kernels of the operators `semicrf::*`. Triton is asked for when they are called, not before."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from semicrf_spec import SHAPES, Potentials
from semicrf_spec.operators import score_at, statistics_dtype, terms_and_boundaries
from semicrf_spec.operators.contracts import statistics_shapes

OLDEST = (3, 6)
"""The first version of Triton that the kernels compile with."""
NO_TRITON = (
    "the GPU kernels need Triton 3.6 or newer, which GPU builds of PyTorch from 2.11 on bring: install one, "
    "or pip install 'semicrf-triton[interpret]'; else move the tensors to the CPU or use backend='eager'"
)
NO_ROOM = "this GPU has too little {} for the kernels: use backend='eager', or move the tensors to the CPU"


def launched(operator: Callable[..., Any]) -> Callable[..., Any]:
    """The operator on the device of the emissions, with errors that say what to do.

    Raises: RuntimeError where Triton is missing or the device has too little of what a kernel needs.
    """

    @wraps(operator)
    def call(emissions: Tensor, *arguments: Any) -> Any:
        try:
            from triton import OutOfResources, __version__  # here: the package imports everywhere
        except ImportError as error:
            raise RuntimeError(NO_TRITON) from error
        if tuple(map(int, __version__.split(".")[:2])) < OLDEST:
            raise RuntimeError(f"Triton {__version__} is too old: {NO_TRITON}")
        try:
            with torch.cuda.device_of(emissions):  # type: ignore[no-untyped-call]  # PyTorch's
                return operator(emissions, *arguments)
        except OutOfResources as error:
            raise RuntimeError(NO_ROOM.format(error.name)) from error

    return call


@launched
def log_partition(*terms: Tensor | None) -> Tensor:
    """`semicrf::log_partition`: one scan that keeps its last K open segments."""
    from semicrf_triton.launch.scan import scan

    return scan(Potentials(*terms), directions=1).log_partition()[:, 0]  # type: ignore[arg-type]


@launched
def posteriors(*arguments: Any) -> tuple[Tensor, ...]:
    """`semicrf::posteriors`: two scans side by side, then everything at once."""
    from semicrf_triton.launch.posteriors import posteriors as posteriors_of
    from semicrf_triton.launch.scan import scan

    terms, boundaries = terms_and_boundaries(arguments)
    potentials: Potentials[Any] = Potentials(*terms)
    scanned = scan(potentials, directions=2, keep=True)
    dtype = statistics_dtype(potentials.emissions)
    counts = (count.to(dtype) for count in posteriors_of(scanned, boundaries))
    return scanned.log_partition()[:, 0], *counts


@launched
def covariances(*arguments: Any) -> tuple[Tensor, ...]:
    """`semicrf::covariances`: two scans, means over what they left open, then everything at once."""
    from semicrf_triton.launch.covariances import covariances as covariances_of
    from semicrf_triton.launch.scan import scan

    terms, values, boundaries = arguments[: len(SHAPES)], arguments[len(SHAPES) : -1], arguments[-1]
    potentials: Potentials[Any] = Potentials(*terms)
    dtype = statistics_dtype(potentials.emissions)
    if potentials.shape[1] == 0:
        shapes = statistics_shapes(terms, boundaries)
        return tuple(potentials.emissions.new_zeros(shape, dtype=dtype) for shape in shapes)
    scanned = scan(potentials, directions=2, keep=True)
    return tuple(counts.to(dtype) for counts in covariances_of(scanned, values, boundaries))


@launched
def viterbi(*terms: Tensor | None) -> tuple[Tensor, ...]:
    """`semicrf::viterbi`: scores, labels and durations."""
    from semicrf_triton.launch.terms import prepared
    from semicrf_triton.launch.viterbi import viterbi as best_of

    potentials: Potentials[Any] = prepared(Potentials(*terms))  # type: ignore[arg-type]
    labels, durations, allowed = best_of(potentials)
    scores = score_at(labels.clamp(min=0), durations, potentials)
    return torch.where(allowed, scores, -torch.inf), labels, durations


@launched
def top_k(*arguments: Any) -> tuple[Tensor, ...]:
    """`semicrf::top_k`: scores, labels and durations of the k best."""
    from semicrf_triton.launch.ranking import ranking
    from semicrf_triton.launch.terms import prepared

    *terms, k = arguments
    potentials: Potentials[Any] = prepared(Potentials(*terms))
    labels, durations, allowed = ranking(potentials, k)
    scores = torch.where(allowed, score_at(labels.clamp(min=0), durations, potentials), -torch.inf)
    scores, order = scores.sort(dim=0, descending=True, stable=True)  # fixed point is not as fine as float64
    place = order[:, :, None].expand(labels.shape)
    return scores, labels.gather(0, place), durations.gather(0, place)


@launched
def sample(*arguments: Tensor) -> tuple[Tensor, Tensor]:
    """`semicrf::sample`: one scan that keeps what it opens, then a walk for each sample."""
    from semicrf_triton.launch.sample import samples
    from semicrf_triton.launch.scan import scan

    *terms, uniforms = arguments
    return samples(scan(Potentials(*terms), directions=1, keep=True), uniforms)


def register() -> None:
    """Make these the GPU kernels of the operators."""
    for kernel in (log_partition, posteriors, covariances, viterbi, top_k, sample):
        torch.library.impl(f"semicrf::{kernel.__name__}", "cuda", kernel)
