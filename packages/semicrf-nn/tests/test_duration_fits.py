"""Fits of durations: the most likely parameters of each label, however rare it is and wherever they lie."""

import math

import pytest
import torch

from semicrf_nn import (
    CallableDurations,
    GammaDurations,
    GeometricDurations,
    LearnedDurations,
    LogNormalDurations,
    MixtureDurations,
    NegativeBinomialDurations,
    PoissonDurations,
    Segmentation,
    UniformDurations,
    fitting,
    suggest_max_duration,
)
from semicrf_nn.counts import count_durations
from semicrf_spec.testing import FLOAT32_SUM, FLOAT64_RELATIVE, assert_close

FAMILIES = (
    GeometricDurations,
    PoissonDurations,
    NegativeBinomialDurations,
    LogNormalDurations,
    GammaDurations,
)
families = pytest.mark.parametrize("family", FAMILIES)
FIT = FLOAT32_SUM
"""Nats a segment: a fit ends where a step would gain 1e-9, and near a limit it takes many such steps."""


def with_means(family, means, max_duration):
    """Of a family, and of about these means before they are truncated."""
    mean = torch.tensor(means, dtype=torch.float64)
    more = mean - 1.0
    parameters = {
        GeometricDurations: {"logit": more.log()},
        PoissonDurations: {"log_rate": more.log()},
        NegativeBinomialDurations: {"log_count": torch.full_like(mean, 1.0), "logit": more.log() - 1.0},
        LogNormalDurations: {"mean": mean.log(), "log_deviation": torch.full_like(mean, -1.0)},
        GammaDurations: {"log_mean": mean.log(), "log_shape": torch.full_like(mean, 1.5)},
    }[family]
    model = family(len(means), max_duration).double()
    model.load_state_dict(parameters)
    return model


def drawn(model, sizes):
    """So many segments of each label, drawn from a model."""
    generator = torch.Generator().manual_seed(0)
    columns = model().detach().double().exp().T
    return [
        [(0, int(d) + 1, c) for d in torch.multinomial(p, n, True, generator=generator)]
        for c, (p, n) in enumerate(zip(columns, sizes, strict=True))
    ]


def likelihood(model, segments):
    """Nats a segment, of each label."""
    found = model().detach().double()
    counts = count_durations(segments, *reversed(found.shape))
    return (counts * found).sum(0) / counts.sum(0)


def on_a_grid(family, segments, max_duration, *axes):
    """The largest likelihood of label 0 on a grid of parameters, each point of it as one label."""
    points = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    model = family(len(points), max_duration).double()
    with torch.no_grad():
        for parameter, values in zip(model.parameters(), points.T, strict=True):
            parameter.copy_(values)
        counts = count_durations(segments, 1, max_duration)
        reached = (counts * model()).sum(0) / counts.sum()
    return reached.max(), points[reached.argmax()]


@families
@pytest.mark.parametrize("max_duration", [10, 60, 1000])
def test_a_fit_is_as_likely_as_the_truth_of_common_and_of_rare_labels(family, max_duration):
    means = [1.3, max_duration / 5, max_duration / 5, 0.7 * max_duration, 0.7 * max_duration]
    truth = with_means(family, means, max_duration)
    segments = drawn(truth, [100_000, 2000, 3, 2000, 20])
    fitted = family(5, max_duration).double().fit(segments)
    assert (likelihood(fitted, segments) >= likelihood(truth, segments) - FIT).all()
    assert_close(fitted().exp().sum(0).detach(), torch.ones(5), FLOAT32_SUM)


@families
@pytest.mark.parametrize("max_duration", [10, 60, 1000])
def test_labels_are_fitted_as_if_each_were_alone(family, max_duration):
    segments = drawn(with_means(family, [2.0, max_duration / 3], max_duration), [100_000, 20])
    alone = [[(s, e, 0) for s, e, _ in own] for own in segments]
    together = family(2, max_duration).double().fit(segments)().detach()
    for c, own in enumerate(alone):
        one = family(1, max_duration).double().fit([own])
        assert_close(together[:, c], one()[:, 0].detach(), FLOAT64_RELATIVE)


def test_neighbours_with_other_means_leave_a_log_normal_where_its_durations_are():
    lengths = ((18, 19, 20, 20, 21, 22), (97, 99, 100, 101, 103))
    fitted = LogNormalDurations.from_segments(
        [[(0, d, c) for d in own] for c, own in enumerate(lengths)], 2, 200
    )
    p = fitted().exp().detach()
    assert (p.argmax(0) + 1).tolist() == [20, 100]
    assert p[89:110, 1].sum() > 0.999


@pytest.mark.parametrize("family", [NegativeBinomialDurations, LogNormalDurations, GammaDurations])
def test_no_point_of_a_fine_grid_is_likelier_than_a_fit_and_the_best_is_beside_it(family):
    segments = drawn(with_means(family, [20.0], 60), [500])
    fitted = family(1, 60).double().fit(segments)
    step = 0.01
    axes = [p.item() + step * (torch.arange(-60, 61, dtype=torch.float64) + 0.3) for p in fitted.parameters()]
    best, at = on_a_grid(family, segments, 60, *axes)
    assert likelihood(fitted, segments)[0] >= best
    assert all(abs(p.item() - x) < 10 * step for p, x in zip(fitted.parameters(), at, strict=True))


EDGES = {
    "the shortest": [1, 1, 1],
    "the longest": [60, 60, 60],
    "one in between": [23],
    "equal ones": [40] * 20,
    "both ends": [1, 60],
    "more of both ends": [1] * 5 + [60] * 5 + [30],
    "neighbours": [59, 60],
    "nearly all the shortest": [1] * 50 + [2],
    "every one": list(range(1, 61)),
}


@families
@pytest.mark.parametrize("durations", EDGES.values(), ids=EDGES)
def test_fits_to_the_edge_are_finite_and_as_likely_as_any(family, durations):
    segments = [[(0, d, 0) for d in durations]]
    fitted = family(2, 60).double().fit(segments)
    untouched = family(2, 60).double()
    for parameter, before in zip(fitted.parameters(), untouched.parameters(), strict=True):
        assert parameter.abs().max() <= fitting.EXTREME
        assert parameter[1] == before[1]  # no segment bears label 1
    coarse = torch.arange(-25.0, 25.0, 0.5, dtype=torch.float64)
    best, _ = on_a_grid(family, segments, 60, *[coarse] * len(list(fitted.parameters())))
    assert likelihood(fitted, [*segments, [(0, 1, 1)]])[0] >= best - FIT


@families
def test_equal_durations_at_a_thousand_are_all_there_is(family):
    fitted = family.from_segments([[(0, 900, 0)] * 20, [(0, 2, 1)] * 100_000], 2, 1000)
    reached = likelihood(fitted, [[(0, 900, 0), (0, 2, 1)]])
    if family in (LogNormalDurations, GammaDurations):
        assert_close(reached, torch.zeros(2), FIT)
    elif family is GeometricDurations:
        assert_close(reached, torch.tensor([-math.log(1000), -2 * math.log(2)]), FIT)
    else:  # the limit of negative binomials: a Poisson of the mean 899, and of 1
        poisson = torch.distributions.Poisson(torch.tensor([899.0, 1.0], dtype=torch.float64))
        assert_close(reached, poisson.log_prob(torch.tensor([899.0, 1.0])), 1e-3)


@families
def test_a_longest_duration_of_one_position_leaves_nothing_to_fit(family):
    fitted = family.from_segments([[(0, 1, 0)]], 2, 1)
    assert all(p.isfinite().all() for p in fitted.parameters())
    assert_close(fitted().detach(), torch.zeros(1, 2), FIT)


@families
def test_fits_do_not_depend_on_where_the_parameters_stood(family):
    segments = drawn(with_means(family, [12.0], 60), [300])
    far = family(1, 60).double()
    with torch.no_grad():
        for parameter in far.parameters():
            parameter.fill_(1e4)
    assert torch.equal(far.fit(segments)(), family(1, 60).double().fit(segments)())


@families
def test_mixtures_are_fitted_as_likely_as_the_truth_of_common_and_of_rare_labels(family):
    def parts(means):
        return [with_means(family, [mean, mean], 300) for mean in means]

    truth = MixtureDurations(parts([10.0, 150.0])).double()
    segments = drawn(truth, [20_000, 40])
    fitted = MixtureDurations([family(2, 300), family(2, 300)]).double().fit(segments)
    assert (likelihood(fitted, segments) >= likelihood(truth, segments) - FIT).all()
    assert all(p.isfinite().all() for p in fitted.parameters())


def test_mixtures_of_other_kinds_take_each_what_the_other_cannot():
    durations = [5] * 40 + [7] * 40 + list(range(20, 61))
    parts = [PoissonDurations(1, 60), UniformDurations(1, 60), LearnedDurations(1, 60)]
    segments = [[(0, d, 0) for d in durations]]
    fitted = MixtureDurations(parts).fit(segments)
    for part in parts[:2]:
        alone = type(part).from_segments(segments, 1, 60)
        assert (likelihood(fitted, segments) > likelihood(alone, segments) + 0.5).all()


def slopes():
    """A function of durations that learns, for each of two labels."""
    layer = torch.nn.Linear(1, 2, bias=False, dtype=torch.float64)
    torch.nn.init.zeros_(layer.weight)
    return layer


def test_a_function_is_fitted_to_rare_labels_beside_common_ones():
    truth = with_means(GeometricDurations, [2.0, 12.0], 60)
    counts = truth().detach().exp() * torch.tensor([1e6, 5.0])
    fitted = CallableDurations(2, 60, slopes()).double()
    assert not fitting.fit_together(fitted, counts)
    assert_close(fitted().detach().exp(), truth().detach().exp(), FIT)


def test_constructor_arguments_go_by_name_too():
    segments = [[(0, 3, 0), (3, 10, 1)]]
    by_name = PoissonDurations.from_segments(segments, num_classes=2, max_duration=30)
    assert torch.equal(by_name(), PoissonDurations.from_segments(segments, 2, 30)())
    mixed = MixtureDurations.from_segments(segments, components=[UniformDurations(2, 30)])
    assert mixed.max_duration == 30


def test_segmentations_serve_as_lists_do():
    lists = [[(0, 3, 0), (3, 10, 1)], [(0, 4, 1)]]
    segmentation = Segmentation.from_list(lists)
    assert segmentation.labels.shape == (2, 10)
    fitted = PoissonDurations.from_segments(lists, 2, 30)()
    assert torch.equal(PoissonDurations.from_segments(segmentation, 2, 30)(), fitted)
    samples = Segmentation(
        segmentation.labels.expand(3, 2, 10), segmentation.durations.expand(3, 2, 10), segmentation.lengths
    )
    assert_close(PoissonDurations.from_segments(samples, 2, 30)().detach(), fitted.detach(), FIT)
    assert suggest_max_duration(segmentation, 1.0).max_duration == 7
    assert suggest_max_duration(samples, 0.5).max_duration == 4


def test_iterators_are_read_once_and_an_empty_one_is_named():
    once = ([(0, d, 0)] for d in (3, 4))
    assert suggest_max_duration(once, 1.0).max_duration == 4
    with pytest.raises(ValueError, match=r"^segments are empty; .* iterator that was read before"):
        suggest_max_duration(once)
    with pytest.raises(ValueError, match=r"^sequence 0 of segments holds 0; expected whole numbers"):
        suggest_max_duration([(0, 3, 0)])
    with pytest.raises(ValueError, match=r"^sequence 1 of segments holds \(0, 3\)"):
        PoissonDurations.from_segments([[], [(0, 3)]], 1, 5)


def test_a_function_without_parameters_refuses_segments_that_it_forbids_and_stays_as_it_was():
    even = CallableDurations(1, 4, lambda d: torch.where(d % 2 == 0, 0.0, -torch.inf))
    with pytest.raises(ValueError, match=r"^label 0 has a segment of 3 positions, which the distribution"):
        even.fit([[(0, 3, 0)]])
    assert even.fit([[(0, 2, 0)]])().dtype == torch.float32


@pytest.mark.parametrize("make", [PoissonDurations, lambda *sizes: CallableDurations(*sizes, slopes())])
def test_a_fit_that_does_not_converge_names_its_labels(make, monkeypatch):
    monkeypatch.setattr(fitting, "STEPS", 2)
    with pytest.warns(UserWarning, match=r"^\w+.fit ended before it was done, for labels \[(0, )?1\]"):
        make(2, 60).fit([[(0, 7, 0)] * 10, [(0, 60, 1)] * 10])


def test_a_mixture_that_does_not_converge_names_its_labels(monkeypatch):
    monkeypatch.setattr(fitting, "STEPS", 1)
    mixture = MixtureDurations([PoissonDurations(2, 60), GammaDurations(2, 60)])
    with pytest.warns(UserWarning, match=r"^MixtureDurations.fit ended before it was done, for labels \[0\]"):
        mixture.fit([[(0, d, 0) for d in range(3, 40)]])
