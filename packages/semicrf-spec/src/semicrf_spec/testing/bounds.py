"""Every tolerance there is, each with its reason."""

from __future__ import annotations

from typing import Any

import numpy as np

PROBABILITY_SUM = 1e-12
"""Enumerated probabilities against 1: a few thousand float64 additions of numbers below 1."""

FLOAT64_RELATIVE = 1e-10
"""Two float64 paths to one number: rounding of some thousand operations, with room for their order."""

FLOAT64_POSTERIOR = 1e-10
"""Float64 posteriors, absolute: they are differences of log sums, so the bound above carries over."""

FLOAT32_LOG_PARTITION = 1e-6
"""Float32 scans whose running scale is kept in float64, relative to max(1, |log Z|)."""

FLOAT32_SUM = 1e-6
"""Float32 sums of some hundred terms in two orders, as when a compiler fuses what eager mode adds up."""

FLOAT32_POSTERIOR = 1e-5
"""Float32 posteriors, absolute, at any length: their drift is divided out at every position."""


def probability_bound(log_partition: float) -> float:
    """For sums of `exp(log_prob)`: scores and log Z are each rounded where they are stored, as float64."""
    size = abs(log_partition) if np.isfinite(log_partition) else 0.0
    return PROBABILITY_SUM + 4.0 * float(np.spacing(size))


def error(actual: Any, expected: Any, scale: Any = 1.0) -> float:
    """Largest error relative to the largest of 1, `|expected|` and `|scale|`; equal infinities agree.

    `scale` is for differences: an entropy is log Z less E[score], so its error is that of log Z.
    """
    got, want, size = (np.asarray(x, dtype=np.float64) for x in (actual, expected, scale))
    if got.shape != want.shape:
        raise AssertionError(f"shapes differ: got {got.shape}, expected {want.shape}")
    size = np.where(np.isfinite(size), np.abs(size), 1.0)
    with np.errstate(invalid="ignore"):
        distance = np.abs(got - want) / np.maximum(np.maximum(1.0, size), np.abs(want))
    distance = np.where(got == want, 0.0, distance)
    return float(np.max(np.where(np.isnan(distance), np.inf, distance), initial=0.0))


def assert_close(actual: Any, expected: Any, bound: float, what: str = "value", *, scale: Any = 1.0) -> None:
    """Raise AssertionError unless `error(actual, expected, scale) <= bound`; NaN is never close."""
    distance = error(actual, expected, scale)
    if not distance <= bound:
        raise AssertionError(
            f"{what} is off by {distance:.3g}, bound {bound:.3g}\n got {actual}\n expected {expected}"
        )
