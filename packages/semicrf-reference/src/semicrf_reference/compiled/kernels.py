"""The CPU kernels of the operators `semicrf::*`: tensors in, scans over their memory, tensors out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semicrf_reference.compiled.problem import Counts, Messages, Problem, along_time
from semicrf_reference.compiled.scan import backward_batch, forward_batch
from semicrf_reference.compiled.statistics import statistics_batch
from semicrf_reference.compiled.threads import run
from semicrf_reference.compiled.viterbi import viterbi_batch
from semicrf_spec.operators import NO_LABEL


def log_partition(*terms: Tensor | None) -> Tensor:
    """`semicrf::log_partition`: one scan that keeps nothing but its window."""
    problem = Problem.of(terms)
    total = np.empty((problem.size.batch, 2))
    run((forward_batch, (*problem.arrays, *Messages.passing(problem.size), total)), over=problem)
    return torch.from_numpy(total.sum(1))


def posteriors(*terms: Tensor | None) -> tuple[Tensor, ...]:
    """`semicrf::posteriors`: both scans side by side, then sums over what they left."""
    problem = Problem.of(terms)
    batch, time, _, classes = problem.size
    forward, backward = Messages.kept(problem.size), Messages.kept(problem.size)
    total = np.empty((batch, 2))
    run(
        (forward_batch, (*problem.arrays, *forward, total)),
        (backward_batch, (*problem.arrays, *backward)),
        over=problem,
    )
    shared = terms[1] is not None and terms[1].ndim == 2
    transitions = np.zeros((batch, classes, classes) if shared else (batch, time, classes, classes))
    counts = Counts.zeros(problem.size, along_time(transitions, time) if shared else transitions)
    run((statistics_batch, (*problem.arrays, *forward, *backward, total, *counts)), over=problem)
    answers = (total.sum(1), *counts._replace(transitions=transitions))
    return tuple(map(torch.from_numpy, answers))


def viterbi(*terms: Tensor | None) -> tuple[Tensor, ...]:
    """`semicrf::viterbi`: scores, labels and durations."""
    problem = Problem.of(terms)
    batch, time = problem.size.batch, problem.size.time
    scores, labels = np.empty(batch), np.full((batch, time), NO_LABEL, np.int64)
    durations = np.zeros_like(labels)
    run((viterbi_batch, (*problem.arrays, scores, labels, durations)), over=problem)
    return tuple(map(torch.from_numpy, (scores, labels, durations)))


def register() -> None:
    """Make these the CPU kernels of the operators."""
    for kernel in (log_partition, posteriors, viterbi):
        torch.library.impl(f"semicrf::{kernel.__name__}", "cpu", kernel)
