"""Scores of whole segments and transitions that depend on durations: what is not factored."""

import numpy as np
import pytest
import torch
from torch.autograd import gradgradcheck

from semicrf_reference import compiled, eager
from semicrf_reference.scan import linear_scan
from semicrf_spec import Potentials, enumerate_batch
from semicrf_spec.operators import Posteriors
from semicrf_spec.potentials import DTYPES
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    MAX_DURATIONS,
    assert_close,
    case,
    edge_case_names,
    random_potentials,
    with_segment_scores,
)

over_edges = pytest.mark.parametrize("name", edge_case_names())


def tensors(potentials):
    return dict(potentials.map(torch.from_numpy).items())


SIZES = [(3, 70, 9, 5), (2, 40, 60, 3), (2, 50, 1, 4), (1, 600, 20, 2)]


@pytest.mark.parametrize("size", SIZES)
def test_scores_of_segments_are_answered_as_by_the_oracle(size):
    batch, time, *_ = size
    given = with_segment_scores(
        random_potentials(*size, seed=60, lengths=[time, *range(7, 7 * batch, 7)]), 61
    )
    terms = tensors(given)
    expected = eager.log_partition(**terms)
    assert_close(compiled.log_partition(**terms), expected, FLOAT64_RELATIVE)
    assert_close(compiled.entropy(**terms), eager.entropy(**terms), FLOAT64_RELATIVE, scale=expected)
    for found, wanted in zip(compiled.posteriors(**terms), eager.posteriors(**terms), strict=True):
        assert_close(found, wanted, FLOAT64_POSTERIOR)
    assert compiled.top_k(**terms, k=4).to_list() == eager.top_k(**terms, k=4).to_list()
    assert compiled.viterbi(**terms).to_list() == eager.viterbi(**terms).to_list()
    drawn = [
        backend.sample(**terms, n=5, generator=torch.Generator().manual_seed(5)).to_list()
        for backend in (compiled, eager)
    ]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_scores_of_segments_are_accepted_in_any_dtype(dtype):
    terms = {
        n: x.to(dtype) if x.is_floating_point() else x
        for n, x in tensors(
            with_segment_scores(random_potentials(2, 9, 3, 2, seed=62, lengths=[9, 4]), 63)
        ).items()
    }
    assert_close(compiled.log_partition(**terms), eager.log_partition(**terms), FLOAT64_RELATIVE)


@pytest.mark.parametrize("shared", [(4, 3), (2, 4, 3)], ids=["shared", "by-sequence"])
def test_scores_of_segments_that_are_all_alike_are_those_of_durations(shared):
    given = random_potentials(2, 30, 4, 3, seed=64, lengths=[30, 11])
    duration = np.random.default_rng(65).standard_normal(shared)
    terms = tensors(Potentials(**{**dict(given.items()), "duration": duration}))
    spread = terms["duration"][..., None, :, :].expand(2, 30, 4, 3)
    found, expected = (compiled.posteriors(**{**terms, "duration": d}) for d in (spread, terms["duration"]))
    assert_close(found.durations.sum(1), expected.durations, FLOAT64_POSTERIOR)
    for name in ("position", "begins", "ends", "transitions"):
        assert_close(getattr(found, name), getattr(expected, name), FLOAT64_POSTERIOR, name)


def test_segments_cover_each_position_once_at_length():
    time, max_duration, classes = 3_000, 12, 3
    given = random_potentials(1, time, max_duration, classes, seed=66, scale=3.0)
    segments = compiled.posteriors(**tensors(with_segment_scores(given, 67))).durations[0]
    covered = torch.zeros(time, dtype=torch.float64)
    for d in range(1, max_duration + 1):
        begun = segments[: time - d + 1, d - 1].sum(-1)
        for ahead in range(d):
            covered[ahead : ahead + len(begun)] += begun
    assert_close(covered, torch.ones(time), FLOAT64_POSTERIOR)


@pytest.mark.parametrize("offset", [1e3, 1e6, -1e6])
def test_what_all_labels_have_in_common_changes_no_posterior(offset):
    given = with_segment_scores(random_potentials(1, 2_000, 4, 2, seed=70), 71)
    terms = tensors(given)
    expected = compiled.posteriors(**terms)
    shift = offset * (1.0 + torch.arange(2_000) % 2)[None, :, None]  # exact, and so are the sums below
    terms["emissions"] = (terms["emissions"] + shift) - shift
    same = compiled.posteriors(**terms)
    found = compiled.posteriors(**{**terms, "emissions": terms["emissions"] + shift})
    for name in Posteriors._fields:
        assert_close(getattr(found, name), getattr(same, name), FLOAT64_POSTERIOR, name)
    assert_close(same.position.sum(-1), torch.ones(1, 2_000), FLOAT64_POSTERIOR)
    assert expected.position.min() > 0.0


@pytest.mark.parametrize("huge", [1e4, 1e12])
def test_a_label_that_cannot_end_costs_the_others_no_digits(huge):
    given = random_potentials(1, 400, 4, 3, seed=72)
    duration, emissions = np.array(with_segment_scores(given, 73).duration), np.array(given.emissions)
    duration[..., 2], emissions[..., 2] = -1e30, huge
    terms = tensors(Potentials(**{**dict(given.items()), "emissions": emissions, "duration": duration}))
    without = dict(terms, duration=terms["duration"].clone(), emissions=terms["emissions"].clone())
    without["duration"][..., 2] = without["emissions"][..., 2] = -torch.inf
    assert_close(compiled.log_partition(**terms), compiled.log_partition(**without), FLOAT64_RELATIVE)
    for found, expected in zip(compiled.posteriors(**terms), compiled.posteriors(**without), strict=True):
        assert_close(found, expected, FLOAT64_POSTERIOR)


@pytest.mark.parametrize("seed", range(20))
def test_a_position_that_cannot_bear_a_label_has_a_posterior_of_exactly_0(seed):
    rng = np.random.default_rng(seed)
    given = dict(with_segment_scores(random_potentials(2, 7, 3, 2, seed=seed, scale=30.0), seed).items())
    for term in ("begin", "finish"):
        given[term] = np.where(rng.random(given[term].shape) < 0.4, -np.inf, given[term])
    potentials = Potentials(**given)
    position = compiled.posteriors(**tensors(potentials)).position.numpy()
    for b, listed in enumerate(enumerate_batch(potentials)):
        allowed = [
            listed.counts(y)["position"]
            for y, s in zip(listed.all, listed.scores, strict=True)
            if s > -np.inf
        ]
        possible = np.sum(allowed, axis=0) > 0 if allowed else np.zeros((7, 2), bool)
        assert not position[b][~possible].any()
    assert (position >= 0.0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_score_of_a_segment_is_named_where_the_segment_fits_and_ignored_elsewhere(bad, backend):
    terms = tensors(with_segment_scores(random_potentials(2, 6, 3, 2, seed=68, lengths=[6, 4]), 69))
    expected = backend.log_partition(**terms)
    terms["duration"][1, 2, 2, 1] = terms["duration"][0, 4, 2, 0] = bad  # end at 5 of 4 and at 7 of 6
    assert torch.equal(backend.log_partition(**terms), expected)
    terms["duration"][1, 2, 1, 1] = bad
    with pytest.raises(ValueError, match=r"^duration\[1, 2, 1, 1\] is (nan|inf); expected a finite score"):
        backend.log_partition(**terms)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_bad_score_is_read_where_a_segment_does_not_fit(bad):
    """Of more durations than a block of the processor's has, and of the same memory for two sequences."""
    terms = tensors(with_segment_scores(random_potentials(2, 40, 19, 2, seed=66, lengths=[37, 10]), 67))
    expected = eager.viterbi(**terms), eager.log_partition(**terms)
    fits = torch.arange(40)[:, None] + torch.arange(19) < terms["lengths"][:, None, None]
    terms["duration"] = terms["duration"].where(fits[..., None], bad)
    assert compiled.viterbi(**terms).to_list() == expected[0].to_list()
    assert_close(compiled.log_partition(**terms), expected[1], FLOAT64_RELATIVE)


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("seed", range(20))
def test_a_mask_that_can_be_avoided_may_be_as_low_as_it_likes(seed, scale):
    """Beside it the largest score of a segment is lost, wherever the two are added."""
    generator = torch.Generator().manual_seed(seed)
    emissions, transition, duration = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((1, 12, 4), (4, 4), (1, 12, 3, 4))
    )
    masked = torch.rand(emissions.shape, generator=generator) < 0.3
    masked[..., 0] = False
    terms = {"transition": transition, "duration": scale * duration}
    forbidden = {"emissions": emissions.masked_fill(masked, -torch.inf), **terms}
    finite = {"emissions": emissions.masked_fill(masked, -3e38), **terms}
    assert_close(compiled.log_partition(**finite), eager.log_partition(**forbidden), FLOAT64_RELATIVE)
    for found, wanted in zip(compiled.posteriors(**finite), eager.posteriors(**forbidden), strict=True):
        assert_close(found, wanted, FLOAT64_POSTERIOR)


@pytest.mark.parametrize("max_duration", MAX_DURATIONS)
@over_edges
def test_transitions_that_depend_on_durations_are_those_of_the_definition(name, max_duration):
    potentials = case(name, max_duration)
    terms, listed = tensors(potentials), enumerate_batch(potentials)
    assert_close(eager.log_partition(**terms), [e.log_partition for e in listed], FLOAT64_RELATIVE)
    edges = eager.edges(Potentials(**terms))
    totals = linear_scan(edges, terms["lengths"])
    assert_close(totals, [e.log_partition for e in listed], FLOAT64_RELATIVE)
    assert_close(eager.entropy(**terms), [e.entropy for e in listed], FLOAT64_RELATIVE)
    for term, counts in eager.posteriors(**terms)._asdict().items():
        for b, e in enumerate(listed):
            expected = e.posteriors[term]
            shared = term == "transitions" and potentials.transition.ndim == 3
            assert_close(counts[b], expected.sum(0) if shared else expected, FLOAT64_POSTERIOR, term)


@over_edges
def test_transitions_that_depend_on_durations_have_second_derivatives(name):
    potentials = case(name).masked().map(torch.from_numpy)
    terms = dict(potentials.items())
    terms["transition"] = terms["transition"].nan_to_num(nan=0.0, neginf=-1.0)
    names = [term for term in terms if term not in DTYPES]

    def log_partition(*given):
        return eager.log_partition(**{**terms, **dict(zip(names, given, strict=True))})

    assert gradgradcheck(log_partition, [terms[term].requires_grad_() for term in names])


@over_edges
def test_the_compiled_backend_names_the_one_that_serves_them(name):
    with pytest.raises(ValueError, match=r"^transition has shape .*, that is \(.*\), .* use backend='eager'"):
        compiled.viterbi(**tensors(case(name)))
