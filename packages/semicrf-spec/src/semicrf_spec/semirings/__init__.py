"""Semirings, written once over the array API.

A semi-Markov model asks one question in many algebras: the sum over segmentations of the product of
their parts. `LOG` answers with the log partition, `MAX` with the best score, `KMaxSemiring(k)` with the
k best, `REAL` with the partition itself, `COUNT` with the number of segmentations that are allowed, `BOOLEAN`
whether there is one; `ENTROPY`, `CROSS_ENTROPY`, `KL_DIVERGENCE`, `EXPECTATION` and `COVARIANCE` with what
holds on average.
"""

from semicrf_spec.semirings.checkpoint import CheckpointSemiring
from semicrf_spec.semirings.k_max import KMaxSemiring
from semicrf_spec.semirings.protocol import ScalarSemiring, Semiring
from semicrf_spec.semirings.scalars import (
    BooleanSemiring,
    CountSemiring,
    LogSemiring,
    MaxSemiring,
    RealSemiring,
)
from semicrf_spec.semirings.statistics import (
    CovarianceSemiring,
    CrossEntropySemiring,
    EntropySemiring,
    ExpectationSemiring,
    KLDivergenceSemiring,
)
from semicrf_spec.semirings.sums import logsumexp

LOG = LogSemiring()
MAX = MaxSemiring()
REAL = RealSemiring()
COUNT = CountSemiring()
BOOLEAN = BooleanSemiring()
ENTROPY = EntropySemiring()
CROSS_ENTROPY = CrossEntropySemiring()
KL_DIVERGENCE = KLDivergenceSemiring()
EXPECTATION = ExpectationSemiring()
COVARIANCE = CovarianceSemiring()
SCALARS: tuple[ScalarSemiring, ...] = (LOG, MAX, REAL, COUNT, BOOLEAN)
"""The semirings whose elements are single numbers."""
SEMIRINGS: tuple[Semiring, ...] = (
    *SCALARS,
    KMaxSemiring(3),
    ENTROPY,
    CROSS_ENTROPY,
    KL_DIVERGENCE,
    EXPECTATION,
    COVARIANCE,
)
"""Every semiring there is, the k best with one k."""

__all__ = [
    "BOOLEAN",
    "COUNT",
    "COVARIANCE",
    "CROSS_ENTROPY",
    "ENTROPY",
    "EXPECTATION",
    "KL_DIVERGENCE",
    "LOG",
    "MAX",
    "REAL",
    "SCALARS",
    "SEMIRINGS",
    "BooleanSemiring",
    "CheckpointSemiring",
    "CountSemiring",
    "CovarianceSemiring",
    "CrossEntropySemiring",
    "EntropySemiring",
    "ExpectationSemiring",
    "KLDivergenceSemiring",
    "KMaxSemiring",
    "LogSemiring",
    "MaxSemiring",
    "RealSemiring",
    "ScalarSemiring",
    "Semiring",
    "logsumexp",
]
