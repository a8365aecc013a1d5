"""The operators' contracts, and the types and call signature every backend shares. Needs torch."""

from semicrf_spec.operators.calls import OverTerms, check_tensors, on_device, over_terms
from semicrf_spec.operators.censoring import Censoring, Copies, survivors
from semicrf_spec.operators.checks import (
    can_look,
    check_labels,
    check_segmentation,
    validating,
    validation,
)
from semicrf_spec.operators.contracts import SCHEMAS, statistics_dtype, terms_and_boundaries
from semicrf_spec.operators.divergences import cross_entropy_by, kl_divergence_by
from semicrf_spec.operators.expectations import Posteriors, expected_score
from semicrf_spec.operators.functions import (
    cross_entropy,
    entropy,
    entropy_from,
    kl_divergence,
    log_partition,
    posteriors,
    sample,
    top_k,
    viterbi,
)
from semicrf_spec.operators.gold import agreeing, lengths_of, score, score_at, score_of
from semicrf_spec.operators.ranking import Rank, ranking
from semicrf_spec.operators.sampling import Draw, first_above, sampling
from semicrf_spec.operators.segmentation import NO_LABEL, Segmentation, check_label_grid
from semicrf_spec.operators.sums import logsumexp

__all__ = [
    "NO_LABEL",
    "SCHEMAS",
    "Censoring",
    "Copies",
    "Draw",
    "OverTerms",
    "Posteriors",
    "Rank",
    "Segmentation",
    "agreeing",
    "can_look",
    "check_label_grid",
    "check_labels",
    "check_segmentation",
    "check_tensors",
    "cross_entropy",
    "cross_entropy_by",
    "entropy",
    "entropy_from",
    "expected_score",
    "first_above",
    "kl_divergence",
    "kl_divergence_by",
    "lengths_of",
    "log_partition",
    "logsumexp",
    "on_device",
    "over_terms",
    "posteriors",
    "ranking",
    "sample",
    "sampling",
    "score",
    "score_at",
    "score_of",
    "statistics_dtype",
    "survivors",
    "terms_and_boundaries",
    "top_k",
    "validating",
    "validation",
    "viterbi",
]
