"""Maximum likelihood of distributions of durations, given counts `(K, C)` of what lasted d positions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.functional import jvp

EXTREME = 30.0
"""Logarithms of parameters count up to it, of either sign: beyond, every distribution is at its limit."""

GAIN = 1e-9
"""A fit ends where another step would gain less, in nats a segment."""

STEPS = 1000
"""A fit of more steps ends, and says so. Most take ten; where the maximum is at infinity, 30 to 130."""

RIDGE = 1e-7
"""The least damping: a parameter of less information, nats a segment for a step of 1, hardly moves."""


def moments(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance `(C,)` of the durations of each label, in positions; as if uniform without any.

    Variances are at least that of what rounding to whole positions takes away.
    """
    d = torch.arange(1, len(counts) + 1, dtype=counts.dtype, device=counts.device)[:, None]
    counts = torch.where(counts.sum(0) > 0.0, counts, 1.0)
    shares = counts / counts.sum(0)
    mean = (shares * d).sum(0)
    return mean, (shares * (d - mean).square()).sum(0).clamp(min=1.0 / 12.0)


def fit_labels(
    log_probabilities: Callable[[Tensor], Tensor], parameters: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """The parameters under which counts are most likely, of each label by itself, by Fisher scoring.

        step = (sum_d p(d) s(d) s(d)' + damping)^{-1} sum_d q(d) s(d),   s(d) = gradient of log p(d)

    where q are the shares of the label's durations. No parameter moves by more than 1 at once. A step that
    does not help is tried again with more damping, one that does is followed by one with less, so that what
    is hardly known moves last. Where the likelihood has no maximum but a limit at infinity, a fit ends beside
    that.

    Args:
        log_probabilities: from parameters `(P, C)` to `(K, C)` nats; column c depends on column c alone.
        parameters: `(P, C)` float64, where to begin.
        counts: `(K, C)` float64, at least 0. A label without any stays where it begins.
    Returns: parameters `(P, C)`, and `(C,)` bool, true for labels whose fit would still go on.
    Cost: O(K C P^2) time and O(K C P) memory a step.
    Source: Fisher scoring, McCullagh & Nelder 1989; damped, Marquardt 1963.
    """
    total = counts.sum(0)
    shares = counts / torch.where(total > 0.0, total, 1.0)
    axes = torch.eye(len(parameters), dtype=parameters.dtype, device=parameters.device)
    value = (shares * log_probabilities(parameters)).sum(0)
    damping = torch.full_like(value, 0.01)
    unfinished = total > 0.0
    for _ in range(STEPS):
        slopes = torch.stack([_slope(log_probabilities, parameters, axis) for axis in axes])  # (P, K, C)
        p = log_probabilities(parameters).exp()
        gradient = (shares * slopes).sum(1)
        information = torch.einsum("kc,ikc,jkc->cij", p, slopes, slopes)
        unfinished = (gradient * _step(gradient, information + RIDGE * axes)).sum(0) > GAIN
        if not bool(unfinished.any()):
            break
        tried = parameters + _step(gradient, information + damping[:, None, None] * axes)
        reached = (shares * log_probabilities(tried)).sum(0)
        better = (reached > value) & unfinished
        parameters = torch.where(better, tried, parameters)
        value = torch.where(better, reached, value)
        damping = torch.where(better, damping / 4.0, damping * 4.0).clamp(min=RIDGE)
    return parameters.clamp(-EXTREME, EXTREME), unfinished


def _slope(log_probabilities: Callable[[Tensor], Tensor], parameters: Tensor, axis: Tensor) -> Tensor:
    """`(K, C)`: the derivative as one parameter of every label grows, by autograd run backwards twice."""
    along = axis[:, None].expand_as(parameters)
    found: Tensor = jvp(log_probabilities, parameters, along)[1]  # type: ignore[no-untyped-call]  # PyTorch's
    return found


def _step(gradient: Tensor, information: Tensor) -> Tensor:
    """Information `(C, P, P)` into the gradient `(P, C)`; no parameter moves by more than 1."""
    step: Tensor = torch.linalg.solve(information, gradient.T).T
    return step / step.abs().amax(0).clamp(min=1.0)


def fit_together(model: nn.Module, counts: Tensor) -> bool:
    """Move all parameters of a module that answers `(K, C)` nats to where counts are most likely, by L-BFGS.

    Returns: whether the fit would still go on. Cost: some hundred evaluations of the module and its gradient.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        return False
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=STEPS,
        max_eval=STEPS,
        tolerance_grad=1e-12,  # per segment of any label: rare ones count too
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )
    evaluations = 0

    def loss() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        optimiser.zero_grad()
        likelihood = torch.where(counts > 0.0, counts * model(), 0.0).sum()  # else -inf times 0 is NaN
        value: Tensor = -likelihood / counts.sum().clamp(min=1.0)
        value.backward()  # type: ignore[no-untyped-call]  # PyTorch's
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]  # PyTorch's
    optimiser.zero_grad()
    return evaluations >= STEPS
