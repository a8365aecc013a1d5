"""Sums of weights that are kept as logarithms."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from semicrf_spec.semirings.protocol import Array


class Shares(NamedTuple):
    """The logarithm of a sum of weights, and what part of it each of them is.

    Attributes:
        log_sum: `-inf` where every weight is 0.
        share: sums to 1 along the axis, or is 0 where nothing has a weight.
        log_share: its logarithm, and 0 where the weight is 0.
    """

    log_sum: Array
    share: Array
    log_share: Array


def logsumexp(x: Array, axis: int, *, namespace: Any = None) -> Array:
    """`log(sum(exp(x)))` along an axis, `-inf` where every entry is `-inf`.

    Never NaN for finite or `-inf` entries, and neither are its derivatives of any order.

    Args:
        x: finite or `-inf`.
        axis: which is summed.
        namespace: of the array API, for tracers, which cannot ask the array for it.
    Source: the shifted sum of Blanchard, Higham & Higham 2021.
    """
    xp = array_namespace(x) if namespace is None else namespace
    if x.shape[axis] == 0:
        return xp.sum(x, axis=axis) - math.inf
    peak = _peak(xp, x, axis)
    return _log(xp, xp.sum(xp.exp(x - peak), axis=axis), xp.squeeze(peak, axis=axis))


def shares(x: Array, axis: int) -> Shares:
    """`logsumexp` along an axis and the softmax there, as exact as the entries are far apart.

    Never NaN for finite or `-inf` entries, and neither are derivatives of any order.
    """
    xp = array_namespace(x)
    if x.shape[axis] == 0:
        return Shares(xp.sum(x, axis=axis) - math.inf, x, x)
    peak = _peak(xp, x, axis)
    weight = xp.exp(x - peak)
    total = xp.sum(weight, axis=axis, keepdims=True)
    positive = xp.where(total == 0, xp.ones_like(total), total)
    log_share = xp.where(x > -math.inf, x - peak - xp.log(positive), xp.zeros_like(x))
    log_sum = _log(xp, xp.squeeze(total, axis=axis), xp.squeeze(peak, axis=axis))
    return Shares(log_sum, weight / positive, log_share)


def _peak(xp: Any, x: Array, axis: int) -> Array:
    """The largest entry along an axis that is kept, 0 where every entry is `-inf`."""
    peak = xp.max(x, axis=axis, keepdims=True)
    return xp.where(peak > -math.inf, peak, xp.zeros_like(peak))


def _log(xp: Any, total: Array, peak: Array) -> Array:
    """`log(total) + peak`, `-inf` where the total is 0."""
    empty = total == 0
    log_total = xp.log(xp.where(empty, xp.ones_like(total), total)) + peak
    return xp.where(empty, xp.full_like(log_total, -math.inf), log_total)
