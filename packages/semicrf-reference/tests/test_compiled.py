"""The compiled backend against the oracle, and against itself in other clothes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from semicrf_reference import compiled, eager
from semicrf_spec import Potentials
from semicrf_spec.operators import expected_score
from semicrf_spec.testing import (
    FLOAT64_POSTERIOR,
    FLOAT64_RELATIVE,
    PROBABILITY_SUM,
    assert_close,
    case,
    random_potentials,
)
from semicrf_spec.testing.strategies import small_potentials

MEDIUM = [
    # B, T, K, C, lengths
    (2, 50, 60, 2, [50, 17]),
    (3, 120, 7, 24, [120, 1, 99]),
    (1, 300, 60, 1, None),
    (4, 64, 1, 5, [0, 64, 2, 63]),
    (2, 75, 200, 3, None),
    (2, 300, 60, 24, [300, 61]),
    (2, 60, 12, 9, [60, 41]),
    (2, 60, 12, 17, None),
]
IDS = ["x".join(map(str, size)) for *size, _ in MEDIUM]
LARGE = random_potentials(4, 200, 30, 8, seed=50, lengths=[200, 199, 30, 1])
"""Enough work for several threads."""


def tensors(potentials):
    return dict(potentials.map(torch.from_numpy).items())


def everything(terms, backend=compiled):
    """All that a backend computes, as a list of tensors."""
    best = backend.viterbi(**terms)
    sums = [backend.log_partition(**terms), backend.entropy(**terms), *backend.posteriors(**terms)]
    return [*sums, best.scores, best.labels, best.durations]


def assert_same_bits(first, second):
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def assert_equals_oracle(terms):
    expected = eager.log_partition(**terms)
    assert_close(compiled.log_partition(**terms), expected, FLOAT64_RELATIVE, "log_partition")
    assert_entropies_equal(terms)
    assert_posteriors_equal(compiled.posteriors(**terms), eager.posteriors(**terms))
    assert_same_best(compiled.viterbi(**terms), eager.viterbi(**terms))


def assert_entropies_equal(terms):
    """An entropy is what is left when scores cancel: its error is relative to their size."""
    sizes = Potentials(**{n: t.abs() if t.is_floating_point() else t for n, t in terms.items()})
    scale = expected_score(eager.posteriors(**terms), sizes).detach()
    assert_close(compiled.entropy(**terms), eager.entropy(**terms), FLOAT64_RELATIVE, "entropy", scale=scale)


def assert_posteriors_equal(found, expected):
    for name in expected._fields:
        assert getattr(found, name).dtype == torch.float64
        assert_close(getattr(found, name), getattr(expected, name), FLOAT64_POSTERIOR, name)


def assert_same_best(found, expected):
    """Bit for bit: both add the same numbers in the same order."""
    for name in ("scores", "labels", "durations", "lengths"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_log_partition_equals_the_oracles(named):
    terms = tensors(named)
    assert_close(compiled.log_partition(**terms), eager.log_partition(**terms), FLOAT64_RELATIVE)


def test_posteriors_equal_the_oracles(named):
    assert_posteriors_equal(compiled.posteriors(**tensors(named)), eager.posteriors(**tensors(named)))


def test_viterbi_equals_the_oracles_ties_included(named):
    assert_same_best(compiled.viterbi(**tensors(named)), eager.viterbi(**tensors(named)))


@pytest.mark.parametrize("one_each", [False, True], ids=["shared", "one a beginning"])
@pytest.mark.parametrize("max_duration", [1, 7, 8, 9, 30, 500])
def test_ties_are_broken_as_by_the_oracle_whatever_the_sizes(max_duration, one_each):
    """Scores are -1, 0 or 1, so that hardly any is best alone; the tape's end is reached, and cuts forget."""
    length, classes = 400, 11
    potentials = random_potentials(1, length, max_duration, classes, seed=51)
    terms = {name: term.sign() if name != "lengths" else term for name, term in tensors(potentials).items()}
    if one_each:
        terms["duration"] = random_terms(1, length, max_duration, classes).sign()
    cuts = torch.zeros(1, length, dtype=torch.bool)
    cuts[0, 333] = True
    assert_same_best(compiled.viterbi(**terms, cuts=cuts), eager.viterbi(**terms, cuts=cuts))


@pytest.mark.parametrize(("short", "long"), [(1, 9), (3, 11), (8, 16), (5, 29)])
def test_the_shortest_of_equal_durations_wins_though_blocks_are_between(short, long):
    duration = torch.full((long, 2), -torch.inf)
    duration[[short - 1, long - 1]] = 0.0
    terms = {
        "emissions": torch.zeros(1, short * long, 2),
        "transition": torch.zeros(2, 2),
        "duration": duration,
    }
    best = compiled.viterbi(**terms)
    assert_same_best(best, eager.viterbi(**terms))
    assert [segment.duration for segment in best.to_list()[0]] == long * [short]


def random_terms(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(52), dtype=torch.float64)


def test_entropy_equals_the_oracles(named):
    assert_entropies_equal(tensors(named))


@settings(max_examples=150)
@given(small_potentials(max_time=6))
def test_any_small_problem_is_answered_as_by_the_oracle(potentials):
    assert_equals_oracle(tensors(potentials))


@settings(max_examples=60)
@given(small_potentials(max_time=6, largest=1e4))
def test_any_small_problem_of_extreme_scores_is_answered_as_by_the_oracle(potentials):
    assert_equals_oracle(tensors(potentials))


@pytest.mark.parametrize(("B", "T", "K", "C", "lengths"), MEDIUM, ids=IDS)
def test_medium_problems_are_answered_as_by_the_oracle(B, T, K, C, lengths):
    assert_equals_oracle(tensors(random_potentials(B, T, K, C, seed=51, lengths=lengths)))


@pytest.mark.parametrize(("B", "T", "K", "C", "lengths"), MEDIUM[:4], ids=IDS[:4])
def test_required_terms_alone_are_enough(B, T, K, C, lengths):
    potentials = random_potentials(B, T, K, C, seed=52, lengths=lengths, optional=False)
    assert_equals_oracle(tensors(potentials))


def test_transitions_by_position_and_durations_by_sequence_serve_medium_problems():
    terms = tensors(random_potentials(3, 70, 9, 4, seed=53, lengths=[70, 5, 44]))
    generator = torch.Generator().manual_seed(54)
    terms["transition"] = torch.randn(3, 70, 4, 4, generator=generator, dtype=torch.float64)
    terms["duration"] = torch.randn(3, 9, 4, generator=generator, dtype=torch.float64)
    assert_equals_oracle(terms)


@pytest.mark.parametrize("name", ["start", "end", "begin", "finish", "lengths"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_each_optional_term_may_be_missing_or_be_the_only_one(name, dtype):
    terms = {n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors(case("ragged")).items()}
    assert_equals_oracle({n: t for n, t in terms.items() if n != name})
    assert_equals_oracle(
        {n: t for n, t in terms.items() if n in ("emissions", "transition", "duration", name)}
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_terms_of_every_dtype_are_read_exactly(dtype):
    terms = tensors(random_potentials(2, 60, 8, 3, seed=55, lengths=[60, 44]))
    assert_equals_oracle({n: t.to(dtype) if t.is_floating_point() else t for n, t in terms.items()})


@pytest.mark.parametrize("name", ["emissions", "transition", "duration", "start", "end", "begin", "finish"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_one_term_may_be_narrower_than_the_others(name, dtype):
    terms = tensors(random_potentials(2, 6, 3, 2, seed=56))
    assert_equals_oracle({**terms, name: terms[name].to(dtype)})
    narrow = {n: t.to(dtype) for n, t in terms.items()}
    assert_equals_oracle({**narrow, name: terms[name]})


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8], ids=str)
def test_lengths_of_every_integer_dtype_are_read(dtype):
    terms = tensors(case("ragged"))
    assert_same_bits(everything({**terms, "lengths": terms["lengths"].to(dtype)}), everything(terms))


def transposed(term):
    return term.transpose(0, -1).contiguous().transpose(0, -1)


def strided(term):
    wide = term.new_full([3 * size for size in term.shape], float("nan"))
    window = wide[tuple(slice(1, None, 3) for _ in term.shape)]
    window.copy_(term)
    return window


def offset(term):
    return torch.cat([term.new_full((7,), float("nan")), term.flatten()])[7:].view(term.shape)


@pytest.mark.parametrize("laid_out", [transposed, strided, offset], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_how_the_terms_lie_in_memory_changes_no_bit(laid_out, dtype):
    terms = {n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors(case("every_term")).items()}
    moved = {n: laid_out(t) for n, t in terms.items()}
    assert laid_out is offset or not moved["emissions"].is_contiguous()
    assert_same_bits(everything(moved), everything(terms))


def test_expanded_terms_are_read_in_place():
    one = tensors(random_potentials(1, 9, 4, 3, seed=57))
    views = {n: t.expand(5, -1, -1) if t.ndim == 3 else t for n, t in one.items()}
    views["transition"] = one["transition"].expand(5, 9, 3, 3)
    views["duration"] = one["duration"].expand(5, 4, 3)
    assert_same_bits(everything(views), everything({n: t.contiguous() for n, t in views.items()}))
    assert_close(compiled.log_partition(**views), compiled.log_partition(**one).expand(5), PROBABILITY_SUM)


def test_terms_that_require_gradients_are_answered_alike():
    terms = tensors(case("every_term"))
    leaves = {n: t.clone().requires_grad_() for n, t in terms.items()}
    assert_same_bits([t.detach() for t in everything(leaves)], everything(terms))
    for off in (torch.no_grad(), torch.inference_mode()):
        with off:
            assert_same_bits(everything(leaves), everything(terms))


def test_log_partition_has_the_same_bits_with_gradients_and_without():
    terms = tensors(LARGE)
    leaves = {n: t.clone().requires_grad_() if t.is_floating_point() else t for n, t in terms.items()}
    assert torch.equal(compiled.log_partition(**leaves).detach(), compiled.log_partition(**terms))


def test_no_term_is_changed():
    for name in ("poisoned_padding", "ragged", "position_transition", "float16"):
        terms = tensors(case(name))
        before = {n: t.clone() for n, t in terms.items()}
        everything(terms)
        for n, term in terms.items():
            assert term.numpy().tobytes() == before[n].numpy().tobytes(), n


def test_answers_share_no_memory_with_the_terms_nor_with_later_answers():
    terms = tensors(case("every_term"))
    first = everything(terms)
    kept = [t.clone() for t in first]
    everything({n: t + 1.0 for n, t in terms.items()})
    assert_same_bits(first, kept)
    for answer in first:
        answer.fill_(7)
    assert_same_bits(everything(terms), kept)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf"), 1e300])
def test_what_stands_past_the_lengths_changes_no_bit(poison):
    clean = tensors(case("ragged"))
    dirty = {n: t.clone() for n, t in clean.items()}
    past = torch.arange(clean["emissions"].shape[1]) >= clean["lengths"][:, None]
    for name in ("emissions", "begin", "finish"):
        dirty[name][past] = poison
    assert_same_bits(everything(dirty), everything(clean))


@pytest.mark.parametrize("batch", [1, 2, 9])
@pytest.mark.parametrize("max_duration", [1, 5])
def test_every_posterior_is_written(monkeypatch, two_threads, max_duration, batch):
    """Past the lengths, too, in sequences of none, and where nothing is allowed: memory is not clean."""
    empty = np.empty

    def dirty(*args, **kwargs):
        found = empty(*args, **kwargs)
        found.fill(np.nan if found.dtype == np.float64 else 1)
        return found

    lengths = [7, 0, 5, 20, 20, 1, 19, 2, 3][:batch]
    for forbidden in (False, True):
        terms = tensors(random_potentials(batch, 20, max_duration, 3, seed=53, lengths=lengths))
        if forbidden:
            terms["emissions"][:, 2] = -torch.inf
        expected = eager.posteriors(**terms)
        with monkeypatch.context() as patched:
            patched.setattr(np, "empty", dirty)
            found = compiled.posteriors(**terms)
        assert_posteriors_equal(found, expected)


def test_a_sequence_has_the_same_bits_alone_and_among_longer_ones():
    def scanned(terms):
        total, _, *rest = everything(terms)
        return total, *rest

    together = tensors(LARGE)
    answers = scanned(together)
    for b, length in enumerate(together["lengths"].tolist()):
        alone = {n: t[b : b + 1, :length] if t.ndim == 3 else t for n, t in together.items()}
        del alone["lengths"]
        for found, expected in zip(scanned(alone), answers, strict=True):
            kept = expected[b : b + 1]
            positional = kept.ndim > 1 and kept.shape[1] == 200
            assert torch.equal(found, kept[:, :length] if positional else kept)
        entropy = compiled.entropy(**together)[b : b + 1]  # of which PyTorch takes the sums
        assert_close(compiled.entropy(**alone), entropy, FLOAT64_RELATIVE)


@pytest.mark.parametrize("max_duration", [1, 7])
@pytest.mark.parametrize("lengths", [[0, 1, 60, 0, 1, 59], [1, 60, 1, 60, 2, 0], [60] * 6])
def test_what_sequences_share_is_read_for_each_that_needs_it(lengths, max_duration):
    time, classes = 60, 5
    terms = tensors(random_potentials(6, time, max_duration, classes, seed=51, lengths=lengths))
    rng = torch.Generator().manual_seed(52)
    shared = {
        name: torch.randn(1, *shape, dtype=torch.float64, generator=rng).expand(6, *shape)
        for name, shape in (("transition", (time, classes, classes)), ("duration", (max_duration, classes)))
    }
    assert_equals_oracle(terms)
    for name, term in shared.items():
        assert_equals_oracle({**terms, name: term})
        copied = {**terms, name: term.clone()}
        assert_same_bits(everything({**terms, name: term}), everything(copied))


def test_twenty_runs_give_the_same_bits(two_threads):
    terms = tensors(LARGE)
    first = everything(terms)
    for _ in range(19):
        assert_same_bits(everything(terms), first)


@pytest.mark.parametrize("lengths", [LARGE.lengths.tolist(), [200], [200, 3]], ids=str)
def test_the_number_of_threads_changes_no_bit(lengths):
    terms = tensors(random_potentials(len(lengths), 200, 90, 8, seed=50, lengths=lengths))
    terms["emissions"][-1, 1] = -torch.inf  # in one sequence nothing is allowed
    leaves = {n: t.clone().requires_grad_() if t.is_floating_point() else t for n, t in terms.items()}

    def gradients():
        leaf = [t for t in leaves.values() if t.is_floating_point()]
        return torch.autograd.grad(compiled.log_partition(**leaves).sum(), leaf)

    torch.set_num_threads(1)
    single = [*everything(terms), *gradients()]
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        for _ in range(5):
            assert_same_bits([*everything(terms), *gradients()], single)


def test_a_sequence_read_backwards_weighs_the_same():
    forward = tensors(random_potentials(2, 80, 9, 4, seed=58))
    backward = {
        "emissions": forward["emissions"].flip(1),
        "transition": forward["transition"].T,
        "duration": forward["duration"],
        "start": forward["end"],
        "end": forward["start"],
        "begin": forward["finish"].flip(1),
        "finish": forward["begin"].flip(1),
    }
    expected = compiled.log_partition(**forward)
    assert_close(compiled.log_partition(**backward), expected, FLOAT64_RELATIVE)
    there, back = compiled.posteriors(**forward), compiled.posteriors(**backward)
    assert_close(back.begins.flip(1), there.ends, FLOAT64_POSTERIOR, "begins and ends")
    assert_close(back.position.flip(1), there.position, FLOAT64_POSTERIOR, "position")
    assert_close(back.transitions.mT, there.transitions, FLOAT64_POSTERIOR, "transitions")


def test_posteriors_keep_count_of_one_another():
    terms = tensors(random_potentials(3, 250, 12, 5, seed=59, lengths=[250, 13, 1]))
    p = compiled.posteriors(**terms)
    lasting = torch.arange(1.0, 13.0, dtype=torch.float64)
    segments = p.begins.sum((1, 2))
    assert_close(p.begins[:, 0].sum(-1), torch.ones(3), FLOAT64_POSTERIOR, "first segments")
    assert_close(p.ends.sum((1, 2)), segments, FLOAT64_POSTERIOR, "segments that end")
    assert_close(p.durations.sum((1, 2)), segments, FLOAT64_POSTERIOR, "segments of all durations")
    assert_close(p.transitions.sum((1, 2)), segments - 1, FLOAT64_POSTERIOR, "transitions")
    assert_close(p.transitions.sum(1), p.begins[:, 1:].sum(1), FLOAT64_POSTERIOR, "transitions into a label")
    positions = (p.durations * lasting[:, None]).sum(1)
    assert_close(p.position.sum(1), positions, FLOAT64_POSTERIOR, "positions of a label")
    within = torch.arange(250) < terms["lengths"][:, None]
    assert_close(p.position.sum(-1), within.double(), PROBABILITY_SUM, "labels of a position")
    for counts in p:
        assert (counts >= 0).all()


def test_transitions_with_a_position_sum_to_transitions_without():
    shared = tensors(random_potentials(2, 40, 6, 3, seed=60, lengths=[40, 22]))
    placed = {**shared, "transition": shared["transition"].expand(2, 40, 3, 3)}
    by_position = compiled.posteriors(**placed).transitions
    assert by_position.shape == (2, 40, 3, 3)
    assert (by_position[:, 0] == 0).all()
    assert_close(by_position.sum(1), compiled.posteriors(**shared).transitions, FLOAT64_POSTERIOR)


@pytest.mark.parametrize(("batch", "time"), [(0, 3), (2, 0), (0, 0)])
def test_empty_batches_and_empty_sequences_have_answers(batch, time):
    terms = tensors(random_potentials(batch, time, 3, 2))
    assert_same_bits(everything(terms), everything(terms, eager))
    assert compiled.viterbi(**terms).to_list() == [[]] * batch


def test_both_backends_export_the_same_functions():
    measures = ["cross_entropy", "entropy", "kl_divergence"]
    assert compiled.__all__ == [
        *measures,
        "log_partition",
        "posteriors",
        "sample",
        "score",
        "top_k",
        "viterbi",
    ]
    assert set(compiled.__all__) < set(eager.__all__)
    assert compiled.score is eager.score
