"""The definition of the semi-Markov CRF: what every other package is tested against.

Importing this needs numpy and array-api-compat. The operators, which need torch, are in
`semicrf_spec.operators`.
"""

from semicrf_spec._version import __version__
from semicrf_spec.censoring import CensoredEnumeration, enumerate_censored
from semicrf_spec.dense import DensePotentials
from semicrf_spec.enumeration import Enumeration, enumerate_batch, segmentations
from semicrf_spec.potentials import SHAPES, Potentials
from semicrf_spec.score import score
from semicrf_spec.segments import (
    UNKNOWN,
    Segment,
    check_segments,
    labels_to_segments,
    segments_to_labels,
)
from semicrf_spec.semirings import (
    BOOLEAN,
    COUNT,
    COVARIANCE,
    CROSS_ENTROPY,
    ENTROPY,
    EXPECTATION,
    KL_DIVERGENCE,
    LOG,
    MAX,
    REAL,
    SCALARS,
    SEMIRINGS,
    BooleanSemiring,
    CheckpointSemiring,
    CountSemiring,
    CovarianceSemiring,
    CrossEntropySemiring,
    EntropySemiring,
    ExpectationSemiring,
    KLDivergenceSemiring,
    KMaxSemiring,
    LogSemiring,
    MaxSemiring,
    RealSemiring,
    ScalarSemiring,
    Semiring,
    logsumexp,
)
from semicrf_spec.tags import segments_to_tags, tags_to_segments

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
    "SHAPES",
    "UNKNOWN",
    "BooleanSemiring",
    "CensoredEnumeration",
    "CheckpointSemiring",
    "CountSemiring",
    "CovarianceSemiring",
    "CrossEntropySemiring",
    "DensePotentials",
    "EntropySemiring",
    "Enumeration",
    "ExpectationSemiring",
    "KLDivergenceSemiring",
    "KMaxSemiring",
    "LogSemiring",
    "MaxSemiring",
    "Potentials",
    "RealSemiring",
    "ScalarSemiring",
    "Segment",
    "Semiring",
    "__version__",
    "check_segments",
    "enumerate_batch",
    "enumerate_censored",
    "labels_to_segments",
    "logsumexp",
    "score",
    "segmentations",
    "segments_to_labels",
    "segments_to_tags",
    "tags_to_segments",
]
