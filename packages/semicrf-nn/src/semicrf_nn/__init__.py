"""Semi-Markov CRF distributions and heads for PyTorch."""

from semicrf_nn._version import __version__
from semicrf_nn.distribution import SemiCRF
from semicrf_nn.head import SemiMarkovCRFHead
from semicrf_spec import Segment, segments_to_tags, tags_to_segments
from semicrf_spec.operators import Posteriors, Segmentation

__all__ = [
    "Posteriors",
    "Segment",
    "Segmentation",
    "SemiCRF",
    "SemiMarkovCRFHead",
    "__version__",
    "segments_to_tags",
    "tags_to_segments",
]
