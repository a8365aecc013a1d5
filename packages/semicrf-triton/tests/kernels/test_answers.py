"""Every operator against the float64 oracle."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from semicrf_reference import eager
from semicrf_reference.eager.sample import draw
from semicrf_spec import Potentials
from semicrf_spec.operators import Segmentation, lengths_of, statistics_dtype
from semicrf_spec.testing import (
    FLOAT32_LOG_PARTITION,
    FLOAT32_POSTERIOR,
    MAX_DURATIONS,
    assert_close,
    case,
    case_names,
    edge_case_names,
    random_potentials,
    with_segment_scores,
)
from semicrf_triton import operators
from semicrf_triton.launch.blocks import blocks_for
from semicrf_triton.launch.scan import scan

SIZES = [
    # B, T, K, C, lengths
    (3, 20, 1, 5, [20, 0, 17]),
    (2, 18, 2, 2, [18, 16]),
    (2, 17, 3, 1, [16, 17]),
    (1, 70, 33, 5, None),
    (1, 33, 300, 3, None),
    (1, 18, 7, 24, None),
    (1, 12, 4, 33, None),
    (1, 9, 2, 100, None),
]
"""Labels on both sides of every block, lengths on both sides of tiles, frames and chunks."""


def uniforms_for(emissions, n=2):
    """Numbers to draw n samples with, the same on every device."""
    numbers = torch.rand(
        (n, *emissions.shape[:2], 2), dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    return numbers.to(emissions.device)


def sample(*terms):
    """The operator, given its uniform numbers."""
    return operators.sample(*terms, uniforms_for(terms[0]))


def top_k(*terms):
    """The operator, asked for the 3 best."""
    return operators.top_k(*terms, 3)


OPERATORS = (operators.log_partition, operators.posteriors, operators.viterbi, top_k, sample)


def float32(potentials, device):
    """The potentials as the kernels are given them."""
    return potentials.map(
        lambda a: (torch.as_tensor(a).float() if a.dtype.kind == "f" else torch.as_tensor(a)).to(device)
    )


def assert_answered_as_by_the_oracle(terms, *, same_path=False):
    on_cpu = terms.map(torch.Tensor.cpu)
    named = dict(on_cpu.items())
    lengths, sequences = lengths_of(on_cpu), torch.arange(len(on_cpu.emissions))
    expected = eager.log_partition(**named)
    both = scan(terms, directions=2, keep=False).log_partition().cpu()
    assert_close(both, expected[:, None].expand(-1, 2), FLOAT32_LOG_PARTITION, "log Z in both directions")

    total, *counts = operators.posteriors(*terms.terms(), True)
    assert torch.equal(total.cpu(), operators.log_partition(*terms.terms()).cpu())
    exact = eager.posteriors(**named)
    time = on_cpu.emissions.shape[1]
    first = exact.begins[:, 0] if time else expected[:, None] * 0.0
    last = exact.ends[sequences, lengths - 1] * (lengths > 0)[:, None] if time else first
    wanted = (exact.position, exact.begins, exact.ends, exact.transitions, exact.durations, first, last)
    names = ("position", "begins", "ends", "transitions", "durations", "first", "last")
    for name, found, want in zip(names, counts, wanted, strict=True):
        assert_close(found.cpu(), want.expand(found.shape), FLOAT32_POSTERIOR, name)

    scores, labels, durations = (found.cpu() for found in operators.viterbi(*terms.terms()))
    best = eager.viterbi(**named)
    assert_close(scores, best.scores, FLOAT32_LOG_PARTITION, "best score")
    there = scores > -torch.inf
    if same_path:
        assert torch.equal(labels, best.labels)
        assert torch.equal(durations, best.durations)
    elif there.all():
        path = Segmentation(labels, durations, lengths)
        assert_close(eager.score(path, **named), scores, FLOAT32_LOG_PARTITION, "score of the path")

    drawn, selected = sample(*terms.terms()), draw(*on_cpu.terms(), uniforms_for(on_cpu.emissions))
    for found, wanted in zip(drawn, selected, strict=True):
        assert torch.equal(found.cpu(), wanted), "samples"


@pytest.mark.parity
@pytest.mark.parametrize("max_duration", MAX_DURATIONS if torch.cuda.is_available() else (1, 3))
@pytest.mark.parametrize("name", case_names())
def test_every_named_case_is_answered_as_by_the_oracle(name, max_duration, device):
    assert_answered_as_by_the_oracle(float32(case(name, max_duration), device), same_path=True)


@pytest.mark.parametrize("name", edge_case_names())
def test_terms_that_are_not_factored_name_the_backend_that_serves_them(name, device):
    terms = float32(case(name), device)
    for operator in OPERATORS:
        with pytest.raises(ValueError, match=r"^transition has shape .* use backend='eager'"):
            operator(*terms.terms())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size_is_answered_as_by_the_oracle(size, device):
    *sizes, lengths = size
    terms = random_potentials(*sizes, seed=5, lengths=lengths, optional=sizes[-1] % 2 == 1)
    assert_answered_as_by_the_oracle(float32(terms, device))


@pytest.mark.parametrize(
    "size", [(2, 70, 40, 5, [70, 49]), (1, 52, 25, 17, None), (1, 40, 20, 33, None)], ids=str
)
def test_segments_that_last_across_tiles_and_frames_are_answered_as_by_the_oracle(size, device):
    *sizes, lengths = size
    given = random_potentials(*sizes, seed=6, lengths=lengths, scale=0.2)
    terms = float32(replace(given, transition=given.transition - 12.0), device)
    durations = eager.posteriors(**dict(terms.map(torch.Tensor.cpu).items())).durations
    assert durations[:, 16:].sum() > 1.0  # of normal scores hardly any lasts as long
    assert_answered_as_by_the_oracle(terms)


@pytest.mark.parametrize("kind", ["shared", "by sequence", "by segment"])
def test_what_may_not_be_casts_no_shadow_however_high_it_would_score(kind, device):
    given = random_potentials(2, 40, 12, 5, seed=9, lengths=[40, 23], scale=0.5)
    emissions = given.emissions.copy()
    emissions[:, [5, 20, 21], :3] = -np.inf  # what lasts across them would be all there is, in float32 too
    duration = given.duration + 1000.0 * np.arange(12)[:, None] * (np.arange(5) < 3)
    high = replace(given, emissions=emissions, duration=duration)
    if kind == "by sequence":
        high = replace(high, duration=duration[None].repeat(2, 0))
    elif kind == "by segment":
        high = with_segment_scores(high, seed=10)
    assert_answered_as_by_the_oracle(float32(high, device))


@pytest.mark.parametrize("start", [88.9, 89.2, 95.0])
@pytest.mark.parametrize("side", ["start", "end"])
def test_where_nothing_closes_begins_or_leads_on_nothing_is_lost(side, start, device):
    forbidden = -torch.inf
    transition = torch.zeros(3, 3)
    transition[:, 0] = forbidden  # the first label can only be the first, or the last
    begin, finish = torch.full((2, 1, 6, 3), forbidden)
    begin[:, [0, 3]] = finish[:, [2, 5]] = 0.0  # two words, each a segment
    duration = torch.full((3, 3), forbidden)
    duration[2] = 0.5
    terms = Potentials(
        torch.zeros(1, 6, 3),
        transition if side == "start" else transition.T.contiguous(),
        duration,
        begin=begin,
        finish=finish,
        **{side: torch.tensor([start, 70.0, 70.0])},
    )
    total = operators.log_partition(*float32(terms.map(torch.Tensor.numpy), device).terms())
    assert_close(total.cpu(), eager.log_partition(**dict(terms.items())), FLOAT32_LOG_PARTITION)
    both = scan(float32(terms.map(torch.Tensor.numpy), device), directions=2, keep=False).log_partition()
    assert_close(both.cpu(), total.cpu()[:, None].expand(-1, 2), FLOAT32_LOG_PARTITION)


@pytest.mark.parametrize("max_duration", [2, 9, 40])
def test_whole_segments_across_tiles_are_answered_as_by_the_oracle(max_duration, device):
    """Some forbidden, and NaN where a segment does not fit."""
    terms = random_potentials(3, 35, max_duration, 3, seed=21, lengths=[35, 0, 30])
    assert_answered_as_by_the_oracle(float32(with_segment_scores(terms, 22, forbidden=0.2), device))


@pytest.fixture
def short_spans(monkeypatch):
    """Spans of a tile or two, so that segments of a few positions are longer."""
    short = blocks_for(1)._replace(span=16)
    monkeypatch.setattr("semicrf_triton.launch.scan.blocks_for", lambda classes: short)


@pytest.mark.parametrize("hurdles", [False, True])
def test_segments_that_last_across_spans_are_answered_as_by_the_oracle(hurdles, short_spans, device):
    given = random_potentials(2, 40, 30, 2, seed=23, lengths=[40, 33], scale=0.2)
    terms = replace(given, transition=given.transition - 12.0)
    if hurdles:
        terms.emissions[0, [20, 37], 1] = -np.inf
        terms = replace(terms, cuts=np.isin(np.arange(40), [0, 18, 33])[None].repeat(2, 0))
    else:
        assert eager.posteriors(**dict(terms.map(torch.from_numpy).items())).durations[:, 16:].sum() > 1.0
    assert_answered_as_by_the_oracle(float32(terms, device))


def test_whole_segments_across_spans_are_answered_as_by_the_oracle(short_spans, device):
    terms = random_potentials(1, 20, 18, 2, seed=21, lengths=[19])
    assert_answered_as_by_the_oracle(float32(with_segment_scores(terms, 22, forbidden=0.2), device))


@pytest.mark.parametrize("name", ["emissions", "transition", "duration", "start", "end", "begin", "finish"])
def test_what_is_forbidden_in_a_term_is_forbidden(name, device):
    terms = dict(random_potentials(2, 20, 9, 4, seed=6, lengths=[20, 17]).items())
    forbidden = torch.rand(terms[name].shape, generator=torch.Generator().manual_seed(7)) < 0.4
    terms[name] = torch.as_tensor(terms[name]).masked_fill(forbidden, -torch.inf).numpy()
    assert_answered_as_by_the_oracle(float32(Potentials(**terms), device))


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_no_segment_lies_across_a_cut_and_no_hurdle_is_miscounted(share, device):
    """Most positions are forbidden to one label as well, so that counts fill their bits."""
    terms = dict(random_potentials(2, 40, 9, 3, seed=19, lengths=[40, 33]).items())
    generator = torch.Generator().manual_seed(20)
    terms["cuts"] = (torch.rand((2, 40), generator=generator) < share).numpy()
    terms["emissions"][:, :, 1][torch.rand((2, 40), generator=generator).numpy() < 0.8] = -torch.inf
    assert_answered_as_by_the_oracle(float32(Potentials(**terms), device))


@pytest.mark.parametrize("mask", [-1e9, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("name", ["emissions", "transition", "duration", "start", "end", "begin", "finish"])
def test_finite_masks_leave_nothing_of_what_they_mask_and_the_rest_alone(name, mask, device):
    terms = float32(random_potentials(1, 20, 5, 2, seed=6), device)
    masked = getattr(terms, name).clone().view(-1)
    masked[1::17] = mask
    given = {**dict(terms.items()), name: masked.view(getattr(terms, name).shape)}
    assert_answered_as_by_the_oracle(Potentials(**given))


@pytest.mark.parametrize("scale", [30.0, 1e4])
@pytest.mark.parametrize("by_position", [False, True])
def test_scores_of_any_size_are_summed_as_by_the_oracle(scale, by_position, device):
    terms = dict(random_potentials(2, 20, 6, 4, seed=8, scale=scale, lengths=[20, 17]).items())
    if by_position:
        terms["transition"] = random_potentials(2, 20 * 4, 1, 4, seed=9, scale=scale).emissions.reshape(
            2, 20, 4, 4
        )
        terms["duration"] = random_potentials(2, 6, 1, 4, seed=10, scale=scale).emissions
    assert_answered_as_by_the_oracle(float32(Potentials(**terms), device))


@pytest.mark.parametrize("gap", [50.0, 1e4])
def test_labels_that_trail_far_behind_can_come_to_dominate(gap, device):
    """Labels differ by the gap at every position, and only the last one may end."""
    terms = dict(random_potentials(1, 60, 5, 3, seed=11).items())
    terms["emissions"] = terms["emissions"] + gap * torch.tensor([2.0, 1.0, 0.0]).numpy()
    terms["end"] = torch.tensor([-torch.inf, -torch.inf, 0.0]).numpy()
    terms["transition"] = torch.tensor([[0.0, -1.0, -torch.inf], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]).numpy()
    assert_answered_as_by_the_oracle(float32(Potentials(**terms), device))


@pytest.mark.parametrize("level", [-1e6, 1e6])
def test_what_all_labels_share_costs_no_digit(level, device):
    terms = float32(random_potentials(1, 20, 5, 3, seed=12, optional=False), device)
    coarse = (terms.emissions * 8.0).round() / 8.0  # so that adding a level rounds nothing
    required = terms.transition, terms.duration
    low = scan(Potentials(coarse, *required), 1).log_partition()
    high = scan(Potentials(coarse + level, *required), 1).log_partition()
    assert_close((high - 20.0 * level).cpu(), low.cpu(), FLOAT32_LOG_PARTITION)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype_is_read_as_it_is(dtype, device):
    terms = float32(random_potentials(2, 17, 4, 3, seed=13, lengths=[17, 7]), device)
    rounded = terms.map(lambda term: term.to(dtype) if term.is_floating_point() else term)
    assert_answered_as_by_the_oracle(rounded)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_answers_have_the_dtypes_of_the_contract(dtype, device):
    terms = float32(random_potentials(1, 2, 2, 2, seed=13), device)
    given = terms.map(lambda term: term.to(dtype)).terms()
    real = torch.ops.semicrf.posteriors(*(term if term is None else term.to("meta") for term in given), False)
    found = operators.posteriors(*given, False)
    assert [tuple(t.shape) for t in found] == [tuple(t.shape) for t in real]
    statistics = statistics_dtype(given[0])
    assert [t.dtype for t in found] == [torch.float64] + [statistics] * 7
    assert [t.dtype for t in operators.viterbi(*given)] == [torch.float64, torch.int64, torch.int64]
    assert [t.dtype for t in top_k(*given)] == [torch.float64, torch.int64, torch.int64]
    assert [t.dtype for t in sample(*given)] == [torch.int64, torch.int64]


def test_views_are_read_like_copies(device):
    terms = float32(random_potentials(2, 5, 4, 3, seed=14), device)
    views = terms.map(lambda term: term.mT.contiguous().mT if term.ndim > 1 else term)
    assert not views.emissions.is_contiguous()
    for operator in OPERATORS:
        assert_same_bits(operator(*views.terms()), operator(*terms.terms()))


def assert_same_bits(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_twenty_launches_give_the_same_bits(device):
    terms = float32(random_potentials(1, 2 if device.type == "cpu" else 500, 2, 2, seed=15), device).terms()
    for operator in OPERATORS[1:]:
        first = operator(*terms)
        for _ in range(20):
            assert_same_bits(operator(*terms), first)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # of NaN, by the interpreter
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["emissions", "transition", "duration", "start", "end", "begin", "finish"])
def test_what_is_no_score_makes_all_answers_nan_and_those_of_its_sequence_only(name, bad, device):
    terms = dict(float32(random_potentials(2, 4, 3, 2, seed=16), device).items())
    terms[name].view(-1)[-1] = bad
    given = Potentials(**terms).terms()
    found = operators.log_partition(*given)
    by_position = name in ("emissions", "begin", "finish")
    assert found.isnan().tolist() == [not by_position, True]
    for counts in operators.posteriors(*given, True):
        assert counts.reshape(2, -1).isnan().any(1).tolist() == [not by_position, True]


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # of NaN, by the interpreter
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_segment_without_a_score_makes_its_sequence_nan_and_no_other(bad, device):
    terms = with_segment_scores(random_potentials(2, 4, 3, 2, seed=16, lengths=[4, 3]), 17)
    terms.duration[1, 1, 1, 0] = bad
    given = float32(terms, device).terms()
    assert operators.log_partition(*given).isnan().tolist() == [False, True]
    for counts in operators.posteriors(*given, True):
        assert counts.reshape(2, -1).isnan().any(1).tolist() == [False, True]


def test_a_batch_without_positions_weighs_one(device):
    terms = float32(random_potentials(2, 0, 3, 2, seed=16), device)
    assert_answered_as_by_the_oracle(terms)
    by_position = terms.emissions.new_zeros(2, 0, 2, 2)
    assert_answered_as_by_the_oracle(replace(terms, transition=by_position))
    assert_answered_as_by_the_oracle(replace(terms, duration=terms.emissions.new_zeros(2, 0, 3, 2)))
    scores, labels, _ = top_k(*terms.terms())
    assert scores.tolist() == [[0.0, 0.0], *[[-torch.inf, -torch.inf]] * 2]
    assert labels.shape == (3, 2, 0)


def test_an_empty_batch_has_empty_answers(device):
    terms = float32(random_potentials(0, 5, 3, 2, seed=16), device)
    assert operators.log_partition(*terms.terms()).shape == (0,)
    assert operators.posteriors(*terms.terms(), True)[1].shape == (0, 5, 2)
    assert operators.viterbi(*terms.terms())[1].shape == (0, 5)
    assert top_k(*terms.terms())[1].shape == (3, 0, 5)
    assert sample(*terms.terms())[0].shape == (2, 0, 5)


def test_lengths_that_cannot_be_are_held_to_those_that_can(device):
    terms = float32(random_potentials(3, 5, 3, 2, seed=16, lengths=[5, 0, 5]), device)
    wild = replace(terms, lengths=torch.tensor([6, -1, 2**32 + 3], device=device))
    for operator in OPERATORS:
        assert_same_bits(operator(*wild.terms()), operator(*terms.terms()))


@pytest.mark.parametrize("score", [0.003, 0.0101, 1.7e-38])
def test_what_is_small_beside_the_length_is_summed_as_well(score, device):
    """The same rounding at every position adds up, to `1e-7` nats a position at most."""
    positions = 60
    zeros = torch.zeros(1, positions, 1, device=device)
    for transition, emissions in ((score, 0.0), (0.0, score)):
        terms = (zeros + emissions, zeros[0, :1] + transition, zeros[0, :1])
        expected = eager.log_partition(*(term.cpu() for term in terms))
        found = operators.log_partition(*terms, *(None,) * 5)
        assert_close(found.cpu(), expected, FLOAT32_LOG_PARTITION, scale=positions / 10)


def test_numbers_next_to_0_and_to_1_draw_what_is_allowed(device):
    terms = dict(random_potentials(2, 9, 4, 3, seed=18, lengths=[9, 6]).items())
    terms["duration"][0] = -torch.inf
    terms["end"][1:] = -torch.inf
    given = float32(Potentials(**terms), device)
    for number in (0.0, 2.0**-60, 1.0 - 2.0**-53):
        uniforms = torch.full((1, 2, 9, 2), number, dtype=torch.float64, device=device)
        labels, durations = (found[0].cpu() for found in operators.sample(*given.terms(), uniforms))
        lengths = torch.tensor([9, 6])
        path = Segmentation(labels, durations, lengths)
        assert torch.equal(durations.sum(1), lengths)
        assert eager.score(path, **dict(given.map(torch.Tensor.cpu).items())).isfinite().all()


def test_more_labels_than_the_kernels_hold_are_named(device):
    terms = float32(random_potentials(1, 3, 2, 129, seed=17), device)
    with pytest.raises(ValueError, match=r"C = 129 .* more than the GPU kernels hold, 128: use backend="):
        operators.log_partition(*terms.terms())
