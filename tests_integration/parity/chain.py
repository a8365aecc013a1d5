"""One link of the chain: what two implementations of the same functions must agree on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from semicrf_nn import SemiCRF
from semicrf_spec import Potentials, enumerate_batch
from semicrf_spec.operators import Posteriors, Segmentation, ranking, sampling
from semicrf_spec.potentials import SHAPES
from semicrf_spec.testing import FLOAT64_POSTERIOR, FLOAT64_RELATIVE, assert_close

SAMPLES = 8
"""Of each case. They are the same where the uniform numbers are, unless one is within rounding of a share."""


RANKS = 5
"""The best of each case. Segmentations of one score are alike where sums are exact: of whole scores."""


def enumeration() -> SimpleNamespace:
    """The definition behind the backends' call signature."""

    def listed(terms: dict[str, Any]) -> list[Any]:
        return enumerate_batch(Potentials(**terms).map(torch.Tensor.numpy))

    def log_partition(**terms: Any) -> torch.Tensor:
        return torch.tensor([e.log_partition for e in listed(terms)], dtype=torch.float64)

    def entropy(**terms: Any) -> torch.Tensor:
        return torch.tensor([e.entropy for e in listed(terms)], dtype=torch.float64)

    def posteriors(**terms: Any) -> Posteriors:
        found = [e.posteriors for e in listed(terms)]
        stacked = {name: torch.from_numpy(np.stack([f[name] for f in found])) for name in Posteriors._fields}
        if terms["transition"].ndim == 2:
            stacked["transitions"] = stacked["transitions"].sum(1)
        return Posteriors(**stacked)

    def viterbi(**terms: Any) -> Segmentation:
        best = [(e.top_k(1) or [(-np.inf, ())])[0] for e in listed(terms)]
        lengths = [segments[-1].end if segments else 0 for _, segments in best]
        found = Segmentation.from_list(
            [segments for _, segments in best],
            num_positions=terms["emissions"].shape[1],
            lengths=torch.tensor(lengths),
        )
        scores = torch.tensor([score for score, _ in best], dtype=torch.float64)
        return Segmentation(found.labels, found.durations, found.lengths, scores)

    def rank(*arguments: Any) -> tuple[torch.Tensor, ...]:
        *given, k = arguments
        found = listed(dict(zip(SHAPES, given, strict=True)))
        best = [(e.top_k(k) + [(-np.inf, ())] * k)[:k] for e in found]
        scores = torch.tensor([[ranked[i][0] for ranked in best] for i in range(k)], dtype=torch.float64)
        ranks = [
            Segmentation.from_list([ranked[i][1] for ranked in best], num_positions=given[0].shape[1])
            for i in range(k)
        ]
        return scores, torch.stack([y.labels for y in ranks]), torch.stack([y.durations for y in ranks])

    def draw(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        *given, uniforms = arguments
        terms = dict(zip(SHAPES, given, strict=True))
        each = [
            Segmentation.from_list(
                [e.draw(u) for e, u in zip(listed(terms), sample, strict=True)],
                num_positions=uniforms.shape[2],
            )
            for sample in uniforms.numpy()
        ]
        return torch.stack([s.labels for s in each]), torch.stack([s.durations for s in each])

    return SimpleNamespace(
        log_partition=log_partition,
        posteriors=posteriors,
        viterbi=viterbi,
        entropy=entropy,
        sample=sampling(draw),
        top_k=ranking(rank),
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
