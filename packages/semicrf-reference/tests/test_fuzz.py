"""Random sequences, of up to 8 positions or 40, over the extremes of every term, compiled against the oracle.

Log partitions and best paths of all 12,800; posteriors of the more than 10,000 whose log partition is `-inf`
or within a million nats of 0. Beyond that a score of -1e9 or lower was unavoidable: only NaN is ruled out.
"""

import numpy as np
import pytest
import torch

from semicrf_reference import compiled, eager
from semicrf_spec.testing import FLOAT64_POSTERIOR, FLOAT64_RELATIVE, assert_close

ROUNDS, BATCH = 640, 20

SIZES = (0.1, 1.0, 30.0, 300.0, 1e3, 1e4)
"""Scores in nats, all of a term or mixed within it: what a sum in float64 holds, and what it does not."""

MASKS = (-np.inf, -np.inf, -1e4, -1e9, -1e30, float(np.finfo(np.float32).min))
"""What people write for forbidden."""


def scores(rng, *shape):
    """One term: of one size or of many, with none, some or most of it masked."""
    sizes = rng.choice(SIZES) if rng.random() < 0.5 else rng.choice(SIZES, size=shape)
    term = rng.standard_normal(shape) * sizes
    share = rng.choice((0.0, 0.0, 0.2, 0.6))
    return np.where(rng.random(shape) < share, rng.choice(MASKS), term)


def stretches(rng, emissions):
    """Labels that differ by 50 nats, position after position."""
    favourite = rng.integers(0, emissions.shape[-1], size=(len(emissions), 1, 1))
    return emissions + 50.0 * (np.arange(emissions.shape[-1]) == favourite)


def one_duration(rng, duration):
    """Every duration of a label forbidden but one."""
    allowed = rng.integers(0, duration.shape[-2], size=duration.shape[-1])
    return np.where(np.arange(duration.shape[-2])[:, None] == allowed, duration, -np.inf)


def limited(rng, duration):
    """Every label with a least and a largest duration of its own."""
    limits = np.sort(rng.integers(0, duration.shape[-2], size=(2, duration.shape[-1])), axis=0)
    lasting = np.arange(duration.shape[-2])[:, None]
    return np.where((lasting >= limits[0]) & (lasting <= limits[1]), duration, -np.inf)


def one_after_the_other(transition):
    """Each label reachable from itself and the one before it only."""
    steps = np.arange(transition.shape[-1])
    reachable = (steps[None, :] - steps[:, None]) % len(steps) <= 1
    return np.where(reachable, transition, -np.inf)


LABELS = (1, 2, 3, 4, 8, 9, 17)
"""Up to one block of vectors, and beyond."""

SHARES = (0.2, 0.2, 0.2, 0.2, 0.05, 0.1, 0.05)


def random_batch(seed):
    """The terms of `BATCH` sequences."""
    rng = np.random.default_rng(seed)
    T, K, C = rng.integers(0, 9), rng.integers(1, 8), rng.choice(LABELS, p=SHARES)
    if seed % 8 == 0:
        T = rng.integers(17, 41)
    terms = {
        "emissions": scores(rng, BATCH, T, C),
        "transition": scores(rng, *([BATCH, T] if rng.random() < 0.3 else []), C, C),
        "duration": scores(rng, *([BATCH] if rng.random() < 0.5 else []), K, C),
        "lengths": rng.integers(0, T + 1, BATCH),
    }
    for name, shape in {"start": (C,), "end": (C,), "begin": (BATCH, T, C), "finish": (BATCH, T, C)}.items():
        if rng.random() < 0.4:
            terms[name] = scores(rng, *shape)
    if rng.random() < 0.2:
        terms["emissions"] = stretches(rng, terms["emissions"])
    if rng.random() < 0.2:
        terms["duration"] = one_duration(rng, terms["duration"])
    elif rng.random() < 0.2:
        terms["duration"] = limited(rng, terms["duration"])
    if rng.random() < 0.2:
        terms["transition"] = one_after_the_other(terms["transition"])
    return {name: torch.from_numpy(np.asarray(term)) for name, term in terms.items()}


def settled(log_partition):
    """Whether no score of -1e9 or lower was unavoidable: the oracle rounds what stands beside it."""
    return torch.isneginf(log_partition) | (log_partition.abs() < 1e6)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_no_extreme_is_answered_otherwise_than_by_the_oracle(part):
    compared = 0
    for seed in range(part * ROUNDS // 10, (part + 1) * ROUNDS // 10):
        terms = random_batch(seed)
        expected = eager.log_partition(**terms)
        assert_close(compiled.log_partition(**terms), expected, FLOAT64_RELATIVE, f"log_partition, {seed}")
        found, those = compiled.posteriors(**terms), settled(expected)
        compared += int(those.sum())
        for name, counts in eager.posteriors(**terms)._asdict().items():
            ours = getattr(found, name)
            assert_close(ours[those], counts[those], FLOAT64_POSTERIOR, f"{name}, {seed}")
            assert not ours.isnan().any(), (name, seed)
        best, wanted = compiled.viterbi(**terms), eager.viterbi(**terms)
        assert torch.equal(best.scores, wanted.scores), seed
        assert best.to_list() == wanted.to_list(), seed
    assert compared >= 1000
