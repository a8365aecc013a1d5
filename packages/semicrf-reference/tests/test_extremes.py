"""Long chains, sharp scores, huge scores, and hardly anything allowed."""

import math

import numpy as np
import pytest
import torch

from semicrf_reference import compiled, eager
from semicrf_spec import Potentials
from semicrf_spec.cost import num_segmentations
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    PROBABILITY_SUM,
    assert_close,
    random_potentials,
)


def tensors(potentials):
    return dict(potentials.map(torch.from_numpy).items())


def with_terms(potentials, **terms):
    return Potentials(**{**dict(potentials.items()), **terms})


def assert_backends_agree(terms):
    expected = eager.log_partition(**terms)
    assert_close(compiled.log_partition(**terms), expected, FLOAT64_RELATIVE, "log_partition")
    entropies = compiled.entropy(**terms), eager.entropy(**terms)
    assert_close(*entropies, FLOAT64_RELATIVE, "entropy", scale=expected)
    for name, counts in eager.posteriors(**terms)._asdict().items():
        found = getattr(compiled.posteriors(**terms), name)
        assert_close(found, counts, FLOAT64_POSTERIOR, name)
    found, best = compiled.viterbi(**terms), eager.viterbi(**terms)
    assert torch.equal(found.scores, best.scores)
    assert found.to_list() == best.to_list()


def weights_summed(potentials):
    """Log partition of one sequence from its weights, not their logarithms: sums of positive numbers.

    Each step is rescaled by a power of two, which rounds nothing.
    """
    p = potentials.map(lambda term: np.exp(term))
    (emissions, begin, finish), transition = (t[0] for t in (p.emissions, p.begin, p.finish)), p.transition
    open_ = np.zeros_like(p.duration)
    star, exponent = p.start, 0
    for t in range(len(emissions)):
        open_ = np.concatenate([(star * begin[t])[None], open_[:-1]]) * emissions[t]
        closed = finish[t] * (open_ * p.duration).sum(0)
        _, by = np.frexp(closed.max())
        closed, open_, exponent = np.ldexp(closed, -by), np.ldexp(open_, -by), exponent + int(by)
        star = closed @ transition
    return math.log(math.fsum(closed * p.end)) + exponent * math.log(2.0)


def test_a_long_chain_weighs_what_the_sum_of_its_weights_says():
    potentials = random_potentials(1, 20_000, 8, 3, seed=70)
    found = compiled.log_partition(**tensors(potentials))
    assert_close(found, [weights_summed(potentials)], FLOAT64_RELATIVE)


@pytest.mark.parametrize(
    ("length", "classes", "max_duration"), [(20_000, 3, 8), (20_000, 1, 2), (5_000, 1, 9_000)]
)
def test_a_long_chain_of_zeros_counts_its_segmentations(length, classes, max_duration):
    shapes = ((1, length, classes), (classes, classes), (max_duration, classes))
    found = compiled.log_partition(*map(torch.zeros, shapes))
    assert_close(found, [math.log(num_segmentations(length, classes, max_duration))], FLOAT64_RELATIVE)


def test_the_oracle_counts_the_segmentations_of_a_long_chain():
    found = eager.log_partition(torch.zeros(1, 3000, 2), torch.zeros(2, 2), torch.zeros(5, 2))
    assert_close(found, [math.log(num_segmentations(3000, 2, 5))], FLOAT64_RELATIVE)


def test_posteriors_of_a_long_chain_keep_count():
    terms = tensors(random_potentials(1, 20_000, 8, 3, seed=71))
    p = compiled.posteriors(**terms)
    assert_close(p.position.sum(-1), torch.ones(1, 20_000), PROBABILITY_SUM, "labels of a position")
    segments = p.begins.sum()
    lasting = torch.arange(1.0, 9.0, dtype=torch.float64)
    for name, total, expected in (
        ("ends", p.ends.sum(), segments),
        ("durations", p.durations.sum(), segments),
        ("transitions", p.transitions.sum(), segments - 1),
        ("covered positions", (p.durations.sum(2) * lasting).sum(), torch.tensor(20_000.0)),
        ("segments open at the end", p.begins.sum() - p.ends[:, :-1].sum(), torch.tensor(1.0)),
    ):
        assert_close(total, expected, FLOAT64_POSTERIOR, name)


def test_posteriors_far_into_a_chain_are_those_of_its_neighbourhood():
    """Labels 500 positions away have been forgotten: a window has the posteriors of the whole chain."""
    terms = tensors(random_potentials(1, 20_000, 8, 3, seed=72))
    whole = compiled.posteriors(**terms)
    start, stop, margin = 9_000, 11_000, 500
    window = {n: t[:, start:stop] if t.ndim == 3 else t for n, t in terms.items()}
    part = compiled.posteriors(**window)
    for name in ("position", "begins", "ends"):
        found = getattr(whole, name)[:, start + margin : stop - margin]
        assert_close(found, getattr(part, name)[:, margin:-margin], FLOAT64_POSTERIOR, name)


def test_viterbi_follows_a_long_chain_to_its_beginning():
    terms = tensors(random_potentials(1, 20_000, 8, 3, seed=73))
    best = compiled.viterbi(**terms)
    assert best.durations.sum() == 20_000
    assert_close(compiled.score(best, **terms), best.scores, FLOAT64_RELATIVE)
    (segments,) = best.to_list()
    assert segments[0].start == 0
    assert segments[-1].end == 20_000


def test_labels_may_differ_by_fifty_nats_at_a_thousand_positions_on_end():
    potentials = random_potentials(1, 1200, 20, 4, seed=74)
    emissions = potentials.emissions.copy()
    emissions[:, 100:1100, 1] += 50.0
    assert_backends_agree(tensors(with_terms(potentials, emissions=emissions)))
    emissions[:, 600:1100, 2] += 100.0
    assert_backends_agree(tensors(with_terms(potentials, emissions=emissions)))


@pytest.mark.parametrize("size", [1e2, 1e3, 1e4])
def test_scores_may_be_as_sharp_as_they_like(size):
    terms = tensors(random_potentials(2, 120, 6, 3, seed=75, scale=size, lengths=[120, 77]))
    assert_backends_agree(terms)
    within = torch.arange(120) < terms["lengths"][:, None]
    assert_close(compiled.posteriors(**terms).position.sum(-1), within.double(), PROBABILITY_SUM, "position")


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_ten_thousand_nats_at_every_position_shift_the_log_partition_and_nothing_else(backend, sign):
    potentials = random_potentials(1, 150, 6, 3, seed=76)
    shifted = with_terms(potentials, emissions=potentials.emissions + sign * 1e4)
    plain, moved = tensors(potentials), tensors(shifted)
    expected = backend.log_partition(**plain) + sign * 1e4 * 150
    assert_close(backend.log_partition(**moved), expected, FLOAT64_RELATIVE, "log_partition")
    found, wanted = backend.posteriors(**moved), backend.posteriors(**plain)
    assert_close(found.position, wanted.position, FLOAT64_POSTERIOR * 10, "position")


@pytest.mark.parametrize("mask", [-1e4, -1e9, -1e30, torch.finfo(torch.float32).min])
def test_a_large_negative_score_may_stand_for_forbidden(backend, mask):
    potentials = random_potentials(1, 100, 6, 3, seed=82)
    masked = np.random.default_rng(83).random((1, 100, 3)) < 0.3
    masked[..., 0] = False
    finite = tensors(with_terms(potentials, emissions=np.where(masked, mask, potentials.emissions)))
    forbidden = tensors(with_terms(potentials, emissions=np.where(masked, -np.inf, potentials.emissions)))
    expected = backend.log_partition(**forbidden)
    assert_close(backend.log_partition(**finite), expected, FLOAT64_RELATIVE, "log_partition")
    assert_close(backend.entropy(**finite), backend.entropy(**forbidden), FLOAT64_RELATIVE, "entropy")
    for name, counts in backend.posteriors(**forbidden)._asdict().items():
        assert_close(getattr(backend.posteriors(**finite), name), counts, FLOAT64_POSTERIOR, name)


@pytest.mark.parametrize("mask", [-1e9, -1e15, -1e30])
def test_a_position_masked_for_every_label_shifts_the_log_partition_and_nothing_else(mask):
    potentials = random_potentials(1, 60, 6, 3, seed=84)
    emissions = potentials.emissions.copy()
    emissions[:, 25] = 0.0
    plain = tensors(with_terms(potentials, emissions=emissions))
    masked = {**plain, "emissions": plain["emissions"].clone()}
    masked["emissions"][:, 25] = mask
    expected = compiled.log_partition(**plain) + mask
    assert_close(compiled.log_partition(**masked), expected, FLOAT64_RELATIVE, "log_partition")
    for name, counts in compiled.posteriors(**plain)._asdict().items():
        assert torch.equal(getattr(compiled.posteriors(**masked), name), counts)


@pytest.mark.parametrize("mask", [-200.0, -400.0, -1e3, -1e4])
def test_what_is_forbidden_has_a_posterior_of_exactly_0_beside_costly_transitions(mask):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        potentials = random_potentials(1, 30, 3, 4, seed=seed, optional=False)
        transition = np.where(rng.random((4, 4)) < 0.4, mask, potentials.transition)
        forbidden = rng.random((1, 30, 4)) < 0.4
        forbidden[0, np.arange(30), np.repeat(rng.integers(0, 4, 10), 3)] = False
        emissions = np.where(forbidden, -np.inf, potentials.emissions)
        terms = tensors(with_terms(potentials, transition=transition, emissions=emissions))
        assert not compiled.posteriors(**terms).position[torch.from_numpy(forbidden)].any()
        expected = eager.log_partition(**terms)
        assert_close(compiled.entropy(**terms), eager.entropy(**terms), FLOAT64_RELATIVE, scale=expected)


def test_nothing_depends_on_numbers_below_the_smallest_normal_one():
    found = []
    for flush in (False, True):
        if not torch.set_flush_denormal(flush):
            pytest.skip("this processor keeps them")
        try:
            for seed in range(20):
                terms = tensors(random_potentials(1, 40, 6, 4, seed=seed, scale=300.0))
                found.append(torch.cat([counts.flatten() for counts in compiled.posteriors(**terms)]))
        finally:
            torch.set_flush_denormal(False)
    assert_close(torch.stack(found[:20]), torch.stack(found[20:]), PROBABILITY_SUM)


def test_the_lowest_float64_may_stand_for_forbidden():
    lowest = torch.finfo(torch.float64).min
    for name in ("transition", "duration", "emissions"):
        potentials = random_potentials(1, 40, 4, 3, seed=86)
        masked = np.random.default_rng(87).random(getattr(potentials, name).shape) < 0.3
        masked[..., 0] = False
        values = getattr(potentials, name)
        finite = tensors(with_terms(potentials, **{name: np.where(masked, lowest, values)}))
        forbidden = tensors(with_terms(potentials, **{name: np.where(masked, -np.inf, values)}))
        assert_close(compiled.log_partition(**finite), compiled.log_partition(**forbidden), FLOAT64_RELATIVE)
        for a, b in zip(compiled.posteriors(**finite), compiled.posteriors(**forbidden), strict=True):
            assert_close(a, b, FLOAT64_POSTERIOR)


@pytest.mark.parametrize("duration", [30, 300])
def test_labels_may_be_reachable_in_turn_only_and_far_apart(duration):
    """What a forced alignment is: messages of neighbouring labels differ by thousands of nats."""
    potentials = random_potentials(1, 600, duration, 5, seed=85, scale=20.0)
    transition = np.where(np.eye(5) + np.eye(5, k=1) > 0, potentials.transition, -np.inf)
    start, end = np.full(5, -np.inf), np.full(5, -np.inf)
    start[0], end[4] = 0.0, 0.0
    assert_backends_agree(tensors(with_terms(potentials, transition=transition, start=start, end=end)))


@pytest.mark.parametrize("by_position", [False, True])
@pytest.mark.parametrize("max_duration", [1, 12])
@pytest.mark.parametrize("classes", [8, 19])
def test_no_label_may_come_back(classes, max_duration, by_position):
    """What a left-to-right model is: of the labels at the front ever less is left, and yet it may be all."""
    potentials = random_potentials(2, 700, max_duration, classes, seed=88, lengths=[700, 123])
    transition = np.where(np.tri(classes) <= 0, potentials.transition, -np.inf)
    np.fill_diagonal(transition, -0.1)
    if by_position:
        transition = np.broadcast_to(transition, (2, 700, classes, classes)).copy()
        transition[:, 300:, 0, 1:] = -np.inf
    assert_backends_agree(tensors(with_terms(potentials, transition=transition)))


@pytest.mark.parametrize("allowed", [1, 7, 40])
def test_every_duration_but_one_may_be_forbidden(allowed):
    potentials = random_potentials(2, 280, 40, 3, seed=77, lengths=[280, 279])
    duration = np.full_like(potentials.duration, -np.inf)
    duration[allowed - 1] = potentials.duration[allowed - 1]
    terms = tensors(with_terms(potentials, duration=duration))
    assert_backends_agree(terms)
    lasting = {segment.duration for segments in compiled.viterbi(**terms).to_list() for segment in segments}
    assert lasting == {allowed}


@pytest.mark.parametrize(("step", "labels"), [(4, 9), (7, 9), (7, 5)])
def test_durations_may_be_multiples(step, labels):
    """Between them nothing ends; or, of lengths that are none, nothing at all is allowed."""
    potentials = random_potentials(3, 280, 40, 9, seed=89, scale=5.0, lengths=[280, 252, 129])
    duration, lasting = potentials.duration.copy(), np.arange(1, 41)
    duration[lasting % step != 0, :labels] = -np.inf
    terms = tensors(with_terms(potentials, duration=duration))
    assert_backends_agree(terms)
    assert torch.equal(compiled.log_partition(**terms).isfinite(), torch.tensor([True, True, labels < 9]))


def test_one_label_alone_may_be_reachable():
    potentials = random_potentials(1, 100, 9, 4, seed=78)
    start, transition = np.full(4, -np.inf), np.full((4, 4), -np.inf)
    start[2], transition[2, 2] = 0.3, -0.2
    terms = tensors(with_terms(potentials, start=start, transition=transition))
    assert_backends_agree(terms)
    assert_close(compiled.posteriors(**terms).position[..., 2], torch.ones(1, 100), PROBABILITY_SUM)


def test_labels_may_be_reachable_in_turn_only():
    potentials = random_potentials(1, 90, 5, 3, seed=79)
    transition = np.full((3, 3), -np.inf)
    transition[[0, 1, 2], [1, 2, 0]] = potentials.transition[[0, 1, 2], [1, 2, 0]]
    start = np.array([0.0, -np.inf, -np.inf])
    terms = tensors(with_terms(potentials, transition=transition, start=start))
    assert_backends_agree(terms)
    (segments,) = compiled.viterbi(**terms).to_list()
    assert [segment.label for segment in segments] == [n % 3 for n in range(len(segments))]


def test_the_longest_duration_may_be_far_longer_than_the_sequence():
    assert_backends_agree(tensors(random_potentials(2, 12, 3_000, 2, seed=80, lengths=[12, 5])))


def test_half_precision_at_its_largest_is_read_exactly():
    largest = torch.finfo(torch.float16).max
    potentials = random_potentials(1, 60, 5, 3, seed=81).map(torch.from_numpy)
    terms = {n: t.half() for n, t in potentials.items()}
    terms["emissions"] = (largest * potentials.emissions.sign()).half()
    expected = eager.log_partition(**terms)
    assert_close(compiled.log_partition(**terms), expected, FLOAT64_RELATIVE)
    assert torch.equal(compiled.viterbi(**terms).scores, eager.viterbi(**terms).scores)


@pytest.mark.parametrize("size", [1e6, 1e9, 1e12])
@pytest.mark.parametrize("max_duration", [1, 4])
def test_a_label_that_nothing_reaches_may_score_as_it_likes(size, max_duration):
    potentials = random_potentials(2, 40, max_duration, 3, seed=88, lengths=[40, 9])
    terms = tensors(potentials)
    terms["transition"][:, 0] = terms["start"][0] = -torch.inf
    expected = eager.log_partition(**terms)
    terms["emissions"][:, ::2, 0] = size
    terms["emissions"][:, 1::2, 0] = -size
    assert_close(compiled.log_partition(**terms), expected, FLOAT64_RELATIVE, "log_partition")
    posteriors = compiled.posteriors(**terms)
    assert torch.all(posteriors.position[..., 0] == 0.0)
    for name, counts in eager.posteriors(**terms)._asdict().items():
        assert_close(getattr(posteriors, name), counts, FLOAT64_POSTERIOR, name)


@pytest.mark.parametrize("size", [1e6, 1e9, 1e17])
def test_a_duration_that_no_sequence_has_room_for_may_score_as_it_likes(size):
    terms = tensors(random_potentials(3, 40, 60, 3, seed=89, lengths=[40, 9, 0]))
    short = {**terms, "lengths": torch.tensor([9, 9, 0])}
    for given, row in ((terms, 40), (short, 9)):
        expected = eager.log_partition(**given)
        duration = given["duration"].clone()
        duration[row] = size
        changed = {**given, "duration": duration}
        assert_close(compiled.log_partition(**changed), expected, FLOAT64_RELATIVE, "log_partition")
        for name, counts in eager.posteriors(**changed)._asdict().items():
            assert_close(getattr(compiled.posteriors(**changed), name), counts, FLOAT64_POSTERIOR, name)


@pytest.mark.parametrize(
    "mask", [-1e17, -1e30, torch.finfo(torch.float32).min, torch.finfo(torch.float64).min]
)
@pytest.mark.parametrize("max_duration", [1, 2])
def test_what_cannot_be_avoided_leaves_finite_posteriors(mask, max_duration):
    rng = np.random.default_rng(90)
    for seed in range(20):
        terms = tensors(random_potentials(2, 14, max_duration, 2, seed=seed))
        for name in ("emissions", "transition", "duration", "begin"):
            masked = torch.from_numpy(rng.random(terms[name].shape) < rng.choice([0.3, 1.0]))
            terms[name] = terms[name].masked_fill(masked, mask)
        assert not compiled.log_partition(**terms).isnan().any()
        for name, counts in compiled.posteriors(**terms)._asdict().items():
            assert counts.isfinite().all(), (seed, name)


@pytest.mark.parametrize("sharpness", [3.0, 30.0])
@pytest.mark.parametrize(("least", "most"), [(1, 12), (9, 40), (40, 40)])
def test_labels_may_have_a_least_duration_where_scores_are_sharp(sharpness, least, most):
    """What began last outweighs what may end by thousands of nats; every other label has other limits."""
    potentials = random_potentials(2, 330, 40, 4, seed=76, scale=sharpness, lengths=[330, 190])
    duration, lasting = potentials.duration.copy(), np.arange(1, 41)
    duration[(lasting < least) | (lasting > most), ::2] = -np.inf
    assert_backends_agree(tensors(with_terms(potentials, duration=duration)))


@pytest.mark.parametrize("mean", [2.0, 20.0])
def test_the_weights_of_durations_may_span_thousands_of_nats(mean):
    potentials = random_potentials(1, 400, 90, 3, seed=77, scale=3.0)
    lasting = np.arange(1.0, 91.0)[:, None]
    poisson = lasting * math.log(mean) - np.log(lasting).cumsum(0)
    assert_backends_agree(tensors(with_terms(potentials, duration=10 * poisson + np.zeros((1, 3)))))


@pytest.mark.parametrize("seed", range(20))
def test_decoding_ends_with_a_path_where_scores_are_too_large_for_float64(seed):
    rng = np.random.default_rng(seed)
    sizes = {"emissions": (2, 30, 3), "transition": (3, 3), "duration": (9, 3)}
    terms = {name: torch.from_numpy(5e307 * rng.uniform(-1.0, 1.0, size)) for name, size in sizes.items()}
    for segments in compiled.viterbi(**terms).to_list():
        assert [segment.start for segment in segments] == [0, *(segment.end for segment in segments)][:-1]
        assert segments[-1].end == 30
