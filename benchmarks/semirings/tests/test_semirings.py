"""What is counted as memory, what is called a band, and that the whole runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from benchmarks.semirings import bands
from benchmarks.semirings.__main__ import TABLES, main
from benchmarks.semirings.memory import peak_bytes
from benchmarks.semirings.problem import QUICK, Problem
from semicrf_reference.scan import ALGORITHMS
from semicrf_spec import KL_DIVERGENCE

MEGABYTE = 1_000_000


def doubles(number=MEGABYTE // 8):
    return torch.ones(number, dtype=torch.float64)


def test_the_peak_counts_what_is_alive_together():
    assert peak_bytes(doubles) == MEGABYTE
    assert peak_bytes(lambda: [doubles(), doubles()]) == 2 * MEGABYTE
    assert peak_bytes(lambda: [doubles().sum(), doubles().sum()]) < 1.1 * MEGABYTE


def test_the_peak_counts_no_memory_twice_and_what_autograd_keeps_once():
    x = doubles()
    assert peak_bytes(lambda: x.view(2, -1).t()) == 0
    leaf = x.requires_grad_()
    assert peak_bytes(lambda: leaf.exp().sin()) == 2 * MEGABYTE


def test_a_problem_learns_by_all_its_edges():
    problem = Problem.of(ALGORITHMS["binary_tree"], QUICK, KL_DIVERGENCE)
    problem.train()
    assert len(problem.edges) == 2
    assert all(leaf.grad.any() for leaf in problem.edges)
    assert problem.forward().shape == (1, 3)


def test_a_span_moves_older_boundaries_on_and_reaches_every_newer_one():
    longest, classes = 4, 2
    for length, found in enumerate(bands.patterns(longest, classes, 6), start=1):
        newer = min(length, longest) * classes
        assert found[:, :newer].all()
        older = found[:, newer:]
        assert np.array_equal(older, np.eye(len(found), dtype=bool)[:, : older.shape[1]])


def test_bands_are_measured_from_the_diagonal():
    pattern = np.eye(5, dtype=bool)
    assert bands.bandwidth(pattern, range(5)) == 0.0
    pattern[0, 2] = True
    assert bands.bandwidth(pattern, range(5)) == 0.5
    assert bands.bandwidth(pattern, [1, 0, 2, 3, 4]) == 0.25


def test_multiply_adds_are_counted_where_neither_factor_is_zero():
    lower = np.tril(np.ones((4, 4), dtype=bool))
    pairs = [(i, j, k) for i in range(4) for j in range(4) for k in range(4) if lower[i, k] and lower[k, j]]
    assert bands.products(lower) == len(pairs) / 4**3
    assert bands.products(np.eye(4, dtype=bool)) == 1 / 16


@pytest.mark.parametrize("order", bands.ORDERS.values(), ids=bands.ORDERS)
def test_an_order_holds_every_state_once_and_goes_below_no_lower_bound(order):
    for found in bands.patterns(4, 3, 8):
        states = order(found, 3)
        assert sorted(states) == list(range(len(found)))
        assert bands.bandwidth(found, states) >= bands.lower_bound(found)


def test_cuthill_mckee_finds_the_band_of_a_chain_in_disorder():
    chain = np.eye(9, dtype=bool) | np.eye(9, k=1, dtype=bool)
    shuffled = np.random.default_rng(0).permutation(9)
    pattern = chain[np.ix_(shuffled, shuffled)]
    assert bands.bandwidth(pattern, range(9)) > 0.125
    assert bands.bandwidth(pattern, bands.cuthill_mckee(pattern, 1)) == 0.125


def test_a_quick_run_writes_every_table(tmp_path):
    assert main(["--quick", "--output", str(tmp_path)]) == 0
    numbers = json.loads((tmp_path / "semirings.json").read_text("utf-8"))
    assert [len(table["rows"]) > 0 for table in numbers["tables"]] == [True] * len(TABLES)
    assert numbers["command"].startswith("python -m benchmarks.semirings --quick")
    assert "linear_scan_vectorized" in (tmp_path / "semirings.md").read_text("utf-8")
