"""The CPU kernels of the operators `semicrf::*`: tensors in, scans over their memory, tensors out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semicrf_reference.compiled.lane_scans import lanes_batch
from semicrf_reference.compiled.lane_viterbi import lanes_decoding_space, viterbi_lanes
from semicrf_reference.compiled.lanes import POSITIONS, lanes_state, side_by_side
from semicrf_reference.compiled.moments import FIRST, SECOND, TOTAL, means_space, moments_batch, open_space
from semicrf_reference.compiled.problem import Answers, Array, Problem
from semicrf_reference.compiled.ranking import rank_batch, ranks_space
from semicrf_reference.compiled.sample import sample_batch, sample_segments_batch
from semicrf_reference.compiled.scan import (
    JOIN,
    KEEP_BACKWARD,
    KEEP_FORWARD,
    MEET_BACKWARD,
    MEET_FORWARD,
    PASS,
    scan_batch,
)
from semicrf_reference.compiled.state import kept_messages, scan_state
from semicrf_reference.compiled.threads import parts_of, run, threads_for
from semicrf_reference.compiled.vectors import LANES
from semicrf_reference.compiled.viterbi import decoding_space, viterbi_batch
from semicrf_spec import SHAPES
from semicrf_spec.operators import NO_LABEL, terms_and_boundaries

GRADIENTS = 3.0
"""As many scans take as long, without gradients, as one with them."""

MOMENTS = 10.0
"""And as one of moments."""

AMONG_LANES = POSITIONS / LANES
"""And as one of as many sequences side by side."""


def log_partition(*terms: Tensor | None) -> Tensor:
    """`semicrf::log_partition`: one scan that keeps nothing but its window."""
    problem = Problem.of(terms)
    answers = Answers.of_log_partition(problem.size)

    def space() -> tuple[Any, ...]:
        return kept_messages(np.empty((1, 0, problem.size.classes))), scan_state(problem.size)

    def scanned(first: int, last: int, kept: Any, state: Any) -> None:
        scan_batch(first, last, PASS, PASS + 1, problem.arrays, tuple(answers), kept, state, state)

    if problem.by_segment:
        run_moments(problem, answers, TOTAL, problem.values())
    elif side_by_side(problem):
        run_lanes(problem, answers, False, lambda first, last: scanned(first, last, *space()))
    else:
        run((scanned, ()), over=problem, space=space)
    return torch.from_numpy(answers.total)


def posteriors(*arguments: Any) -> tuple[Tensor, ...]:
    """`semicrf::posteriors`: two scans that meet, side by side where threads outnumber sequences."""
    terms, boundaries = terms_and_boundaries(arguments)
    problem = Problem.of(terms)
    batch, time, _, classes = problem.size
    answers = Answers.of_posteriors(problem, boundaries, added=problem.by_segment)

    def space() -> tuple[tuple[Array, ...], ...]:
        kept = kept_messages(answers.begins if boundaries else np.empty((1, time, classes)))
        return kept, scan_state(problem.size), scan_state(problem.size)

    def all_phases(first: int, last: int, *space: Any) -> None:
        scan_batch(first, last, 0, PASS, problem.arrays, tuple(answers), *space)

    if problem.by_segment:
        run_moments(problem, answers, FIRST, problem.values())
    elif side_by_side(problem):
        run_lanes(problem, answers, True, lambda first, last: all_phases(first, last, *space()))
    elif batch >= threads_for(problem, GRADIENTS):
        run((all_phases, ()), over=problem, scans=GRADIENTS, space=space)
    else:
        spaces = [space() for _ in range(batch)]

        def one_phase(first: int, last: int, phase: int) -> None:
            for b in range(first, last):
                scan_batch(b, b + 1, phase, phase + 1, problem.arrays, tuple(answers), *spaces[b])

        run((one_phase, (KEEP_FORWARD,)), (one_phase, (KEEP_BACKWARD,)), over=problem, scans=GRADIENTS)
        run((one_phase, (JOIN,)), over=problem)
        run((one_phase, (MEET_FORWARD,)), (one_phase, (MEET_BACKWARD,)), over=problem, scans=GRADIENTS)

    return torch.from_numpy(answers.total), *map(torch.from_numpy, answers.statistics(problem, boundaries))


def covariances(*arguments: Any) -> tuple[Tensor, ...]:
    """`semicrf::covariances`: two scans one after the other, with means beside their messages."""
    count = len(SHAPES)
    terms, given, boundaries = arguments[:count], arguments[count:-1], arguments[-1]
    problem = Problem.of(terms)
    values = problem.values(given)
    answers = Answers.of_posteriors(problem, boundaries, added=True)
    run_moments(problem, answers, SECOND, values)
    found = answers.statistics(problem, boundaries)
    unknown = problem.has_unknown(values)
    for counts in found:
        counts[unknown] = math.nan
    return tuple(map(torch.from_numpy, found))


def viterbi(*terms: Tensor | None) -> tuple[Tensor, ...]:
    """`semicrf::viterbi`: scores, labels and durations.

    Lanes and the scan give the same bits, so that what serves may depend on how many threads there are.
    """
    problem = Problem.of(terms)
    batch, time = problem.size.batch, problem.size.time
    scores, labels = np.empty(batch), np.full((batch, time), NO_LABEL, np.int64)
    durations = np.zeros_like(labels)
    lanes = side_by_side(problem, threads_for(problem, AMONG_LANES))
    kernel, space_of = (viterbi_lanes, lanes_decoding_space) if lanes else (viterbi_batch, decoding_space)

    def space() -> tuple[Any, ...]:
        return (space_of(problem.size),)

    def decoded(first: int, last: int, space: Any) -> None:
        kernel(first, last, problem.arrays, scores, labels, durations, space)

    if lanes:
        run((decoded, ()), over=problem, scans=AMONG_LANES, space=space, parts=groups_of(problem))
    else:
        run((decoded, ()), over=problem, space=space)
    return tuple(map(torch.from_numpy, (scores, labels, durations)))


def top_k(*arguments: Any) -> tuple[Tensor, ...]:
    """`semicrf::top_k`: scores, labels and durations of the k best."""
    *terms, k = arguments
    problem = Problem.of(terms)
    batch, time = problem.size.batch, problem.size.time
    scores, labels = np.empty((k, batch)), np.full((k, batch, time), NO_LABEL, np.int64)
    durations = np.zeros_like(labels)

    def space() -> tuple[Any, ...]:
        return (tuple(ranks_space(problem.size, k)),)

    def ranked(first: int, last: int, space: Any) -> None:
        rank_batch(first, last, problem.arrays, scores, labels, durations, space)

    run((ranked, ()), over=problem, scans=k, space=space)
    return tuple(map(torch.from_numpy, (scores, labels, durations)))


def sample(*arguments: Any) -> tuple[Tensor, ...]:
    """`semicrf::sample`: a scan that keeps its messages, then a walk for each sample."""
    *terms, given = arguments
    problem = Problem.of(terms)
    size, uniforms = problem.size, given.contiguous().numpy()
    labels = np.full(uniforms.shape[:-1], NO_LABEL, np.int64)
    durations = np.zeros_like(labels)

    def space() -> tuple[Any, ...]:
        messages = np.empty((2, 1, size.time, size.classes))
        answers = Answers.of_log_partition(size)._replace(position=messages[0])
        found = tuple(answers), kept_messages(messages[1]), scan_state(size)
        if problem.by_segment:
            return problem.values(), *found, means_space(size.time, size.classes), open_space(size)
        return np.zeros((2, size.time)), *found

    def drawn(first: int, last: int, *space: Any) -> None:
        kernel = sample_segments_batch if problem.by_segment else sample_batch
        kernel(first, last, problem.arrays, uniforms, labels, durations, *space)

    run((drawn, ()), over=problem, space=space)
    return torch.from_numpy(labels), torch.from_numpy(durations)


def run_moments(problem: Problem, answers: Answers, order: Any, values: tuple[Array, ...]) -> None:
    """Run the scans of moments."""
    _, time, _, classes = problem.size

    def space() -> tuple[tuple[Array, ...], ...]:
        rows = 2 if order == TOTAL else time
        return means_space(rows, classes), means_space(2, classes), open_space(problem.size)

    def scanned(first: int, last: int, *space: Any) -> None:
        moments_batch(first, last, order, problem.arrays, values, tuple(answers), *space)

    run((scanned, ()), over=problem, scans=MOMENTS, space=space)


def run_lanes(problem: Problem, answers: Answers, gradients: bool, scan: Callable[[int, int], None]) -> None:
    """Run lanes, and the scan for those sequences where they do not serve."""

    def scanned(first: int, last: int, state: tuple[Array, ...]) -> None:
        if not lanes_batch(first, last, gradients, problem.arrays, tuple(answers), state):
            scan(first, last)

    run(
        (scanned, ()),
        over=problem,
        scans=GRADIENTS * AMONG_LANES if gradients else AMONG_LANES,
        space=lambda: (lanes_state(problem.size, gradients),),
        parts=groups_of(problem),
    )


def groups_of(problem: Problem) -> list[tuple[int, int]]:
    """The sequences that stand side by side."""
    return parts_of(problem.size.batch, math.ceil(problem.size.batch / LANES))


def register() -> None:
    """Make these the CPU kernels of the operators."""
    for kernel in (log_partition, posteriors, covariances, viterbi, top_k, sample):
        torch.library.impl(f"semicrf::{kernel.__name__}", "cpu", kernel)
