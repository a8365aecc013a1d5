"""Constraints against enumeration: what satisfies them keeps its score, everything else is forbidden."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from semicrf_nn import SemiCRF, SemiMarkovCRFHead
from semicrf_spec import UNKNOWN, Potentials, enumerate_batch, segments_to_labels
from semicrf_spec.testing import FLOAT64_POSTERIOR, FLOAT64_RELATIVE, assert_close, random_potentials

POTENTIALS = random_potentials(3, 5, 3, 2, seed=200, lengths=[5, 4, 0])
LABELS = [[UNKNOWN, 1, UNKNOWN, 0, UNKNOWN], [0, UNKNOWN, UNKNOWN, 1, 7], [9] * 5]
ALLOWED = [[[1, 1], [0, 1], [1, 1], [1, 0], [1, 1]], [[1, 0], [1, 1], [1, 1], [0, 1], [0, 0]], [[0, 0]] * 5]
BOUNDARIES = [[0, UNKNOWN, 1, 0, UNKNOWN], [1, 1, UNKNOWN, 0, 5], [7] * 5]
KNOWN = [[(1, 3, 0)], [(2, 4, UNKNOWN), (0, 1, 1)], []]


def holds(segment, among):
    start, end, label = segment
    return any((s, e) == (start, end) and label in (UNKNOWN, found) for s, e, found in among)


def labels_agree(segments, known):
    return all(a in (UNKNOWN, b) for a, b in zip(known, segments_to_labels(segments), strict=False))


def boundaries_agree(segments, known):
    begins = {start for start, _, _ in segments}
    inner = range(1, segments[-1].end if segments else 0)
    return all(known[t] in (UNKNOWN, int(t in begins)) for t in inner)


def no_pair(segments, *forbidden):
    labels = [label for _, _, label in segments]
    return not set(forbidden) & set(pairwise(labels))


def lasting(segments, shortest, longest):
    return all(shortest[s.label] <= s.duration <= longest[s.label] for s in segments)


CONSTRAINTS = {
    "labels": ({"labels": torch.tensor(LABELS)}, lambda y, b: labels_agree(y, LABELS[b])),
    "allowed": (
        {"allowed": torch.tensor(ALLOWED).bool()},
        lambda y, b: all(ALLOWED[b][t][c] for t, c in enumerate(segments_to_labels(y))),
    ),
    "allowed, one for all": (
        {"allowed": torch.tensor([[1, 0]] + [[1, 1]] * 4).bool()},
        lambda y, b: not y or y[0].label == 0,
    ),
    "boundaries": ({"boundaries": torch.tensor(BOUNDARIES)}, lambda y, b: boundaries_agree(y, BOUNDARIES[b])),
    "all boundaries": (
        {"boundaries": torch.tensor([[False, True, False, True, False]] * 3)},
        lambda y, b: boundaries_agree(y, [0, 1, 0, 1, 0]),
    ),
    "segments": ({"segments": KNOWN}, lambda y, b: all(holds(segment, y) for segment in KNOWN[b])),
    "forbidden_transitions": (
        {"forbidden_transitions": [(0, 1), (1, 1)]},
        lambda y, b: no_pair(y, (0, 1), (1, 1)),
    ),
    "durations": (
        {"min_duration": [2, 1], "max_duration": [3, 2]},
        lambda y, b: lasting(y, (2, 1), (3, 2)),
    ),
    "longest alone": ({"max_duration": 2}, lambda y, b: lasting(y, (1, 1), (2, 2))),
    "several": (
        {"labels": torch.tensor(LABELS), "boundaries": torch.tensor(BOUNDARIES), "max_duration": 2},
        lambda y, b: (
            labels_agree(y, LABELS[b]) and boundaries_agree(y, BOUNDARIES[b]) and lasting(y, (1, 1), (2, 2))
        ),
    ),
}
each_constraint = pytest.mark.parametrize(("options", "allows"), CONSTRAINTS.values(), ids=CONSTRAINTS.keys())
each_backend = pytest.mark.parametrize("backend", ["eager", None], ids=["eager", "compiled"])


def distribution(backend=None):
    return SemiCRF(**dict(POTENTIALS.map(torch.from_numpy).items()), backend=backend)


def allowed_by(allows):
    """Of every sequence, what satisfies the constraints, with scores."""
    for b, sequence in enumerate(enumerate_batch(POTENTIALS)):
        yield [(y, score) for y, score in zip(sequence.all, sequence.scores, strict=True) if allows(y, b)]


@each_backend
@each_constraint
def test_the_distribution_is_that_over_what_satisfies_the_constraints(options, allows, backend):
    d = distribution(backend).constrained(**options)
    for b, left in enumerate(allowed_by(allows)):
        assert 0 < len(left) <= len(enumerate_batch(POTENTIALS)[b].all)
        scores = np.array([score for _, score in left])
        log_z = np.logaddexp.reduce(scores)
        assert_close(d.log_partition[b], log_z, FLOAT64_RELATIVE)
        p = np.exp(scores - log_z)
        assert_close(d.entropy()[b], -np.sum(p * np.log(p)), FLOAT64_RELATIVE, scale=10.0)
        position = np.zeros((5, 2))
        for (y, _), weight in zip(left, p, strict=True):
            for t, c in enumerate(segments_to_labels(y)):
                position[t, c] += weight
        assert_close(d.posteriors.position[b], position, FLOAT64_POSTERIOR)
        best = max(left, key=lambda pair: pair[1])[0]
        assert d.mode.to_list()[b] == list(best)
        drawn = {tuple(y[b]) for y in d.sample(30, generator=torch.Generator().manual_seed(1)).to_list()}
        assert drawn <= {y for y, _ in left}


@each_backend
@each_constraint
def test_decoders_have_the_most_of_what_satisfies_the_constraints(options, allows, backend):
    d = distribution(backend).constrained(**options)
    by_position, by_segment = d.decode("position").to_list(), d.decode("segment_f1").to_list()
    for b, left in enumerate(allowed_by(allows)):
        scores = np.array([score for _, score in left])
        expected = Counter()  # of each right label, and of each right segment
        for (y, _), weight in zip(left, np.exp(scores - np.logaddexp.reduce(scores)), strict=True):
            for right in [*enumerate(segments_to_labels(y)), *y]:
                expected[right] += weight

        def right_labels(y, expected=expected):
            return sum(expected[right] for right in enumerate(segments_to_labels(y)))

        def right_segments(y, expected=expected):
            return sum(expected[segment] for segment in y)

        for gain, found in ((right_labels, by_position[b]), (right_segments, by_segment[b])):
            assert tuple(found) in {y for y, _ in left}
            assert_close(gain(found), max(gain(y) for y, _ in left), FLOAT64_POSTERIOR)


@each_constraint
def test_constraints_take_probability_away_and_never_add_any(options, allows):
    whole, part = distribution(), distribution().constrained(**options)
    assert (part.log_partition <= whole.log_partition + 1e-12).all()
    lists = [left[0][0] for left in allowed_by(allows)]
    assert_close(part.score(lists), whole.score(lists), FLOAT64_RELATIVE)
    gain = whole.log_partition - part.log_partition
    assert_close(part.log_prob(lists), whole.log_prob(lists) + gain, FLOAT64_RELATIVE)


def test_what_violates_a_constraint_has_probability_0():
    d = distribution().constrained(boundaries=torch.tensor(BOUNDARIES))
    assert d.log_prob([[(0, 3, 0), (3, 5, 0)], [(0, 1, 0), (1, 4, 0)], []])[0] == -torch.inf


def test_constraints_add_up():
    d = distribution().constrained(labels=torch.tensor(LABELS)).constrained(max_duration=2)
    both = distribution().constrained(labels=torch.tensor(LABELS), max_duration=2)
    assert torch.equal(d.log_partition, both.log_partition)
    cut = (
        distribution().constrained(segments=[[(0, 2, 0)], [], []]).constrained(segments=[[(3, 5, 0)], [], []])
    )
    assert torch.equal(
        cut.log_partition, distribution().constrained(segments=[[(0, 2, 0), (3, 5, 0)], [], []]).log_partition
    )


def test_known_labels_are_those_of_the_marginal_likelihood():
    d, labels = distribution(), torch.tensor(LABELS)
    found = d.constrained(labels=labels).log_partition - d.log_partition
    assert torch.equal(found, d.log_prob(labels))


def test_segments_that_tile_leave_one_segmentation():
    d = distribution()
    tiled = [[(0, 1, 1), (1, 4, 0), (4, 5, 0)], [(0, 3, 0), (3, 4, 1)], []]
    only = d.constrained(segments=tiled)
    assert_close(only.log_partition, d.score(tiled), FLOAT64_RELATIVE)
    assert only.mode.to_list() == [[tuple(s) for s in y] for y in tiled]


@each_constraint
def test_gradients_are_those_of_eager_and_finite(options, allows):
    grads = []
    for backend in ("eager", None):
        terms = dict(POTENTIALS.map(torch.from_numpy).items())
        leaves = [term.clone().requires_grad_() for term in terms.values() if term.is_floating_point()]
        names = [name for name, term in terms.items() if term.is_floating_point()]
        d = SemiCRF(**terms | dict(zip(names, leaves, strict=True)), backend=backend)
        loss = (d.log_partition - d.constrained(**options).log_partition).sum()
        grads.append(torch.autograd.grad(loss, leaves))
    for a, b in zip(*grads, strict=True):
        assert b.isfinite().all()
        assert_close(b, a, FLOAT64_POSTERIOR)


def test_partial_labels_can_be_learned_from():
    torch.manual_seed(0)
    head = SemiMarkovCRFHead(2, 4, hidden_dim=3)
    hidden = torch.randn(2, 12, 3)
    boundaries = torch.full((2, 12), UNKNOWN)
    boundaries[:, [3, 6, 9]] = 1
    boundaries[:, [4, 5]] = 0
    optimiser = torch.optim.Adam(head.parameters(), lr=0.1)
    losses = []
    for _ in range(30):
        d = head(hidden)
        loss = (d.log_partition - d.constrained(boundaries=boundaries).log_partition).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert (head(hidden).posteriors.begins.sum(-1)[:, [3, 6, 9]] > 0.9).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": torch.zeros(2, 5).long()}, r"^labels have shape \(2, 5\)"),
        ({"labels": [[0, 1], [0], [1, 1]]}, r"^labels make no tensor: .* Expected rows of T entries"),
        ({"allowed": [[[True], [True, False]]]}, r"^allowed make no tensor"),
        ({"boundaries": [[1, 0], [1], [1]]}, r"^boundaries make no tensor"),
        ({"labels": torch.full((3, 5), 2)}, r"^sequence 0: position 0 has label 2; expected 0 <= label < 2"),
        (
            {"allowed": torch.ones(3, 5, 3).bool()},
            r"^allowed has shape \(3, 5, 3\) .*broadcast to \(B, T, C\) = ",
        ),
        ({"allowed": torch.ones(3, 5, 2)}, r"^allowed has .* dtype torch.float32; expected booleans"),
        ({"boundaries": torch.zeros(3, 4).long()}, r"^boundaries have shape \(3, 4\) .*\(B, T\) = \(3, 5\)"),
        (
            {"boundaries": torch.zeros(3, 5)},
            r"^boundaries have .* torch.float32; expected booleans or integers",
        ),
        ({"boundaries": torch.full((3, 5), 2)}, r"^boundaries\[0, 0\] is 2; expected 1 .* 0 .* or -100"),
        ({"segments": [[]]}, r"^1 lists of segments given; expected B = 3"),
        ({"segments": [[], [(0, 2)], []]}, r"^sequence 1, segment 0 is \(0, 2\); expected three integers"),
        ({"segments": [[(3, 4, 0), (1, 3, 9)], [], []]}, r"segment 1 \(1, 3, 9\) has a label out of range"),
        ({"segments": [[(0, 2, 5)], [], []]}, r"^sequence 0, segment 0 \(0, 2, 5\) has a label out of range"),
        (
            {"segments": [[], [(3, 5, 0)], []]},
            r"^sequence 1, segment 0 \(3, 5, 0\) does not fit: .* length = 4",
        ),
        ({"segments": [[(0, 2, 0), (1, 3, 0)], [], []]}, r"segment 1 \(1, 3, 0\) overlaps another"),
        (
            {"segments": [[(0, 4, 0)], [], []]},
            r"\(0, 4, 0\) lasts 4 positions; expected at most max_duration = 3",
        ),
        ({"forbidden_transitions": [(0, 2)]}, r"^forbidden_transitions holds \(0, 2\)"),
        ({"min_duration": [1, 2, 3]}, r"^min_duration has 3 entries"),
        ({"min_duration": 4}, r"^class 0 has min_duration 4 above max_duration 3"),
    ],
)
def test_constraints_that_are_none_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        distribution().constrained(**options)


def test_constraints_come_as_lists_and_arrays_too():
    d = distribution()
    for name, given in (
        ("labels", LABELS),
        ("boundaries", BOUNDARIES),
        ("allowed", np.array(ALLOWED, dtype=bool)),
    ):
        expected = d.constrained(**{name: torch.as_tensor(given)}).log_partition
        assert torch.equal(d.constrained(**{name: given}).log_partition, expected)
        assert torch.equal(d.constrained(**{name: np.array(given)}).log_partition, expected)
    bounds = d.constrained(min_duration=torch.tensor([2, 1]), max_duration=np.array([3, 2]))
    assert torch.equal(
        bounds.log_partition, d.constrained(min_duration=[2, 1], max_duration=[3, 2]).log_partition
    )
    best = d.mode
    assert_close(d.constrained(segments=best).log_partition, best.scores, FLOAT64_RELATIVE)


def test_impossible_constraints_name_the_first_sequence():
    d = distribution()
    with pytest.raises(ValueError, match=r"^sequence 1: no segmentation satisfies the constraints"):
        d.constrained(labels=torch.tensor([[0] * 5, [0] * 5, [0] * 5]), segments=[[], [(0, 2, 1)], []])


def test_a_sequence_that_was_impossible_before_is_not_blamed_on_the_constraints():
    emissions = torch.zeros(2, 3, 2)
    emissions[0] = -torch.inf
    d = SemiCRF(emissions, torch.zeros(2, 2), torch.zeros(2, 2)).constrained(max_duration=1)
    assert d.log_partition.tolist()[0] == -torch.inf


def test_a_segment_across_a_cut_has_probability_0():
    potentials = Potentials(**dict(POTENTIALS.items()), cuts=np.array([[0, 0, 1, 0, 0]] * 3, dtype=bool))
    d = SemiCRF(**dict(potentials.map(torch.from_numpy).items()))
    assert d.log_prob([[(0, 3, 0), (3, 5, 0)], [(0, 2, 0), (2, 4, 0)], []]).isneginf().tolist() == [
        True,
        False,
        False,
    ]
