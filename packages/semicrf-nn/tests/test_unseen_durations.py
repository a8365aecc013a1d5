"""How long cut off segments lasted, where that is scored by where they begin or by what they follow."""

import numpy as np
import pytest
import torch

from semicrf_nn import SemiCRF
from semicrf_spec import enumerate_censored
from semicrf_spec.testing import FLOAT64_POSTERIOR, FLOAT64_RELATIVE, assert_close, random_potentials

LENGTHS = [40, 0, 3, 25]
T, K, C = 40, 6, 3
TERMS = dict(random_potentials(4, T, K, C, seed=51, lengths=LENGTHS).map(torch.from_numpy).items())
LEFT, RIGHT = torch.tensor([True, True, False, True]), torch.tensor([True, False, True, False])
each_way = pytest.mark.parametrize(
    ("left", "right"), [(True, False), (False, True), (True, True), (LEFT, RIGHT)]
)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each_way
@pytest.mark.parametrize("name", ["duration", "transition"])
def test_scores_that_are_the_same_everywhere_are_those_that_do_not_depend_on_it(name, left, right):
    wide = {"duration": (4, T, K, C), "transition": (K, C, C)}[name]
    base = {**TERMS, "transition": normal(C, C)}
    backend = "compiled" if name == "duration" else "eager"
    plain = SemiCRF(**base, left_censored=left, right_censored=right, backend=backend)
    given = base[name] if name == "transition" else base[name].expand(4, K, C)[:, None]
    d = SemiCRF(
        **{**base, name: given.expand(wide)}, left_censored=left, right_censored=right, backend=backend
    )
    assert_close(d.log_partition, plain.log_partition, FLOAT64_RELATIVE)
    assert_close(d.entropy(), plain.entropy(), FLOAT64_RELATIVE, scale=plain.log_partition)
    assert d.mode.to_list() == plain.mode.to_list()
    assert_close(d.segment_posteriors, plain.segment_posteriors, FLOAT64_POSTERIOR)
    counts, expected = d.posteriors, plain.posteriors
    assert_close(counts.position, expected.position, FLOAT64_POSTERIOR)
    over_durations = counts.transitions.sum(1) if name == "transition" else counts.transitions
    assert_close(over_durations, expected.transitions, FLOAT64_POSTERIOR, scale=T)
    assert_close(d.kl_divergence(plain), torch.zeros(4), FLOAT64_RELATIVE)


@pytest.mark.parametrize(
    ("time", "length", "shapes", "backend"),
    [
        (600, 590, {"duration": (1, 600, 9, 3)}, "compiled"),
        (60, 52, {"duration": (1, 60, 9, 3)}, "eager"),
        (60, 52, {"transition": (9, 3, 3)}, "eager"),
        (60, 52, {"duration": (1, 60, 9, 3), "transition": (1, 60, 9, 3, 3)}, "eager"),
    ],
)
def test_what_goes_on_sums_over_the_recordings_that_are_so_much_longer(time, length, shapes, backend):
    """Where nothing but durations counts past the end, and no segment begins there."""
    longest, classes = 9, 3
    terms = dict(random_potentials(1, time, longest, classes, seed=52).map(torch.from_numpy).items())
    terms.pop("finish")
    terms |= {name: normal(*shape, seed=len(shape)) for name, shape in shapes.items()}
    terms["emissions"][:, length:] = 0.0
    terms["begin"][:, length:] = -torch.inf
    seen = SemiCRF(
        **terms | {"lengths": torch.tensor([length])}, right_censored=True, backend=backend
    ).log_partition
    totals = []
    for after in range(min(longest, time - length + 1)):
        longer = SemiCRF(**terms | {"lengths": torch.tensor([length + after])}, backend=backend)
        totals.append(longer.log_partition)
    assert_close(seen, torch.stack(totals).logsumexp(0), FLOAT64_RELATIVE)


def test_what_holds_at_any_length_holds_at_two_thousand_positions():
    time, longest, classes = 2000, 12, 3
    lengths = torch.tensor([2000, 1501])
    potentials = random_potentials(2, time, longest, classes, seed=53, lengths=lengths.tolist())
    terms = dict(potentials.map(torch.from_numpy).items())
    terms["duration"] = normal(2, time, longest, classes, seed=3).requires_grad_()
    d = SemiCRF(**terms, left_censored=torch.tensor([True, False]), right_censored=True)
    size = d.log_partition
    (counts,) = torch.autograd.grad(size.sum(), terms["duration"])
    terms["duration"].requires_grad_(False)
    posteriors = d.posteriors
    covered = (torch.arange(time) < lengths[:, None]).double()
    assert_close(posteriors.position.sum(-1), covered, FLOAT64_POSTERIOR)
    lasting = (posteriors.durations.sum((1, 3)) * torch.arange(1, longest + 1)).sum(1)
    assert_close(lasting, lengths.double(), FLOAT64_POSTERIOR, scale=time)
    size = size.detach()
    assert_close(size - d.expected_score(), d.entropy(), FLOAT64_RELATIVE, scale=size)
    # each segment has lasted something, and none begins past the end
    assert_close(counts.sum((1, 2, 3)), posteriors.begins.sum((1, 2)), FLOAT64_POSTERIOR, scale=time)
    assert (counts[1, 1501:] == 0.0).all()
    assert (counts[1, 1500, 1:] > 0.0).all()
    known = d.constrained(labels=torch.where(torch.arange(time) % 7 == 0, d.mode.labels, -100))
    assert (d.mode.scores <= known.log_partition).all()
    assert (known.log_partition <= size).all()
    assert_close(d.score(d.mode), d.mode.scores, FLOAT64_RELATIVE)
    samples = d.sample(3, generator=torch.Generator().manual_seed(0))
    assert_close(d.score(samples), samples.scores, FLOAT64_RELATIVE)


def test_a_recording_that_goes_on_may_not_where_the_table_says_so():
    """With `-inf` past the end nothing has gone on: the plain distribution, censored in name only."""
    duration = normal(4, T, K, C, seed=4)
    last = torch.arange(T)[:, None] + torch.arange(K)
    past = last >= TERMS["lengths"][:, None, None]
    terms = {**TERMS, "duration": duration.masked_fill(past[..., None], -torch.inf)}
    d, plain = SemiCRF(**terms, right_censored=True), SemiCRF(**terms)
    assert_close(d.log_partition, plain.log_partition, FLOAT64_RELATIVE)
    assert_close(d.kl_divergence(plain), torch.zeros(4), FLOAT64_RELATIVE)
    assert d.mode.to_list() == plain.mode.to_list()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("place", "counts"),
    [
        ((0, 37, 2), {"left": False, "right": True}),  # the last 3 positions
        ((0, 37, 3), {"left": False, "right": True}),
        ((2, 0, 4), {"left": True, "right": True}),  # 5 positions of a sequence of 3
        ((2, 2, 1), {"left": False, "right": True}),
        ((2, 3, 0), {"left": False, "right": False}),  # begins past the end
        ((1, 0, 0), {"left": False, "right": False}),  # of an empty sequence
    ],
)
def test_bad_scores_past_the_end_are_named_where_they_count(place, counts, value):
    counts = {**counts, "neither": False}
    if place == (0, 37, 2):
        counts = dict.fromkeys(counts, True)
    flags = {"left": (True, False), "right": (False, True), "neither": (False, False)}
    terms = {**TERMS, "duration": normal(4, T, K, C)}
    terms["duration"][(*place, 1)] = value
    for which, (left, right) in flags.items():
        if counts[which]:
            where = ", ".join(map(str, place))
            with pytest.raises(ValueError, match=rf"^duration\[{where}, 1\] is {value}"):
                SemiCRF(**terms, left_censored=left, right_censored=right)
        else:
            duration = terms["duration"].clone().requires_grad_()
            d = SemiCRF(**terms | {"duration": duration}, left_censored=left, right_censored=right)
            (d.log_partition.sum() + d.entropy().sum()).backward()
            assert duration.grad.isfinite().all()


def test_bad_scores_are_named_where_their_own_sequence_was_cut_off():
    terms = {**TERMS, "transition": normal(4, T, K, C, C)}
    for b, start, censored in ((0, 38, True), (3, 23, True), (3, 23, False), (0, 0, True)):
        transition = terms["transition"].clone()
        transition[b, start, 5, 0, 2] = torch.nan
        right = [False] * 4
        right[b] = censored
        given = {**terms, "transition": transition}
        if censored and start > 0:
            with pytest.raises(ValueError, match=rf"^transition\[{b}, {start}, 5, 0, 2\] is nan"):
                SemiCRF(**given, right_censored=right, backend="eager")
            right[b] = False
        assert SemiCRF(**given, right_censored=right, backend="eager").log_partition.isfinite().all()


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_sums_of_narrow_scores_are_float64(backend):
    lengths = [4, 2]
    potentials = random_potentials(2, 4, 3, 2, seed=54, lengths=lengths)
    narrow = {n: torch.from_numpy(t) for n, t in potentials.items()}
    narrow["duration"] = normal(2, 4, 3, 2, seed=5)
    narrow = {n: t.float() if t.is_floating_point() else t for n, t in narrow.items()}
    exact = type(potentials)(**narrow).map(
        lambda t: t.double().numpy() if t.is_floating_point() else t.numpy()
    )
    d = SemiCRF(**narrow, left_censored=True, right_censored=True, backend=backend)
    expected = [e.log_partition for e in enumerate_censored(exact, True, True)]
    assert_close(d.log_partition, expected, FLOAT64_RELATIVE)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_no_positions_have_one_segmentation(backend):
    terms = (torch.zeros(2, 0, 3), torch.zeros(3, 3), torch.zeros(2, 0, 4, 3))
    d = SemiCRF(*terms, left_censored=True, right_censored=[True, False], backend=backend)
    assert d.log_partition.tolist() == [0.0, 0.0]
    assert d.posteriors.durations.shape == (2, 0, 4, 3)
    transition = torch.zeros(4, 3, 3)
    d = SemiCRF(terms[0], transition, torch.zeros(4, 3), right_censored=[True, False], backend="eager")
    assert d.log_partition.tolist() == [0.0, 0.0]
    assert d.posteriors.transitions.shape == (2, 4, 3, 3)


def test_transitions_by_duration_that_were_cut_off_are_of_one_backend_still():
    terms = (torch.zeros(2, 5, 3), torch.zeros(4, 3, 3), torch.zeros(4, 3))
    d = SemiCRF(*terms, right_censored=[True, False], backend="compiled")
    with pytest.raises(ValueError, match=r"backend='compiled' does not serve: use backend='eager'"):
        _ = d.log_partition


@pytest.mark.parametrize("sides", ["left", "right", "both"])
def test_what_is_forbidden_has_gradients_of_0_and_never_nan(sides):
    duration, transition = normal(2, 5, 4, 2), normal(4, 2, 2)
    duration[0], duration[1, :, 1:] = -torch.inf, -torch.inf
    transition[:, 0] = -torch.inf
    given = [x.requires_grad_() for x in (torch.zeros(2, 5, 2), transition, duration)]
    left, right = sides in ("left", "both"), sides in ("right", "both")
    d = SemiCRF(*given, left_censored=left, right_censored=right, backend="eager")
    size = d.log_partition
    assert np.isneginf(size[0].item())
    (torch.where(size > -torch.inf, size, 0.0).sum() + d.entropy().sum()).backward()
    assert all(x.grad.isfinite().all() for x in given)
