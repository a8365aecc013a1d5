"""Samples: those that the definition selects, and distributed as it says."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semicrf_reference import compiled, eager
from semicrf_reference.compiled import kernels
from semicrf_reference.eager.sample import draw
from semicrf_spec import Potentials, enumerate_batch
from semicrf_spec.testing import case, random_potentials
from semicrf_spec.testing.strategies import small_potentials

DISTRIBUTED = (
    "every_term",
    "ragged",
    "ties",
    "position_transition",
    "sequence_duration",
    "forbidden_duration",
)
SIGNIFICANCE = 1e-4
"""Of a true distribution, one seed in so many fails; the seed is fixed."""


def tensors(potentials):
    return dict(potentials.map(torch.from_numpy).items())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def chi_square(drawn, expected):
    """The probability of a fit at least as bad, outcomes that are rarely expected taken as one."""
    often = {y: count for y, count in expected.items() if count >= 5.0}
    rare = sum(expected.values()) - sum(often.values())
    observed = [drawn[y] for y in often]
    cells = list(zip(observed, often.values(), strict=True)) + [(drawn.total() - sum(observed), rare)] * int(
        rare > 0
    )
    statistic = sum((found - wanted) ** 2 / wanted for found, wanted in cells)
    half = torch.tensor([(len(cells) - 1) / 2, statistic / 2], dtype=torch.float64)
    return torch.special.gammaincc(*half).item() if len(cells) > 1 else 1.0


@pytest.mark.parametrize("name", DISTRIBUTED)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_samples_are_distributed_as_enumeration_says(backend, name, temperature):
    n = 4000
    potentials = case(name)
    samples = backend.sample(
        **tensors(potentials), n=n, temperature=temperature, generator=seeded(3)
    ).to_list()
    cooled = potentials.map(lambda term: term / temperature if term.dtype.kind == "f" else term)
    for b, sequence in enumerate(enumerate_batch(cooled)):
        expected = {y: n * p for y, p in zip(sequence.all, sequence.probabilities, strict=True)}
        drawn = Counter(tuple(sample[b]) for sample in samples)
        assert all(expected[y] > 0.0 for y in drawn)
        assert chi_square(drawn, expected) > SIGNIFICANCE


def test_the_test_of_distributions_sees_a_wrong_one():
    potentials = case("every_term")
    off = {
        **tensors(potentials),
        "duration": torch.from_numpy(potentials.duration) + torch.tensor([0.0, 0.3, 0.0]),
    }
    samples = compiled.sample(**off, n=4000, generator=seeded(3)).to_list()
    (sequence, *_) = enumerate_batch(potentials)
    expected = {y: 4000 * p for y, p in zip(sequence.all, sequence.probabilities, strict=True)}
    assert chi_square(Counter(tuple(sample[0]) for sample in samples), expected) < SIGNIFICANCE


@settings(max_examples=60)
@given(small_potentials(), st.integers(0, 2**31))
def test_every_backend_draws_what_the_definition_selects(potentials, seed):
    batch, time, _ = potentials.shape
    uniforms = torch.rand((3, batch, time, 2), dtype=torch.float64, generator=seeded(seed))
    terms = potentials.map(torch.from_numpy).terms()
    for labels, durations in (draw(*terms, uniforms), kernels.sample(*terms, uniforms)):
        for sample in range(3):
            for b, sequence in enumerate(enumerate_batch(potentials)):
                starts = durations[sample, b].nonzero().flatten().tolist()
                found = [(s, s + int(durations[sample, b, s]), int(labels[sample, b, s])) for s in starts]
                assert found == list(sequence.draw(uniforms[sample, b].numpy()))


@pytest.mark.parametrize(
    ("size", "scale"),
    [((3, 90, 25, 6), 1.0), ((1, 200, 300, 3), 0.1), ((4, 60, 1, 24), 2.0), ((2, 80, 7, 5), 400.0)],
)
def test_both_backends_draw_the_same_at_larger_sizes(size, scale):
    batch, time, *_ = size
    potentials = random_potentials(*size, seed=160, scale=scale, lengths=[time - 5 * b for b in range(batch)])
    a, b = (each.sample(**tensors(potentials), n=4, generator=seeded()) for each in (eager, compiled))
    assert torch.equal(a.labels, b.labels)
    assert torch.equal(a.durations, b.durations)


def test_samples_are_as_frequent_as_posteriors_say_at_two_thousand_positions():
    n = 2000
    terms = tensors(random_potentials(1, 2000, 20, 3, seed=161, optional=False))
    samples = compiled.sample(**terms, n=n, generator=seeded(4))
    expected = compiled.posteriors(**terms)
    found = {
        "position": torch.stack([(samples.labels == c).double().mean(0) for c in range(3)], -1),
        "begins": torch.stack(
            [((samples.labels == c) & samples.starts).double().mean(0) for c in range(3)], -1
        ),
    }
    for name, frequency in found.items():
        p = getattr(expected, name)
        deviation = (frequency - p) / (p * (1 - p) / n).sqrt().clamp(min=1 / n)
        assert deviation.square().mean() < 1.1  # of independent draws it is 1, and at most 6,000 are averaged
        assert deviation.abs().max() < 6.0


def test_scores_at_low_temperatures_approach_the_best():
    terms = tensors(random_potentials(2, 40, 6, 4, seed=162))
    best = compiled.viterbi(**terms)
    cold = compiled.sample(**terms, n=3, temperature=1e-4, generator=seeded())
    assert all(torch.equal(sample.labels, best.labels) for sample in cold.unbind())
    hot = compiled.sample(**terms, n=3, temperature=100.0, generator=seeded())
    assert (hot.scores < best.scores).all()


def test_threads_change_no_sample(two_threads):
    terms = tensors(random_potentials(6, 150, 40, 6, seed=90))
    both = compiled.sample(**terms, n=3, generator=seeded())
    torch.set_num_threads(1)
    alone = compiled.sample(**terms, n=3, generator=seeded())
    assert torch.equal(both.labels, alone.labels)
    assert torch.equal(both.durations, alone.durations)


@pytest.mark.parametrize("size", [1e4, 1e12])
def test_extreme_scores_draw_what_eager_draws(size):
    given = random_potentials(2, 30, 5, 3, seed=163)
    emissions = given.emissions + size * (torch.rand(given.emissions.shape, generator=seeded()) > 0.5).numpy()
    terms = {**tensors(given), "emissions": torch.from_numpy(emissions)}
    a, b = (each.sample(**terms, n=5, generator=seeded()) for each in (eager, compiled))
    assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("temperature", [1e-16, 1e-18, 1e-20, 1e-30])
def test_scores_beyond_all_digits_still_draw_what_is_allowed(backend, temperature):
    for seed in range(10):
        given = random_potentials(1, 12, 5, 2, seed=seed, optional=False)
        given.duration[0] = -float("inf")
        found = backend.sample(**tensors(given), n=3, temperature=temperature, generator=seeded())
        assert found.scores.isfinite().all()
        assert (found.durations.sum(-1) == 12).all()
        assert not (found.durations == 1).any()


def test_a_temperature_by_which_scores_overflow_is_named(backend):
    terms = tensors(random_potentials(1, 3, 2, 2))
    with pytest.raises(ValueError, match=r"^temperature is 1e-320, by which scores overflow"):
        backend.sample(**terms, temperature=1e-320)


def test_where_nothing_is_allowed_nothing_is_drawn_and_its_neighbours_are(backend):
    found = backend.sample(**tensors(case("nothing_allowed")), n=4, generator=seeded())
    assert all(sample[1] == [] and sample[0] for sample in found.to_list())
    assert (found.scores[:, 1] == -torch.inf).all()
    assert found.scores[:, 0].isfinite().all()


def test_bad_values_are_named(backend):
    emissions = torch.zeros(1, 3, 2)
    emissions[0, 1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"^emissions\[0, 1, 0\] is nan"):
        backend.sample(emissions, torch.zeros(2, 2), torch.zeros(2, 2))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # PyTorch's own
def test_sampling_compiles_into_one_graph():
    def drawn(emissions):
        return compiled.sample(emissions, torch.zeros(2, 2), torch.zeros(3, 2), n=4).labels

    assert torch.compile(drawn, fullgraph=True)(torch.zeros(2, 6, 2)).shape == (4, 2, 6)


def test_uniform_numbers_may_have_any_strides():
    terms = Potentials(**tensors(random_potentials(2, 9, 4, 3, seed=164))).terms()
    uniforms = torch.rand((2, 9, 2, 5), dtype=torch.float64, generator=seeded()).permute(3, 0, 1, 2)
    found = kernels.sample(*terms, uniforms)
    for a, b in zip(found, kernels.sample(*terms, uniforms.contiguous()), strict=True):
        assert torch.equal(a, b)
