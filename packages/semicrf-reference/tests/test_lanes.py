"""Sequences scanned side by side: the oracle's answers, and the scan's where lanes do not serve."""

import numpy as np
import pytest
import torch

from semicrf_reference import compiled, eager
from semicrf_reference.compiled import kernels, lanes, threads
from semicrf_reference.compiled.lane_scans import lanes_batch
from semicrf_reference.compiled.lane_viterbi import lanes_decoding_space
from semicrf_reference.compiled.lanes import lanes_state
from semicrf_reference.compiled.problem import Problem
from semicrf_spec.potentials import SHAPES
from semicrf_spec.testing import FLOAT64_POSTERIOR, FLOAT64_RELATIVE, assert_close

BATCHES = (3, 8, 9, 40)


def batch_of(count, time, classes, seed=0, size=2.0):
    """Ragged sequences of a linear chain, some of them empty, with every term that lanes know."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return size * torch.randn(shape, dtype=torch.float64, generator=rng)

    return {
        "emissions": normal(count, time, classes),
        "transition": normal(classes, classes),
        "duration": normal(count, 1, classes),
        "start": normal(classes),
        "end": normal(classes),
        "lengths": torch.randint(0, time + 1, (count,), generator=rng),
    }


def answers(terms):
    return [compiled.log_partition(**terms), *compiled.posteriors(**terms)]


def gradients(terms):
    """Of the sum of the log partitions, which asks for no begins and ends."""
    leaves = [t.clone().requires_grad_() for t in terms.values() if t.is_floating_point()]
    given = dict(zip(terms, leaves, strict=False))
    return torch.autograd.grad(compiled.log_partition(**{**terms, **given}).sum(), leaves)


def same_bits(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def assert_equals_oracle(terms):
    expected = eager.log_partition(**terms)
    assert_close(compiled.log_partition(**terms), expected, FLOAT64_RELATIVE)
    for name, counts in eager.posteriors(**terms)._asdict().items():
        assert_close(getattr(compiled.posteriors(**terms), name), counts, FLOAT64_POSTERIOR, name)


@pytest.fixture(autouse=True)
def any_lengths(monkeypatch):
    """Lanes even where they take longer, and on one thread."""
    monkeypatch.setattr(lanes, "POSITIONS", 1e-9)
    monkeypatch.setattr(kernels, "threads_for", lambda *_: 1)


@pytest.fixture
def no_scan(monkeypatch):
    """Fail where the scan is called for help."""

    def scan_batch(*_):
        pytest.fail("the scan was called")

    monkeypatch.setattr(kernels, "scan_batch", scan_batch)
    monkeypatch.setattr(kernels, "viterbi_batch", scan_batch)


@pytest.fixture
def poisoned(monkeypatch):
    """Memory in which whatever is read before it is written shows."""

    def filled(memory):
        def of(*args):
            arrays = memory(*args)
            for array in arrays:
                array.fill(np.nan if array.dtype == np.float64 else 10**9)
            return arrays

        return of

    monkeypatch.setattr(kernels, "lanes_state", filled(lanes_state))
    monkeypatch.setattr(kernels, "lanes_decoding_space", filled(lanes_decoding_space))


@pytest.fixture
def served(monkeypatch):
    """Whether lanes served, call by call."""
    found = []

    def batch(*args):
        found.append(lanes_batch(*args))
        return found[-1]

    monkeypatch.setattr(kernels, "lanes_batch", batch)
    return found


@pytest.mark.parametrize("count", BATCHES)
@pytest.mark.parametrize(("time", "classes"), [(1, 3), (2, 2), (7, 5), (30, 9), (23, 24), (50, 2)])
def test_lanes_answer_what_the_oracle_answers(no_scan, poisoned, count, time, classes):
    assert_equals_oracle(batch_of(count, time, classes))


def best(terms):
    found = compiled.viterbi(**terms)
    return found.scores, found.labels, found.durations


@pytest.mark.parametrize("count", BATCHES)
@pytest.mark.parametrize(("time", "classes"), [(1, 3), (2, 2), (7, 5), (30, 9), (23, 24), (50, 2)])
def test_the_best_paths_of_lanes_are_the_scans_to_the_last_bit(poisoned, monkeypatch, count, time, classes):
    terms = batch_of(count, time, classes)
    with monkeypatch.context() as only_lanes:
        only_lanes.setattr(kernels, "viterbi_batch", None)
        found = best(terms)
    monkeypatch.setattr(kernels, "viterbi_lanes", None)
    monkeypatch.setattr(kernels, "side_by_side", lambda *_: False)
    assert same_bits(found, best(terms))


@pytest.mark.parametrize("classes", [2, 4, 5, 9])
def test_of_equal_paths_lanes_take_the_one_that_the_oracle_takes(no_scan, poisoned, classes):
    scores = batch_of(40, 9, classes, size=0.6)
    terms = {name: t.round() if t.is_floating_point() else t for name, t in scores.items()}
    expected = eager.viterbi(**terms)
    assert same_bits(best(terms), (expected.scores, expected.labels, expected.durations))


def test_paths_are_those_of_lanes_however_many_threads_there_are(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(threads, "SMALL_WORK", 0)
    called = []
    for name in ("viterbi_lanes", "viterbi_batch"):
        kernel = getattr(kernels, name)
        monkeypatch.setattr(
            kernels, name, lambda *args, own=(name, kernel): called.append(own[0]) or own[1](*args)
        )
    terms, before, found = batch_of(32, 40, 24), torch.get_num_threads(), []
    try:
        for n in (1, 2, 16):
            torch.set_num_threads(n)
            found.append(best(terms))
    finally:
        torch.set_num_threads(before)
    assert called == ["viterbi_lanes"] * 8 + ["viterbi_batch"] * (len(called) - 8)
    assert "viterbi_batch" in called
    assert same_bits(found[0], found[1])
    assert same_bits(found[0], found[2])


def test_lanes_have_no_path_where_nothing_is_allowed(no_scan, poisoned):
    terms = batch_of(20, 9, 4)
    terms["emissions"][:] = -torch.inf
    scores, labels, durations = best(terms)
    assert torch.equal(scores, torch.where(terms["lengths"] > 0, -torch.inf, 0.0).double())
    assert (labels == -1).all()
    assert (durations == 0).all()


@pytest.mark.parametrize("missing", ["start", "end", "lengths"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_lanes_need_no_optional_term_and_take_any_dtype(no_scan, poisoned, missing, dtype):
    terms = batch_of(20, 12, 4)
    del terms[missing]
    terms["emissions"] = terms["emissions"].to(dtype)
    assert_equals_oracle(terms)
    assert_equals_oracle({**terms, "duration": terms["duration"][0]})


@pytest.mark.parametrize("name", ["emissions", "transition", "duration", "start", "end"])
def test_lanes_forbid_what_is_forbidden(no_scan, poisoned, name):
    terms = batch_of(20, 12, 4)
    allowed = torch.rand(terms[name].shape, generator=torch.Generator().manual_seed(1)) < 0.7
    allowed[..., 0] = True
    terms[name] = terms[name].where(allowed, -torch.inf)
    assert_equals_oracle(terms)
    assert_close(best(terms)[0], eager.viterbi(**terms).scores, FLOAT64_RELATIVE)


@pytest.mark.parametrize("dirt", [[torch.nan] * 4, [torch.inf, 0.0, 1e5, -1e5]], ids=["nan", "wild"])
def test_lanes_read_no_padding(no_scan, dirt):
    clean = batch_of(20, 12, 4)
    dirty = {n: t.clone() for n, t in clean.items()}
    padding = torch.arange(12) >= clean["lengths"][:, None]
    dirty["emissions"][padding] = torch.tensor(dirt, dtype=torch.float64)
    assert same_bits(answers(dirty), answers(clean))
    assert same_bits(best(dirty), best(clean))
    assert same_bits(gradients(dirty), gradients(clean))


def test_lanes_read_views_and_reversed_strides(no_scan):
    terms = batch_of(20, 12, 4)
    views = {**terms, "emissions": terms["emissions"].permute(2, 0, 1).contiguous().permute(1, 2, 0)}
    assert not views["emissions"].is_contiguous()
    assert same_bits(answers(views), answers(terms))
    assert same_bits(best(views), best(terms))


def test_gradients_are_the_posteriors_summed(no_scan):
    terms = batch_of(40, 12, 4)
    found = compiled.posteriors(**terms)
    by_emissions, by_transition, by_duration, by_start, by_end = gradients(terms)
    assert torch.equal(by_emissions, found.position)
    assert torch.equal(by_duration, found.durations)
    assert_close(by_transition, found.transitions.sum(0), FLOAT64_RELATIVE)
    some = terms["lengths"] > 0
    last = (terms["lengths"][some] - 1)[:, None, None].expand(-1, 1, 4)
    assert_close(by_start, found.position[some, 0].sum(0), FLOAT64_RELATIVE)
    assert_close(by_end, found.position[some].gather(1, last).sum((0, 1)), FLOAT64_RELATIVE)


def test_the_neighbours_change_no_bit_of_a_sequence(no_scan):
    terms = batch_of(40, 30, 9)
    kept = answers(terms)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    for chosen in (order, order[:12], torch.arange(3, 20)):
        picked = {n: terms[n][chosen] for n in ("emissions", "duration", "lengths")}
        assert same_bits(answers({**terms, **picked}), [t[chosen] for t in kept])


def test_threads_and_repetition_change_no_bit(no_scan, two_threads):
    terms = batch_of(40, 64, 9)
    torch.set_num_threads(1)
    kept = [*answers(terms), *gradients(terms)]
    for count in (1, 2, 3, 8):
        torch.set_num_threads(count)
        for _ in range(5):
            assert same_bits([*answers(terms), *gradients(terms)], kept)


def far_emissions(terms):
    terms["emissions"][7, 3, 1] = -200.0


def nothing_at_a_position(terms):
    terms["emissions"][7, 3] = -torch.inf


def far_transition(terms):
    terms["transition"][1, 2] = -1e4


def far_start(terms):
    terms["start"][0] = 200.0


def far_end(terms):
    terms["end"][0] = 1e5


def far_duration(terms):
    terms["duration"][7, 0, 1] = -1e30


def left_to_right(terms):
    """Labels that nobody returns to lose 20 nats a position."""
    terms["transition"].copy_(torch.zeros(4, 4).triu().log())
    terms["emissions"][7] += torch.tensor([-20.0, -10.0, 0.0, 0.0])


def right_to_left(terms):
    """The same for the messages of the backward scan."""
    terms["transition"].copy_(torch.zeros(4, 4).tril().log())
    terms["start"].copy_(torch.tensor([-torch.inf, -torch.inf, -torch.inf, 0.0]))
    terms["emissions"][7] += torch.tensor([0.0, 0.0, -10.0, -20.0])


WILD = [
    far_emissions, nothing_at_a_position, far_transition, far_start, far_end, far_duration, left_to_right,
    right_to_left,
]  # fmt: skip


@pytest.mark.parametrize("change", WILD)
def test_the_scan_answers_where_lanes_do_not_serve(served, poisoned, monkeypatch, change):
    terms = batch_of(40, 30, 4)
    terms["lengths"][7] = 30
    change(terms)
    found = [*answers(terms), *gradients(terms)]
    assert not all(served)
    assert_equals_oracle(terms)
    if change in (far_transition, far_start, far_end):  # what all share: then nothing is the lanes'
        assert not any(served)
        monkeypatch.setattr(kernels, "side_by_side", lambda *_: False)
        assert same_bits([*answers(terms), *gradients(terms)], found)


def test_lanes_are_exact_up_to_where_they_give_up(served):
    for seed in range(80):
        assert_equals_oracle(batch_of(16, 20, 4, seed=seed, size=5.0 + 0.5 * seed))
    assert 0.2 < sum(served) / len(served) < 0.8


@pytest.mark.parametrize("level", [1e5, -1e9])
def test_levels_that_all_labels_share_are_summed_without_loss(no_scan, level):
    terms = batch_of(16, 30, 4)
    terms["emissions"] = (terms["emissions"] * 2**10).round() / 2**10  # so that adding a level rounds nothing
    plain = compiled.log_partition(**terms)
    raised = compiled.log_partition(**{**terms, "emissions": terms["emissions"] + level})
    assert_close(raised, plain + level * terms["lengths"].double(), 4 * np.finfo(np.float64).eps)


def test_levels_of_emissions_and_durations_cancel_without_loss(no_scan):
    terms = batch_of(8, 2000, 3)
    terms["lengths"][:] = 2000
    terms["emissions"] = (terms["emissions"] * 2**10).round() / 2**10
    terms["duration"][:] = 0.0
    plain = compiled.log_partition(**terms)
    raised = {"duration": terms["duration"] + 1e8, "emissions": terms["emissions"] - 1e8}
    assert_close(compiled.log_partition(**{**terms, **raised}), plain, 4 * np.finfo(np.float64).eps)


@pytest.mark.parametrize(
    ("max_duration", "more"), [(2, {}), (1, {"begin"}), (1, {"finish"}), (1, {"transition"})], ids=str
)
def test_other_problems_are_the_scans(served, max_duration, more):
    count = 20
    terms = batch_of(count, 12, 4)
    terms["duration"] = terms["duration"].expand(-1, max_duration, -1)
    for name in more:
        shape = (count, 12, 4, 4) if name == "transition" else (count, 12, 4)
        terms[name] = torch.zeros(shape, dtype=torch.float64)
    assert_equals_oracle(terms)
    assert not served


@pytest.mark.parametrize(
    ("lengths", "lanes_serve"),
    [([30] * 3, True), ([30] * 2, False), ([30] * 8, True), ([30] * 9, True), ([30] + [1] * 15, False)],
    ids=str,
)
def test_lanes_serve_where_they_are_faster(monkeypatch, lengths, lanes_serve):
    monkeypatch.undo()
    terms = {**batch_of(len(lengths), 30, 4), "lengths": torch.tensor(lengths)}
    problem = Problem.of([terms.get(name) for name in SHAPES])
    assert lanes.side_by_side(problem) is lanes_serve


@pytest.mark.parametrize("classes", [1024, 2000])
def test_labels_whose_transitions_would_fill_the_memory_are_the_scans(classes):
    shape = (16, 1, classes)
    terms = (torch.zeros(shape), torch.zeros(1, 1).expand(classes, classes), torch.zeros(1, classes))
    assert lanes.side_by_side(Problem.of([*terms, *[None] * 5])) is False


def test_one_label_is_enough_for_lanes(no_scan, poisoned):
    assert_equals_oracle(batch_of(16, 8, 1))


@pytest.mark.parametrize("level", [1e16, -1e17, -1e30])
def test_a_level_of_transitions_that_nothing_passes_costs_no_digit(no_scan, level):
    terms = batch_of(16, 5, 2)
    terms["transition"][:] = level
    terms["lengths"][:] = 1
    plain = compiled.log_partition(**{**terms, "transition": torch.zeros(2, 2, dtype=torch.float64)})
    assert torch.equal(compiled.log_partition(**terms), plain)
