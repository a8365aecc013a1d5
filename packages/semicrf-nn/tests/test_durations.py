"""Distributions of durations: normalised, stable, fitted, and in a head."""

import math
import sys

import pytest
import torch
from torch.func import functional_call

from semicrf_nn import (
    CallableDurations,
    GammaDurations,
    GeometricDurations,
    LearnedDurations,
    LogNormalDurations,
    MixtureDurations,
    NegativeBinomialDurations,
    PoissonDurations,
    SemiMarkovCRFHead,
    UniformDurations,
    suggest_max_duration,
)
from semicrf_spec.testing import FLOAT32_SUM, FLOAT64_RELATIVE, assert_close

FAMILIES = (
    LearnedDurations,
    UniformDurations,
    GeometricDurations,
    PoissonDurations,
    NegativeBinomialDurations,
    LogNormalDurations,
    GammaDurations,
)
families = pytest.mark.parametrize("family", FAMILIES)


class Slope(torch.nn.Module):
    """A function of durations that learns."""

    def __init__(self, num_classes):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(1, num_classes))

    def forward(self, d):
        return self.slope * d


def mixture(num_classes, max_duration):
    """Of a family with one parameter and one with two."""
    return MixtureDurations(
        [family(num_classes, max_duration) for family in (PoissonDurations, GammaDurations)]
    )


def function(num_classes, max_duration):
    """Durations by a function."""
    return CallableDurations(num_classes, max_duration, Slope(num_classes))


every_kind = pytest.mark.parametrize("kind", [*FAMILIES, mixture, function])
K = 1000
D = torch.arange(1, K + 1, dtype=torch.float64)


def drawn(model, n=20_000, seed=0):
    """Segments whose durations are drawn from a model, as one list of them for each label."""
    generator = torch.Generator().manual_seed(seed)
    columns = model().detach().double().exp().T
    lists = []
    for c, p in enumerate(columns):
        lists.append([(0, int(d) + 1, c) for d in torch.multinomial(p, n, True, generator=generator)])
    return lists


def total_variation(model, other):
    return (0.5 * (model().double().exp() - other().double().exp()).abs().sum(0)).detach()


@every_kind
@pytest.mark.parametrize("value", [-1e4, -30.0, -1.0, 0.0, 2.0, 30.0, 1e4])
def test_every_distribution_is_normalised_and_finite_whatever_its_parameters(kind, value):
    model = kind(3, K)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    found = model()
    assert found.shape == (K, 3)
    assert found.dtype == torch.float32
    assert not found.isnan().any()
    assert_close(found.detach().double().exp().sum(0), torch.ones(3), FLOAT32_SUM)
    if found.requires_grad:
        found.exp()[1].sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())


@every_kind
def test_gradients_are_those_of_finite_differences(kind):
    torch.manual_seed(2)
    model = kind(2, 12).double()
    names = [name for name, _ in model.named_parameters()]
    values = [0.7 * torch.randn_like(p) for p in model.parameters()]

    def log_probabilities(*parameters):
        return functional_call(model, dict(zip(names, parameters, strict=True)), ())

    assert names or kind is UniformDurations
    for value in values:
        value.requires_grad_()
    assert not names or torch.autograd.gradcheck(log_probabilities, values)


def truncated(log_density):
    return log_density - log_density.logsumexp(0)


def distributions():
    """Every family beside PyTorch's distribution of that name."""
    d, t = D - 1.0, torch.distributions
    rate, logit, mean, deviation, shape = (
        torch.tensor(x, dtype=torch.float64) for x in (7.5, 1.3, 2.5, 0.4, 3.0)
    )
    yield PoissonDurations, {"log_rate": rate.log()}, t.Poisson(rate).log_prob(d)
    yield GeometricDurations, {"logit": logit}, t.Geometric(logits=-logit).log_prob(d)
    count = torch.tensor(2.5, dtype=torch.float64)
    negative = t.NegativeBinomial(count, logits=logit).log_prob(d)
    yield NegativeBinomialDurations, {"log_count": count.log(), "logit": logit}, negative
    normal = t.LogNormal(mean, deviation).log_prob(D)
    yield LogNormalDurations, {"mean": mean, "log_deviation": deviation.log()}, normal
    gamma = t.Gamma(shape, shape / 20.0).log_prob(D)
    yield GammaDurations, {"log_mean": math.log(20.0), "log_shape": shape.log()}, gamma


@pytest.mark.parametrize(("family", "parameters", "density"), list(distributions()))
def test_families_are_those_of_torch_truncated(family, parameters, density):
    model = family(1, K).double()
    with torch.no_grad():
        for name, value in parameters.items():
            getattr(model, name).fill_(float(value))
    assert_close(model()[:, 0].detach(), truncated(density), 1e-9)


@families
def test_a_family_is_found_again_in_what_was_drawn_from_it(family):
    torch.manual_seed(1)
    model = family(2, 60)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = {"log_rate": 2.0, "mean": 2.5, "log_mean": 2.5, "log_count": 1.0, "logit": 1.5}.get(
                name, 0.0
            )
            parameter.copy_(centre + 0.3 * torch.randn_like(parameter))
    fitted = family.from_segments(drawn(model), 2, 60)
    assert (total_variation(fitted, model) < 0.05).all()
    assert all(p.dtype == torch.float32 and p.grad is None for p in fitted.parameters())


@families
def test_fits_to_one_duration_and_to_none_are_finite(family):
    fitted = family.from_segments([[(0, 4, 0)] * 50], 2, 10)
    assert not fitted().isnan().any()
    if family not in (UniformDurations, GeometricDurations):
        assert fitted()[:, 0].argmax() == 3
    assert not family.from_segments([], 2, 10)().isnan().any()


@every_kind
def test_answers_come_where_the_module_is_and_in_its_dtype(kind):
    assert kind(2, 5).double()().dtype == torch.float64
    assert kind(2, 5).to("meta")().device.type == "meta"
    mixed = MixtureDurations([kind(2, 5), PoissonDurations(2, 5)]).to("meta")
    assert mixed().device.type == "meta"


def test_mixtures_are_sums_and_are_fitted():
    truth = MixtureDurations([PoissonDurations(1, 60), PoissonDurations(1, 60)])
    with torch.no_grad():
        truth.components[0].log_rate.fill_(1.0)
        truth.components[1].log_rate.fill_(3.5)
        truth.weight.copy_(torch.tensor([[0.0], [1.0]]))
    share = torch.tensor([1.0, math.e]) / (1.0 + math.e)
    each = torch.stack([component().exp()[:, 0] for component in truth.components])
    assert_close(truth().exp()[:, 0].detach(), (share[:, None] * each).sum(0).detach(), FLOAT32_SUM)
    mixture = MixtureDurations([PoissonDurations(1, 60), PoissonDurations(1, 60)])
    with torch.no_grad():
        mixture.components[1].log_rate.fill_(3.0)
    assert (total_variation(mixture.fit(drawn(truth)), truth) < 0.05).all()
    alone = PoissonDurations.from_segments(drawn(truth), 1, 60)
    assert (total_variation(alone, truth) > 0.3).all()
    with pytest.raises(
        ValueError, match=r"^components have .* \[\(1, 5\), \(1, 6\)\]; expected at least one"
    ):
        MixtureDurations([PoissonDurations(1, 5), PoissonDurations(1, 6)])
    with pytest.raises(ValueError, match="expected at least one component"):
        MixtureDurations([])
    with pytest.raises(ValueError, match=r"^components are \['PoissonDurations', 'int'\]"):
        MixtureDurations([PoissonDurations(1, 5), 2])
    with pytest.raises(ValueError, match=r"with 1 different ones; expected .* each an object of its own"):
        MixtureDurations([PoissonDurations(1, 5)] * 2)
    assert len(MixtureDurations(PoissonDurations(1, 5) for _ in range(2)).components) == 2


def test_components_of_one_family_part_ways():
    durations = [2] * 50 + [3] * 50 + [40] * 50 + [41] * 50
    segments = [[(0, d, c) for d in durations] for c in (0, 1)]
    fitted = MixtureDurations.from_segments(segments, [PoissonDurations(2, 60), PoissonDurations(2, 60)])
    p = fitted().exp().detach()
    assert_close(p[:20].sum(0), torch.full((2,), 0.5), 0.01)
    assert (p[10:30].sum(0) < 0.05).all()
    alone = PoissonDurations.from_segments(segments, 2, 60)
    assert (alone().exp()[10:30].sum(0) > 0.5).all()


def long_ones(d):
    return torch.where(d < 3.0, -torch.inf, -d)


def test_what_all_components_forbid_is_forbidden_and_the_rest_is_learned():
    parts = [CallableDurations(1, 8, long_ones), CallableDurations(1, 8, lambda d: 2.0 * long_ones(d))]
    mixture = MixtureDurations(parts)
    mixture()[4].sum().backward()
    assert mixture.weight.grad.isfinite().all()
    mixture.fit([[(0, 3, 0)] * 9 + [(0, 4, 0)]])
    assert mixture.weight.isfinite().all()
    assert (mixture()[:2] == -torch.inf).all()


def test_a_component_is_fitted_to_what_it_allows_and_another_takes_the_rest():
    class Tilted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = torch.nn.Parameter(torch.zeros(1, 1))

        def forward(self, d):
            return torch.where(d < 3.0, -torch.inf, d * self.slope)

    parts = [CallableDurations(1, 8, Tilted()), PoissonDurations(1, 8)]
    fitted = MixtureDurations.from_segments([[(0, 1, 0)] * 5 + [(0, 6, 0)] * 5], parts)
    assert fitted()[[0, 5], 0].exp().sum() > 0.5


def test_a_function_with_forbidden_durations_is_fitted_to_segments_that_it_allows():
    class Tilted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = torch.nn.Parameter(torch.zeros(1, 2))

        def forward(self, d):
            return torch.where(d < 3.0, -torch.inf, -d * self.slope.exp())

    fitted = CallableDurations.from_segments([[(0, 3, 0)] * 9 + [(0, 4, 0)]], 2, 8, Tilted())
    assert_close(fitted()[2, 0].exp().detach(), torch.tensor(0.9), 0.01)
    with pytest.raises(ValueError, match=r"^label 1 has a segment of 2 positions, which the distribution"):
        CallableDurations.from_segments([[(0, 3, 0), (3, 5, 1)]], 2, 8, Tilted())


def test_a_log_normal_of_the_largest_mean_prefers_the_longest():
    model = LogNormalDurations(1, K)
    for mean, best in ((1e30, K - 1), (-1e30, 0)):
        with torch.no_grad():
            model.mean.fill_(mean)
        assert model()[:, 0].argmax() == best


def test_a_function_of_durations_serves_and_its_parameters_learn():
    model = CallableDurations(2, 20, Slope(2))
    assert len(list(model.parameters())) == 1
    geometric = GeometricDurations(2, 20)
    assert (total_variation(model.fit(drawn(geometric)), geometric) < 0.05).all()
    even = CallableDurations(2, 4, lambda d: torch.where(d % 2 == 0, 0.0, -torch.inf))
    assert_close(even().exp(), torch.tensor([[0.0], [0.5], [0.0], [0.5]]).expand(4, 2), FLOAT32_SUM)
    for wrong, message in (
        (lambda d: d[:, 0], r"answers with shape \(4,\); expected \(K, C\) = \(4, 2\), or \(K, 1\)"),
        (lambda d: d * torch.nan, "answers with NaN"),
        (lambda d: d - torch.inf, "-inf for every duration of a label"),
        (
            lambda d: (d * 0).long(),
            "answers with dtype torch.int64; expected log-densities, a tensor",
        ),
        (lambda d: 0.0, r"answers with a float; expected log-densities, .* \(K, C\) = \(4, 2\), or \(K, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            CallableDurations(2, 4, wrong)()


def test_segments_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"^sequence 1: segment \(0, 9, 0\) lasts 9 .* max_duration = 5"):
        PoissonDurations.from_segments([[(0, 5, 0)], [(0, 9, 0)]], 1, 5)
    with pytest.raises(ValueError, match=r"^num_classes is 0"):
        PoissonDurations(0, 5)


@every_kind
def test_a_head_takes_any_of_them_and_trains_it(kind):
    torch.manual_seed(0)
    head = SemiMarkovCRFHead(2, 6, hidden_dim=3, min_duration=2, duration=kind(2, 6))
    hidden = torch.randn(2, 10, 3)
    labels = torch.tensor([[0] * 4 + [1] * 6, [1] * 5 + [0] * 5])
    before = head.duration().detach().clone()
    optimiser = torch.optim.SGD(head.parameters(), lr=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        head.compute_loss(hidden, None, labels).backward()
        optimiser.step()
    assert kind is UniformDurations or not torch.equal(head.duration(), before)
    twin = SemiMarkovCRFHead(2, 6, hidden_dim=3, min_duration=2, duration=kind(2, 6))
    twin.load_state_dict(head.state_dict())
    assert_close(twin(hidden).log_partition.detach(), head(hidden).log_partition.detach(), FLOAT64_RELATIVE)


def test_a_head_refuses_durations_of_another_size():
    with pytest.raises(
        ValueError, match=r"^duration has num_classes = 2 and max_duration = 5; expected 2 and 6"
    ):
        SemiMarkovCRFHead(2, [6, 4], duration=PoissonDurations(2, 5))


def test_the_least_max_duration_covers_the_quantile_and_the_table_says_the_rest():
    segments = [[(0, d, 0)] for d in range(1, 101)]
    found = suggest_max_duration(segments)
    assert found.max_duration == 95
    assert found.longest == 100
    assert found.segments(50) == 0.5
    assert found.positions(50) == pytest.approx(1275 / 5050)
    assert repr(found).splitlines()[0] == "max_duration  segments  positions  (suggested: 95)"
    assert repr(found).splitlines()[4].split() == ["95", "95.0%", "90.3%"]
    assert suggest_max_duration(segments, 1.0).max_duration == 100
    assert suggest_max_duration([[(0, 3, 1), (3, 4, 0)]], 0.5).max_duration == 1
    with pytest.raises(ValueError, match=r"^segments are empty"):
        suggest_max_duration([[], []])
    with pytest.raises(ValueError, match=r"^quantile is 0"):
        suggest_max_duration(segments, 0.0)


def test_plots_without_matplotlib_name_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'semicrf-nn\[plot\]'"):
        PoissonDurations(1, 5).plot()


@every_kind
def test_plots_show_the_probabilities_of_every_label(kind):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    torch.manual_seed(3)
    model = kind(3, 20)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    axes = model.plot(names=["a", "b", "c"])
    lines = axes.get_lines()
    assert [line.get_label() for line in lines] == ["a", "b", "c"]
    for line, column in zip(lines, model().detach().double().exp().T, strict=True):
        assert line.get_xdata().tolist() == list(range(1, 21))
        assert_close(line.get_ydata(), column, FLOAT64_RELATIVE)
    assert kind(2, 5).plot(ax=axes) is axes
    assert [line.get_label() for line in axes.get_lines()[3:]] == ["0", "1"]
    matplotlib.pyplot.close("all")


def test_plots_ask_for_a_name_of_each_label():
    with pytest.raises(ValueError, match=r"^names are \['a'\]; expected one for each label, num_classes = 3"):
        PoissonDurations(3, 5).plot(names=["a"])
