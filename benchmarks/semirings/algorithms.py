"""Algorithms beside each other in one semiring, and semirings beside each other in one algorithm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.peers.problem import Size
from benchmarks.peers.report import Bytes, Row, Table
from benchmarks.peers.timing import Contender, Effort, interleaved
from semicrf_reference import scan
from semicrf_spec import LOG, SEMIRINGS, CheckpointSemiring

from .memory import peak_bytes
from .problem import BASE, FORWARD, QUICK, SWEEP, TRAIN, Problem

PLAIN = "linear_scan_vectorized"
"""What the others are compared with."""


def time(effort: Effort) -> Table:
    """Time of every algorithm at every size."""
    rows: list[Row] = []
    for size in _sizes(effort):
        rows += _time_rows(_algorithms(size), str(size), PLAIN, effort)
    return Table("Algorithms: time, log semiring", FORWARD, TRAIN, f"{TRAIN}, beside {PLAIN}", rows)


def memory(effort: Effort) -> Table:
    """Peak memory of every algorithm at every size."""
    rows = [row for size in _sizes(effort) for row in _memory_rows(_algorithms(size), str(size))]
    return Table("Algorithms: peak memory, log semiring", FORWARD, TRAIN, f"{TRAIN}, beside the edges", rows)


def semirings_time(effort: Effort) -> Table:
    """Time of every semiring on every algorithm."""
    size = _size(effort)
    rows: list[Row] = []
    for algorithm in scan.ALGORITHMS:
        rows += _time_rows(_semirings(algorithm, size), f"{algorithm}, {size}", LOG.name, effort)
    return Table("Semirings: time", FORWARD, TRAIN, f"{TRAIN}, beside {LOG.name}", rows)


def semirings_memory(effort: Effort) -> Table:
    """Peak memory of every semiring on every algorithm."""
    size = _size(effort)
    rows: list[Row] = []
    for algorithm in scan.ALGORITHMS:
        rows += _memory_rows(_semirings(algorithm, size), f"{algorithm}, {size}")
    return Table("Semirings: peak memory", FORWARD, TRAIN, f"{TRAIN}, beside the edges", rows)


def _size(effort: Effort) -> Size:
    return QUICK if effort.quick else BASE


def _sizes(effort: Effort) -> Iterable[Size]:
    return (QUICK,) if effort.quick else SWEEP


def _algorithms(size: Size) -> dict[str, Problem]:
    """Every algorithm, also with its products checkpointed."""
    plain = {name: Problem.of(algorithm, size) for name, algorithm in scan.ALGORITHMS.items()}
    checkpointed = {
        f"{name}, checkpointed": Problem.of(algorithm, size, CheckpointSemiring(LOG))
        for name, algorithm in scan.ALGORITHMS.items()
    }
    return plain | checkpointed


def _semirings(algorithm: str, size: Size) -> dict[str, Problem]:
    return {each.name: Problem.of(scan.ALGORITHMS[algorithm], size, each) for each in SEMIRINGS}


def _time_rows(problems: dict[str, Problem], size: str, plain: str, effort: Effort) -> Iterator[Row]:
    contenders = {}
    for name, problem in problems.items():
        contenders[name, FORWARD] = Contender(problem.forward)
        contenders[name, TRAIN] = Contender(problem.train)
    found = interleaved(contenders, effort)
    for name in problems:
        forward, train = found[name, FORWARD], found[name, TRAIN]
        yield Row(name, size, forward, train, train.median / found[plain, TRAIN].median)


def _memory_rows(problems: dict[str, Problem], size: str) -> Iterator[Row]:
    for name, problem in problems.items():
        problem.train()  # what is made once, such as gradients, is there
        forward, train = (Bytes(peak_bytes(call)) for call in (problem.forward, problem.train))
        yield Row(name, size, forward, train, train.bytes / problem.edge_bytes)
