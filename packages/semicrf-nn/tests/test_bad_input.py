"""What a user may get wrong, and what the error must tell them."""

import pytest
import torch

from semicrf_nn import SemiCRF, SemiMarkovCRFHead

C, K, T = 3, 4, 6


def terms(**changed):
    given = {
        "emissions": torch.zeros(2, T, C),
        "transition": torch.zeros(C, C),
        "duration": torch.zeros(K, C),
    }
    return given | changed


def spoiled(value: float) -> torch.Tensor:
    emissions = torch.zeros(2, T, C)
    emissions[1, 2, 0] = value
    return emissions


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"emissions": spoiled(torch.nan)}, ValueError, r"emissions\[1, 2, 0\] is nan; expected a finite"),
        ({"emissions": spoiled(torch.inf)}, ValueError, r"emissions\[1, 2, 0\] is inf; expected a finite"),
        ({"start": torch.full((C,), torch.nan)}, ValueError, r"start\[0\] is nan"),
        ({"transition": torch.full((C, C), torch.inf)}, ValueError, r"transition\[0, 0\] is inf"),
        (
            {"transition": torch.zeros(C, C + 1)},
            ValueError,
            r"transition has shape \(3, 4\); expected \(C, C\)",
        ),
        ({"duration": torch.zeros(C)}, ValueError, r"duration has shape \(3,\); expected \(K, C\)"),
        ({"duration": torch.zeros(0, C)}, ValueError, r"duration has K = 0; expected at least 1"),
        ({"emissions": torch.zeros(T, C)}, ValueError, r"emissions has shape \(6, 3\); expected \(B, T, C\)"),
        (
            {"begin": torch.zeros(2, T + 1, C)},
            ValueError,
            r"begin has shape \(2, 7, 3\); expected \(B, T, C\)",
        ),
        ({"lengths": torch.tensor([6, 7])}, ValueError, r"lengths\[1\] is 7; expected 0 <= length <= T = 6"),
        ({"lengths": torch.tensor([-1, 6])}, ValueError, r"lengths\[0\] is -1; expected 0 <= length"),
        (
            {"lengths": torch.tensor([6.0, 6.0])},
            TypeError,
            r"lengths has dtype torch.float32; expected an integer",
        ),
        (
            {"lengths": torch.tensor([6])},
            ValueError,
            r"lengths has shape \(1,\); expected \(B\) with B = 2, .* as emissions .* have them$",
        ),
        (
            {"lengths": torch.ones(2, T).bool()},
            ValueError,
            r"lengths has shape \(2, 6\).*Of a \(B, T\) mask give mask.sum\(1\)",
        ),
        (
            {"start": torch.zeros(C).to_sparse()},
            TypeError,
            "start has layout torch.sparse_coo; expected a dense",
        ),
        (
            {"emissions": torch.zeros(2, T, C, dtype=torch.int64)},
            TypeError,
            "emissions has dtype torch.int64",
        ),
        ({"transition": [[0.0]]}, TypeError, "transition is a list; expected an array or tensor of shape"),
    ],
)
@pytest.mark.parametrize("validate", [True, False])
def test_bad_terms_are_named_whether_checked_early_or_late(changed, error, message, backend, validate):
    with pytest.raises(error, match=message):
        _ = SemiCRF(**terms(**changed), backend=backend, validate_args=validate).log_partition


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([[(0, 3, 0), (2, 6, 1)], []], r"sequence 0, segment 1 \(2, 6, 1\) overlaps the one before"),
        (
            [[(0, 3, 0), (4, 6, 1)], []],
            r"sequence 0, segment 1 \(4, 6, 1\) leaves a gap: expected it to start at 3",
        ),
        ([[(0, 3, 0)], []], r"sequence 0: its 1 segments end at 3; expected them to tile all 6"),
        ([[(0, 2, 0), (2, 2, 1), (2, 6, 1)], []], r"sequence 0, segment 1 \(2, 2, 1\) is empty"),
        (
            [[(0, 5, 0), (5, 6, 1)], []],
            r"segment 0 \(0, 5, 0\) lasts 5 positions, longer than max_duration = 4",
        ),
        (
            [[(0, 3, 0), (3, 6, 3)], []],
            r"segment 1 \(3, 6, 3\) has a label out of range: expected 0 <= label < 3",
        ),
        ([[(0, 3, 0), (3, 6, -1)], []], r"segment 1 \(3, 6, -1\) has a label out of range"),
        ([[(0.5, 3, 0)], []], r"segment 0 is \(0.5, 3, 0\); expected three integers"),
        ([[(0, 3, 0)]], r"1 lists of segments given; expected B = 2"),
        ([[0, 0, 1, 1, 1, 2], []], r"segment 0 is 0; .* Labels by position go into a \(B, T\) tensor"),
    ],
)
def test_bad_gold_segments_are_named(segments, message):
    d = SemiCRF(**terms(lengths=torch.tensor([6, 0])))
    with pytest.raises(ValueError, match=message):
        d.log_prob(segments)


@pytest.mark.parametrize("supervision", ["segments", "labels"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.full((2, T), 7), r"sequence 0.*7.*expected 0 <= label < 3"),
        (torch.zeros(2, T - 1, dtype=torch.int64), r"labels have shape \(2, 5\).*\(B, T\) = \(2, 6\)"),
        (torch.zeros(2, T), "labels have .* dtype torch.float32; expected integers"),
        (torch.zeros(2, T, dtype=torch.bool), "labels have .* dtype torch.bool; expected integers"),
        (torch.zeros(2, T, dtype=torch.complex64), "labels have .* dtype torch.complex64; expected integers"),
    ],
)
def test_bad_labels_are_named(labels, message, supervision):
    head = SemiMarkovCRFHead(C, T)
    with pytest.raises(ValueError, match=message):
        head.compute_loss(torch.zeros(2, T, C), None, labels, supervision=supervision)


def test_unknown_labels_need_supervision_labels():
    with pytest.raises(ValueError, match=r"sequence 0: position 0 has the unknown label -100.*'labels'"):
        SemiMarkovCRFHead(C, T).compute_loss(torch.zeros(2, T, C), None, torch.full((2, T), -100))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0"),
        ({"num_classes": 2.0}, "num_classes is 2.0; expected a whole number"),
        ({"hidden_dim": 0}, "hidden_dim is 0; expected a whole number of at least 1"),
        ({"max_duration": 0}, "max_duration is 0; expected a whole number of at least 1"),
        ({"max_duration": 2.5}, "max_duration is 2.5; expected a whole number of at least 1"),
        ({"max_duration": True}, "max_duration is True; expected a whole number"),
        ({"max_duration": [2, 2.7, 3]}, r"max_duration\[1\] is 2.7; expected a whole number"),
        ({"max_duration": [2, 3]}, "max_duration has 2 entries; expected one number, or num_classes = 3"),
        ({"min_duration": 5}, "class 0 has min_duration 5 above max_duration 4"),
        ({"forbidden_transitions": [(0, 3)]}, r"forbidden_transitions holds \(0, 3\)"),
        ({"forbidden_transitions": torch.zeros(C, C)}, "forbidden_transitions has dtype float32"),
        ({"forbidden_transitions": [3]}, r"forbidden_transitions has dtype int64 and shape \(1,\)"),
        ({"forbidden_transitions": [(0.5, 1)]}, "forbidden_transitions has dtype float64"),
        ({"backend": "gpu"}, "backend is 'gpu'; expected one of 'eager', 'compiled', 'triton'"),
    ],
)
def test_bad_constructor_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SemiMarkovCRFHead(**{"num_classes": C, "max_duration": K, **arguments})


def test_hidden_of_the_wrong_width_is_named():
    with pytest.raises(ValueError, match=r"hidden has shape \(2, 6, 5\); expected \(B, T, hidden_dim = 8\)"):
        SemiMarkovCRFHead(C, K, hidden_dim=8).decode(torch.zeros(2, T, 5))
    with pytest.raises(ValueError, match=r"hidden has shape \(2, 6, 5\); expected \(B, T, num_classes = 3\)"):
        SemiMarkovCRFHead(C, K).decode(torch.zeros(2, T, 5))


def test_hidden_of_another_dtype_than_the_head_is_named():
    head, hidden = SemiMarkovCRFHead(C, K, hidden_dim=8), torch.zeros(2, T, 8, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"hidden has dtype torch.float64; expected torch.float32.*head.to\("):
        head.decode(hidden)
    assert head.double().decode(hidden).labels.shape == (2, T)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head.float().decode(hidden.bfloat16()).labels.shape == (2, T)


def test_bad_options_of_the_loss_are_named():
    head, emissions, labels = (
        SemiMarkovCRFHead(C, T),
        torch.zeros(1, T, C),
        torch.zeros(1, T, dtype=torch.int64),
    )
    with pytest.raises(ValueError, match="reduction is 'average'; expected one of 'mean', 'sum', 'token', '"):
        head.compute_loss(emissions, None, labels, reduction="average")
    with pytest.raises(ValueError, match="supervision is 'weak'; expected one of 'segments', 'labels'"):
        head.compute_loss(emissions, None, labels, supervision="weak")
    with pytest.raises(ValueError, match=r"needs a .* tensor of labels"):
        head.compute_loss(emissions, None, [[(0, T, 0)]], supervision="labels")


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_mask_of_numbers_is_no_list_of_pairs(num_classes):
    with pytest.raises(ValueError, match=r"forbidden_transitions has dtype int64.*expected booleans"):
        SemiMarkovCRFHead(num_classes, 5, forbidden_transitions=torch.eye(num_classes).long())


def test_unknown_labels_to_the_end_may_be_padding():
    head = SemiMarkovCRFHead(3, 6, hidden_dim=2)
    labels = torch.zeros(2, 6, dtype=torch.int64)
    labels[1, 4:] = -100
    with pytest.raises(
        ValueError, match=r"sequence 1: position 4 .*if that is padding, give lengths, 4 here"
    ):
        head.compute_loss(torch.zeros(2, 6, 2), None, labels)
    labels[1, 5] = 0
    with pytest.raises(ValueError, match="not known; use supervision='labels'"):
        head.compute_loss(torch.zeros(2, 6, 2), None, labels)


def test_arrays_of_numpy_are_no_tensors():
    with pytest.raises(TypeError, match=r"emissions is a ndarray; expected a torch.Tensor"):
        SemiCRF(*(torch.zeros(shape).numpy() for shape in ((1, 2, 3), (3, 3), (2, 3))))


@pytest.mark.parametrize("gold", [None, 3])
def test_what_is_no_list_is_named(gold):
    crf = SemiCRF(torch.zeros(1, 2, 3), torch.zeros(3, 3), torch.zeros(2, 3))
    with pytest.raises(TypeError, match=f"segments are {type(gold).__name__}; expected a Segmentation"):
        crf.log_prob(gold)
