"""What every test of the project shares: named cases and error bounds.

Hypothesis strategies are in `semicrf_spec.testing.strategies`, and what operators must answer in
`semicrf_spec.testing.enumerated`, imported only when asked for.
"""

from semicrf_spec.testing.bounds import (
    FLOAT32_LOG_PARTITION,
    FLOAT32_POSTERIOR,
    FLOAT32_SUM,
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    PROBABILITY_SUM,
    assert_close,
    error,
    probability_bound,
)
from semicrf_spec.testing.cases import (
    MAX_DURATIONS,
    Case,
    case,
    case_names,
    edge_case_names,
    factored_case_names,
    random_potentials,
    with_segment_scores,
)

__all__ = [
    "FLOAT32_LOG_PARTITION",
    "FLOAT32_POSTERIOR",
    "FLOAT32_SUM",
    "FLOAT64_POSTERIOR",
    "FLOAT64_RELATIVE",
    "MAX_DURATIONS",
    "PROBABILITY_SUM",
    "Case",
    "assert_close",
    "case",
    "case_names",
    "edge_case_names",
    "error",
    "factored_case_names",
    "probability_bound",
    "random_potentials",
    "with_segment_scores",
]
