"""Semi-Markov CRF distributions and heads for PyTorch."""

from semicrf_nn._version import __version__
from semicrf_nn.coverage import suggest_max_duration
from semicrf_nn.distribution import SemiCRF
from semicrf_nn.durations import CallableDurations, Durations, LearnedDurations, UniformDurations
from semicrf_nn.families import (
    GammaDurations,
    GeometricDurations,
    LogNormalDurations,
    NegativeBinomialDurations,
    PoissonDurations,
)
from semicrf_nn.head import SemiMarkovCRFHead
from semicrf_nn.mixtures import MixtureDurations
from semicrf_spec import Segment, segments_to_tags, tags_to_segments
from semicrf_spec.operators import Posteriors, Segmentation

__all__ = [
    "CallableDurations",
    "Durations",
    "GammaDurations",
    "GeometricDurations",
    "LearnedDurations",
    "LogNormalDurations",
    "MixtureDurations",
    "NegativeBinomialDurations",
    "PoissonDurations",
    "Posteriors",
    "Segment",
    "Segmentation",
    "SemiCRF",
    "SemiMarkovCRFHead",
    "UniformDurations",
    "__version__",
    "segments_to_tags",
    "suggest_max_duration",
    "tags_to_segments",
]
