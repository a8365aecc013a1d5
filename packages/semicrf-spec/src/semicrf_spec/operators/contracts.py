"""The operators `semicrf::*`: schema, shape function and gradient, declared once for every backend.

A backend registers kernels for its device and nothing else; PyTorch's dispatcher picks one by where the
tensors are. Kernels call `Potentials.check_values`, since only they see values under `torch.compile`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from semicrf_spec.operators.derivatives import Terms, gradients, needs_boundaries
from semicrf_spec.potentials import SHAPES, axes_of

_TERMS = (
    "Tensor emissions, Tensor transition, Tensor duration, Tensor? start, Tensor? end, "
    "Tensor? begin, Tensor? finish, Tensor? lengths, Tensor? cuts"
)
_VALUES = (
    "Tensor? position, Tensor? begins, Tensor? ends, Tensor? transitions, Tensor? durations, "
    "Tensor? first, Tensor? last"
)
SCHEMAS: dict[str, str] = {
    "log_partition": f"({_TERMS}) -> Tensor",
    "posteriors": f"({_TERMS}, bool boundaries=True) -> ({', '.join(['Tensor'] * 8)})",
    "covariances": f"({_TERMS}, {_VALUES}, bool boundaries) -> ({', '.join(['Tensor'] * 7)})",
    "viterbi": f"({_TERMS}) -> (Tensor, Tensor, Tensor)",
    "top_k": f"({_TERMS}, int k) -> (Tensor, Tensor, Tensor)",
    "sample": f"({_TERMS}, Tensor uniforms) -> (Tensor, Tensor)",
}
"""Every operator a backend registers a kernel for.

`log_partition` returns `(B,)`. `posteriors` returns log_partition `(B,)`, position, begins and ends
`(B, T, C)`, transitions and durations of the shapes of their terms, but each sequence's own, and the labels
of the first and the last segment `(B, C)`; without `boundaries`, begins and ends are `(B, 0, C)`.
`covariances` takes a value for each of these counts, 0 where it is None, and returns the covariance of every
count with the value of a segmentation, the sum over what it uses: the derivatives of expected values.
`viterbi` returns scores `(B,)`, labels and durations `(B, T)`, as in `Segmentation`; `top_k` the same with an
axis of k in front, as `Rank` says; `sample` labels and durations `(n, B, T)`, drawn with uniforms
`(n, B, T, 2)` as `Draw` says.
"""

REMEDIES = {
    "cpu": "install and import semicrf-reference, which brings the CPU kernels",
    "cuda": "install and import semicrf-triton, which brings the GPU kernels",
}
OTHER_DEVICE = "move the tensors to the CPU, or use backend='eager', which runs anywhere"

for _name, _schema in SCHEMAS.items():
    torch.library.define(f"semicrf::{_name}", _schema)


def statistics_dtype(emissions: Tensor) -> torch.dtype:
    """The dtype of posteriors: what the device's scan computes in."""
    wide = emissions.device.type == "cpu" or emissions.dtype == torch.float64
    return torch.float64 if wide else torch.float32


def _no_kernel(name: str) -> None:
    def kernel(emissions: Tensor, *_: Any) -> Any:
        device = emissions.device.type
        remedy = REMEDIES.get(device, OTHER_DEVICE)
        raise RuntimeError(f"semicrf::{name} has no kernel for {device} tensors: {remedy}")

    torch.library.impl(f"semicrf::{name}", "default", kernel)


for _name in SCHEMAS:
    _no_kernel(_name)


def _fake_log_partition(emissions: Tensor, *_: Tensor | None) -> Tensor:
    return emissions.new_empty(emissions.shape[0], dtype=torch.float64)


def terms_and_boundaries(arguments: Sequence[Any]) -> tuple[Terms, bool]:
    """The arguments of `semicrf::posteriors`, apart; PyTorch leaves out trailing ones that are defaults."""
    count = len(SHAPES)
    return tuple(arguments[:count]), arguments[count] if len(arguments) > count else True


def _fake_posteriors(*arguments: Any) -> tuple[Tensor, ...]:
    terms, boundaries = terms_and_boundaries(arguments)
    emissions = terms[0]
    assert emissions is not None
    shapes = statistics_shapes(terms, boundaries)
    dtype = statistics_dtype(emissions)
    return _fake_log_partition(emissions), *(emissions.new_empty(shape, dtype=dtype) for shape in shapes)


def statistics_shapes(terms: Terms, boundaries: bool) -> tuple[tuple[int, ...], ...]:
    """The shapes of `Statistics`."""
    emissions, transition, duration, *_ = terms
    assert emissions is not None and transition is not None and duration is not None
    batch, time, classes = emissions.shape
    positions = (batch, time, classes)
    within = positions if boundaries else (batch, 0, classes)
    transitions, durations = (
        tuple(term.shape) if axes_of(name, term)[0] == "B" else (batch, *term.shape)
        for name, term in (("transition", transition), ("duration", duration))
    )
    return positions, within, within, transitions, durations, (batch, classes), (batch, classes)


def _fake_covariances(*arguments: Any) -> tuple[Tensor, ...]:
    terms = arguments[: len(SHAPES)]
    shapes = statistics_shapes(terms, arguments[-1])
    dtype = statistics_dtype(terms[0])
    return tuple(terms[0].new_empty(shape, dtype=dtype) for shape in shapes)


def _fake_viterbi(emissions: Tensor, *_: Tensor | None) -> tuple[Tensor, ...]:
    positions = emissions.shape[:2]
    return (
        _fake_log_partition(emissions),
        emissions.new_empty(positions, dtype=torch.int64),
        emissions.new_empty(positions, dtype=torch.int64),
    )


def _fake_top_k(emissions: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    k = arguments[-1]
    scores, labels, durations = _fake_viterbi(emissions)
    return tuple(found.new_empty(k, *found.shape) for found in (scores, labels, durations))


def _fake_sample(emissions: Tensor, *arguments: Tensor | None) -> tuple[Tensor, Tensor]:
    uniforms = arguments[-1]
    assert uniforms is not None
    labels = emissions.new_empty(uniforms.shape[:-1], dtype=torch.int64)
    return labels, torch.empty_like(labels)


torch.library.register_fake("semicrf::log_partition", _fake_log_partition)
torch.library.register_fake("semicrf::posteriors", _fake_posteriors)
torch.library.register_fake("semicrf::covariances", _fake_covariances)
torch.library.register_fake("semicrf::viterbi", _fake_viterbi)
torch.library.register_fake("semicrf::top_k", _fake_top_k)
torch.library.register_fake("semicrf::sample", _fake_sample)


def _setup_log_partition(ctx: Any, inputs: Terms, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward_log_partition(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """For who calls the operator itself; `functions.log_partition` asks for posteriors at once."""
    terms = ctx.saved_tensors
    statistics = torch.ops.semicrf.posteriors(*terms, needs_boundaries(terms))[1:]
    return gradients(grad, statistics, terms, ctx.needs_input_grad)


def _setup_posteriors(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    terms, _ = terms_and_boundaries(inputs)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*terms, *output[1:])


def _backward_posteriors(ctx: Any, grad: Tensor | None, *values: Tensor | None) -> tuple[Tensor | None, ...]:
    count = len(SHAPES)
    saved = ctx.saved_tensors
    terms, statistics = saved[:count], saved[count:]
    found: tuple[Tensor | None, ...] = (None,) * count
    if grad is not None:
        found = gradients(grad, statistics, terms, ctx.needs_input_grad)
    if any(value is not None for value in values):
        boundaries = needs_boundaries(terms)
        covariances = torch.ops.semicrf.covariances(*terms, *values, boundaries)
        ones = covariances[0].new_ones(len(covariances[0]))
        second = gradients(ones, covariances, terms, ctx.needs_input_grad)
        found = second if grad is None else tuple(map(_sum, found, second))
    return *found, None


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else first + second


def _setup_covariances(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    """Nothing is kept."""


def _backward_covariances(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    raise RuntimeError(
        "this backend differentiates twice, and a third derivative was asked for: use backend='eager', which "
        "is differentiable any number of times"
    )


torch.library.register_autograd(
    "semicrf::log_partition", _backward_log_partition, setup_context=_setup_log_partition
)
torch.library.register_autograd("semicrf::posteriors", _backward_posteriors, setup_context=_setup_posteriors)
torch.library.register_autograd(
    "semicrf::covariances", _backward_covariances, setup_context=_setup_covariances
)
