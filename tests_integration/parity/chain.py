"""One link of the chain: what two implementations of the same functions must agree on."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from semicrf_nn import SemiCRF
from semicrf_spec import Potentials, enumerate_batch
from semicrf_spec.operators import Posteriors, Segmentation, ranking, sampling
from semicrf_spec.testing import FLOAT64_POSTERIOR, FLOAT64_RELATIVE, assert_close
from semicrf_spec.testing.enumerated import answer

SAMPLES = 8
"""Of each case. They are the same where the uniform numbers are, unless one is within rounding of a share."""


RANKS = 5
"""The best of each case. Segmentations of one score are alike where sums are exact: of whole scores."""


def enumeration() -> SimpleNamespace:
    """The definition behind the backends' call signature."""

    def asked(operator: str, terms: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        return answer(operator, *Potentials(**terms).terms())

    def entropy(**terms: Any) -> torch.Tensor:
        listed = enumerate_batch(Potentials(**terms).map(torch.Tensor.numpy))
        return torch.tensor([e.entropy for e in listed], dtype=torch.float64)

    def viterbi(**terms: Any) -> Segmentation:
        scores, labels, durations = asked("viterbi", terms)
        return Segmentation(labels, durations, durations.sum(-1), scores)

    return SimpleNamespace(
        log_partition=lambda **terms: asked("log_partition", terms)[0],
        posteriors=lambda **terms: Posteriors(*asked("posteriors", terms)[1:6]),
        viterbi=viterbi,
        entropy=entropy,
        sample=sampling(partial(answer, "sample")),
        top_k=ranking(partial(answer, "top_k")),
    )


def head_distribution() -> SimpleNamespace:
    """`SemiCRF` behind the backends' call signature."""
    return SimpleNamespace(
        log_partition=lambda **terms: SemiCRF(**terms).log_partition,
        posteriors=lambda **terms: SemiCRF(**terms).posteriors,
        viterbi=lambda **terms: SemiCRF(**terms).mode,
        entropy=lambda **terms: SemiCRF(**terms).entropy(),
        sample=lambda n, temperature, generator, **terms: SemiCRF(**terms).sample(n, temperature, generator),
        top_k=lambda k, **terms: SemiCRF(**terms).top_k(k),
    )


def assert_agree(candidate: Any, oracle: Any, potentials: Potentials[Any]) -> None:
    """Raise AssertionError unless both answer alike, within the bounds for float64."""
    terms = dict(potentials.map(torch.from_numpy).items())
    expected = oracle.log_partition(**terms)
    assert_close(candidate.log_partition(**terms), expected, FLOAT64_RELATIVE, "log_partition")
    assert_close(
        candidate.entropy(**terms), oracle.entropy(**terms), FLOAT64_RELATIVE, "entropy", scale=expected
    )
    for name, found, wanted in zip(
        Posteriors._fields, candidate.posteriors(**terms), oracle.posteriors(**terms), strict=True
    ):
        assert_close(found, wanted, FLOAT64_POSTERIOR, name)
    found, wanted = candidate.viterbi(**terms), oracle.viterbi(**terms)
    assert_close(found.scores, wanted.scores, FLOAT64_RELATIVE, "scores")
    assert found.to_list() == wanted.to_list()
    found, wanted = candidate.top_k(**terms, k=RANKS), oracle.top_k(**terms, k=RANKS)
    assert_close(found.scores, wanted.scores, FLOAT64_RELATIVE, "scores of the best")
    if all(np.array_equal(term, np.round(term)) for _, term in potentials.items()):
        assert found.to_list() == wanted.to_list(), "equal scores in another order"
    for temperature in (1.0, 3.0):
        found, wanted = (
            implementation.sample(
                **terms, n=SAMPLES, temperature=temperature, generator=torch.Generator().manual_seed(1)
            )
            for implementation in (candidate, oracle)
        )
        assert_close(found.scores, wanted.scores, FLOAT64_RELATIVE, "scores of samples")
        assert found.to_list() == wanted.to_list(), "samples of one seed differ"
