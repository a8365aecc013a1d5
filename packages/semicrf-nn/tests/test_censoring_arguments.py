"""What says which sequences were cut off, and what is said of what cannot be."""

import numpy as np
import pytest
import torch

from semicrf_nn import SemiCRF, SemiMarkovCRFHead
from semicrf_spec.testing import FLOAT64_RELATIVE, assert_close, random_potentials

TERMS = dict(random_potentials(4, 5, 3, 2, seed=301, lengths=[5, 0, 1, 4]).map(torch.from_numpy).items())


@pytest.mark.parametrize("side", ["left_censored", "right_censored"])
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (torch.zeros(3, dtype=torch.bool), ValueError, r" has shape \(3,\); expected .*\(B,\) = \(2,\)"),
        (torch.zeros(2, 1, dtype=torch.bool), ValueError, r" has shape \(2, 1\); expected one boolean"),
        (torch.zeros(2), TypeError, r" has dtype torch.float32; expected booleans"),
        ([0, 1], TypeError, r" has dtype torch.int64; expected booleans"),
        (1, TypeError, r" has dtype torch.int64; expected booleans"),
        ("right", TypeError, r" is a str; expected a boolean, or booleans of shape \(B,\) = \(2,\)"),
        (None, TypeError, r" is a NoneType; expected a boolean"),
    ],
)
def test_flags_that_are_none_are_named(side, given, error, message):
    terms = (torch.zeros(2, 4, 2), torch.zeros(2, 2), torch.zeros(3, 2))
    with pytest.raises(error, match=f"^{side}{message}"):
        SemiCRF(*terms, **{side: given})
    head = SemiMarkovCRFHead(2, 3)
    with pytest.raises(error, match=f"^{side}{message}"):
        head.decode(terms[0], **{side: given})


def test_flags_come_as_arrays_and_lists_too():
    expected = SemiCRF(**TERMS, left_censored=[True, False, True, True], right_censored=True).log_partition
    for own in (np.array([True, False, True, True]), torch.tensor([True, False, True, True])):
        for everyone in (np.bool_(True), torch.tensor(True), [True] * 4):
            found = SemiCRF(**TERMS, left_censored=own, right_censored=everyone).log_partition
            assert_close(found, expected, FLOAT64_RELATIVE)


def test_other_sequences_are_refused_in_the_words_of_the_user():
    d = SemiCRF(**TERMS, right_censored=True)
    with pytest.raises(ValueError, match=r"^other has \(B, T, C\) = \(4, 5, 3\); expected \(4, 5, 2\)"):
        d.kl_divergence(SemiCRF(*(torch.zeros(shape) for shape in ((4, 5, 3), (3, 3), (3, 3)))))
    with pytest.raises(TypeError, match=r"^other is a Tensor; expected a SemiCRF"):
        d.cross_entropy(torch.zeros(1))


def test_a_seen_segment_longer_than_the_longest_is_an_error_still():
    d = SemiCRF(**TERMS, left_censored=True, right_censored=True)
    with pytest.raises(ValueError, match=r"sequence 0, segment 0 \(0, 4, 1\) lasts 4 positions"):
        d.log_prob([[(0, 4, 1), (4, 5, 0)], [], [(0, 1, 0)], [(0, 2, 0), (2, 4, 0)]])
    with pytest.raises(ValueError, match=r"expected 0 <= label < 2"):
        d.score([[(0, 3, 2), (3, 5, 0)], [], [(0, 1, 0)], [(0, 2, 0), (2, 4, 0)]])
