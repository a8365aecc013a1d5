"""A parity that cannot fail proves nothing: faults are planted, and each must be seen."""

from types import SimpleNamespace

import pytest
import torch

from semicrf_reference import eager
from semicrf_reference.eager.sample import draw
from semicrf_spec import Potentials
from semicrf_spec.operators import Segmentation, sampling
from semicrf_spec.testing import case
from tests_integration.parity.chain import assert_agree

pytestmark = pytest.mark.parity


def altered(change) -> SimpleNamespace:
    """The oracle, given other terms than it was asked about."""

    def asked(function):
        def answer(**given):
            terms = {name: term for name, term in given.items() if isinstance(term, torch.Tensor)}
            options = {name: option for name, option in given.items() if name not in terms}
            return function(**options, **change(terms))

        return answer

    names = ("log_partition", "posteriors", "viterbi", "entropy", "sample", "top_k")
    return SimpleNamespace(**{name: asked(getattr(eager, name)) for name in names})


FAULTS = {
    "durations off by one": lambda terms: terms | {"duration": terms["duration"].roll(1, 0)},
    "transition transposed": lambda terms: terms | {"transition": terms["transition"].T},
    "start and end exchanged": lambda terms: terms | {"start": terms["end"], "end": terms["start"]},
    "begin and finish exchanged": lambda terms: terms | {"begin": terms["finish"], "finish": terms["begin"]},
    "finish one position late": lambda terms: terms | {"finish": terms["finish"].roll(1, 1)},
    "an emission off by 1e-8": lambda terms: terms | {"emissions": terms["emissions"] + 1e-8},
    "the longest duration dropped": lambda terms: terms | {"duration": terms["duration"][:-1]},
    "computed in float32": lambda terms: {name: term.float() for name, term in terms.items()},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_planted_fault_breaks_the_link(fault):
    with pytest.raises(AssertionError):
        assert_agree(altered(fault), eager, case("every_term"))


def test_ignored_lengths_break_the_link():
    def full(terms):
        return {name: term for name, term in terms.items() if name != "lengths"}

    with pytest.raises(AssertionError):
        assert_agree(altered(full), eager, case("ragged"))


def test_the_wrong_one_of_two_equal_paths_breaks_the_link():
    def last_of_equals(**terms):
        """Ties to the highest label instead of the lowest."""
        flipped = Potentials(**terms).map(lambda t: t.flip(-1) if t.is_floating_point() else t)
        flipped = Potentials(**dict(flipped.items()) | {"transition": flipped.transition.flip(0)})
        found = eager.viterbi(**dict(flipped.items()))
        labels = torch.where(found.labels < 0, found.labels, terms["emissions"].shape[2] - 1 - found.labels)
        return Segmentation(labels, found.durations, found.lengths, found.scores)

    candidate = SimpleNamespace(**{**vars(altered(lambda terms: terms)), "viterbi": last_of_equals})
    assert_agree(candidate, eager, case("every_term"))
    with pytest.raises(AssertionError):
        assert_agree(candidate, eager, case("ties"))


def test_the_k_best_without_the_second_break_the_link():
    def skipping(k, **terms):
        found = eager.top_k(**terms, k=k + 1)
        kept = [i for i in range(k + 1) if i != 1]
        return Segmentation(found.labels[kept], found.durations[kept], found.lengths, found.scores[kept])

    candidate = SimpleNamespace(**{**vars(altered(lambda terms: terms)), "top_k": skipping})
    with pytest.raises(AssertionError):
        assert_agree(candidate, eager, case("every_term"))


def test_equal_scores_in_another_order_break_the_link():
    def exchanged(k, **terms):
        found = eager.top_k(**terms, k=k)
        order = [1, 0, *range(2, k)]
        return Segmentation(found.labels[order], found.durations[order], found.lengths, found.scores)

    candidate = SimpleNamespace(**{**vars(altered(lambda terms: terms)), "top_k": exchanged})
    with pytest.raises(AssertionError, match="another order"):
        assert_agree(candidate, eager, case("integer_ties"))


def test_other_numbers_for_labels_than_for_durations_break_the_link():
    def exchanged(*arguments):
        *terms, uniforms = arguments
        return draw(*terms, uniforms.flip(-1))

    candidate = SimpleNamespace(**{**vars(altered(lambda terms: terms)), "sample": sampling(exchanged)})
    with pytest.raises(AssertionError):
        assert_agree(candidate, eager, case("every_term"))
