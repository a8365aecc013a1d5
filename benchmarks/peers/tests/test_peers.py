"""Spreads, verdicts and pages, and that a missing peer is missing alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.peers import against, peers
from benchmarks.peers.ours import Ours
from benchmarks.peers.problem import Size, forward, random_terms, train
from benchmarks.peers.report import Bytes, Row, Table, Wanted, write
from benchmarks.peers.timing import QUICK, Contender, Effort, Spread, interleaved

SMALL = Size(2, 7, 3, 4)


def test_a_spread_is_the_median_and_the_quartiles():
    assert Spread.of([5.0, 1.0, 2.0, 3.0, 4.0]) == Spread(2.0, 3.0, 4.0, 5)
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0, 1)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (2.5, "2.5 s"),
        (0.0123, "12.3 ms"),
        (4e-5, "40 µs"),
        (7e-9, "7 ns"),
        (2e3, "2000 s"),
        (9.999e-4, "1000 µs"),
    ],
)
def test_a_spread_reads_in_units_that_suit_it(seconds, words):
    assert str(Spread.of([seconds])) == words


def test_contenders_take_turns(monkeypatch):
    monkeypatch.setattr("benchmarks.peers.timing.SHORTEST", 0.0)
    order = []
    contenders = {name: Contender(lambda name=name: order.append(name)) for name in "ab"}
    found = interleaved(contenders, Effort(seconds=0.0, rounds=4))
    assert "".join(order) == "ab" * 5  # to warm up, to calibrate, three rounds
    assert {name: spread.repeats for name, spread in found.items()} == {"a": 3, "b": 3}


def test_a_contender_gives_its_threads_back():
    before, seen = torch.get_num_threads(), []
    Contender(lambda: seen.append(torch.get_num_threads()), threads=before + 1).seconds()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_a_miss_is_called_a_miss():
    assert Row("", "", ratio=19.9, wanted=Wanted("≥", 20)).verdict == "MISS"
    assert Row("", "", ratio=3.0, wanted=Wanted("≤", 3)).verdict == "met"
    assert Row("", "", ratio=3.0).verdict == Row("", "", wanted=Wanted("≥", 20)).verdict == ""


def test_times_that_vary_are_called_unsteady():
    steady, unsteady = Spread(1.0, 1.1, 1.4, 9), Spread(1.0, 1.1, 1.6, 9)
    assert Row("", "", steady, steady, remark="so far").remarks == "so far"
    assert Row("", "", steady, unsteady, remark="so far").remarks == "so far, unsteady"


def test_a_run_is_written_as_a_page_and_as_numbers(tmp_path: Path):
    row = Row("this", str(SMALL), Bytes(2_000_000), Spread.of([0.5]), 1234.5, Wanted("≥", 2000), "so far")
    page, numbers = write(
        tmp_path / "new" / "run", "A run", {"threads": 2}, [Table("Title", "one", "two", "one/two", [row])]
    )
    expected = "| this | B=2 T=7 K=3 C=4 | 2.0 MB | 500 ms | 1,234× | ≥ 2000× | MISS | so far |"
    assert expected in page.read_text("utf-8").splitlines()
    [table] = json.loads(numbers.read_text("utf-8"))["tables"]
    assert (table["rows"][0]["ratio"], table["rows"][0]["verdict"]) == (1234.5, "MISS")


def test_a_first_segment_from_any_label_weighs_what_it_weighs_alone():
    terms = random_terms(SMALL, torch.float64)
    from_any = terms["transition"].logsumexp(0)
    alone, followed = Ours(terms), Ours({**terms, "start": from_any})
    torch.testing.assert_close(forward(alone), forward(followed))


def test_training_leaves_the_gradient_of_every_leaf_once():
    ours = Ours(random_terms(SMALL), constant=["duration"])
    for _ in range(2):
        train(ours)
    assert [tuple(leaf.shape) for leaf in ours.leaves] == [(2, 7, 4), (4, 4)]
    assert ours.leaves[0].grad is not None
    torch.testing.assert_close(ours.leaves[0].grad.sum(-1), torch.ones(2, 7))


def test_a_peer_that_is_not_there_says_so_in_its_rows(monkeypatch):
    def missing(size):
        raise ImportError("no module of that name")

    monkeypatch.setattr(peers.FlashSemiCRF, "__init__", lambda self, size: missing(size))
    rows = list(against._rows(against.Match(peers.FlashSemiCRF, SMALL, {"fwd": None, "fwd+bwd": 500}), QUICK))
    assert [row.what for row in rows] == ["flash-semicrf fwd", "flash-semicrf fwd+bwd"]
    assert {row.remark for row in rows} == {"not importable: no module of that name"}


@pytest.mark.parametrize(
    ("peer", "module", "size"),
    [
        (peers.FlashSemiCRF, "flash_semicrf", SMALL),
        (peers.TorchStruct, "torch_struct", SMALL),
        (peers.PytorchCRF, "torchcrf", Size(2, 7, 1, 4)),
    ],
)
def test_a_peer_that_is_there_computes_the_same(peer, module, size):
    pytest.importorskip(module)
    theirs = peer(size)
    against.check(theirs, Ours(theirs.terms, constant=theirs.constant))
    train(theirs)
    assert all(leaf.grad is not None for leaf in theirs.leaves)


def test_what_differs_is_not_timed():
    ours = Ours(random_terms(SMALL))

    class Other:
        package, terms = "other", random_terms(SMALL)

        def log_partition(self):
            return ours.log_partition() + 0.01

    with pytest.raises(AssertionError, match="other's log partition is off"):
        against.check(Other(), ours)
