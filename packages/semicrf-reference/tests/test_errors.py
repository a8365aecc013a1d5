"""What is said about input that is no problem to solve."""

import math
import re

import pytest
import torch

from semicrf_reference import compiled
from semicrf_spec.operators import Segmentation
from semicrf_spec.testing import random_potentials

FUNCTIONS = ("log_partition", "posteriors", "viterbi", "entropy")
TERMS = ("emissions", "transition", "duration", "start", "end", "begin", "finish")


@pytest.fixture
def terms():
    return dict(random_potentials(2, 4, 3, 2, seed=100, lengths=[4, 3]).map(torch.from_numpy).items())


@pytest.fixture(params=FUNCTIONS)
def function(request, backend):
    return getattr(backend, request.param)


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_are_named_with_their_place(function, terms, name, value):
    place = {"emissions": (1, 2, 1), "begin": (0, 3, 0), "finish": (1, 0, 1)}.get(name, (1, 1))
    place = place[-1:] if name in ("start", "end") else place
    terms[name][place] = value
    expected = f"{name}[{', '.join(map(str, place))}] is {value}"
    with pytest.raises(ValueError, match=re.escape(expected)):
        function(**terms)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_transition_is_looked_at_though_no_segment_needs_one(function, value):
    terms = dict(random_potentials(1, 1, 2, 2).map(torch.from_numpy).items())
    terms["transition"][0, 1] = value
    with pytest.raises(ValueError, match=re.escape(f"transition[0, 1] is {value}")):
        function(**terms)


def test_bad_terms_that_require_gradients_are_named_too(function, terms):
    terms["duration"][2, 1] = math.nan
    terms["duration"].requires_grad_()
    with pytest.raises(ValueError, match=re.escape("duration[2, 1] is nan")):
        function(**terms)


@pytest.mark.parametrize("name", TERMS)
def test_a_wrong_shape_is_named_with_the_expected_one(function, terms, name):
    terms[name] = terms[name][..., :1]
    with pytest.raises(ValueError, match=r"has shape .*; expected \("):
        function(**terms)


@pytest.mark.parametrize("name", TERMS)
def test_integers_are_no_scores(function, terms, name):
    terms[name] = terms[name].long()
    with pytest.raises(TypeError, match=f"{name} has dtype torch.int64; expected a floating dtype"):
        function(**terms)


@pytest.mark.parametrize("lengths", [[5, 1], [4, -1]])
def test_lengths_out_of_range_are_named(function, terms, lengths):
    bad = next(b for b, length in enumerate(lengths) if not 0 <= length <= 4)
    with pytest.raises(ValueError, match=re.escape(f"lengths[{bad}] is {lengths[bad]}")):
        function(**{**terms, "lengths": torch.tensor(lengths)})


def test_lengths_are_integers(function, terms):
    with pytest.raises(TypeError, match=r"lengths has dtype torch\.float32; expected an integer"):
        function(**{**terms, "lengths": torch.tensor([4.0, 3.0])})


@pytest.mark.parametrize(
    ("letter", "name", "shape"), [("K", "duration", (0, 2)), ("C", "emissions", (2, 4, 0))]
)
def test_no_durations_and_no_labels_are_no_model(function, terms, letter, name, shape):
    with pytest.raises(ValueError, match=f"{name} has {letter} = 0; expected at least 1"):
        function(**{**terms, name: torch.zeros(shape, dtype=torch.float64)})


def test_terms_on_two_devices_are_named(function, terms):
    terms["transition"] = terms["transition"].to("meta")
    with pytest.raises(ValueError, match=r"transition is .*on meta; expected .*cpu, where emissions are"):
        function(**terms)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_compiled_backend_says_which_device_it_serves_and_what_to_do(terms, name):
    elsewhere = {n: term.to("meta") for n, term in terms.items()}
    with pytest.raises(
        ValueError, match=r"'compiled' serves cpu tensors, and emissions are on meta: .*\.cpu\(\)"
    ):
        getattr(compiled, name)(**elsewhere)


@pytest.mark.parametrize(
    ("segments", "fault"),
    [
        (
            [[(0, 4, 0)], [(0, 3, 0)]],
            "sequence 0, segment 0 .* lasts 4 positions, longer than max_duration = 3",
        ),
        ([[(0, 3, 0), (3, 4, 2)], [(0, 3, 0)]], "sequence 0, segment 1 .* label out of range"),
        ([[(0, 3, 0), (3, 4, 1)], [(0, 2, 0)]], "sequence 1: its 1 segments end at 2"),
        ([[(0, 3, 0), (3, 4, 1)], [(0, 3, 0), (3, 4, 0)]], "sequence 1: .* end at 4"),
    ],
    ids=["too-long", "label", "short", "past-the-length"],
)
def test_segments_that_do_not_fit_are_named(backend, terms, segments, fault):
    with pytest.raises(ValueError, match=fault):
        backend.score(Segmentation.from_list(segments, num_positions=4), **terms)


def test_what_is_bad_past_the_lengths_is_not_looked_at(function, terms):
    for name in ("emissions", "begin", "finish"):
        terms[name][1, 3] = math.nan
    function(**terms)


def test_minus_infinity_is_legal_everywhere_at_once(function, terms):
    for name in TERMS:
        terms[name][:] = -math.inf
    function(**terms)
