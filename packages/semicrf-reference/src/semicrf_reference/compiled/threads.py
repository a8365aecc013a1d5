"""Threads over sequences and directions; the kernels release the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from semicrf_reference.compiled.problem import Problem

SMALL_WORK = 100_000
"""Multiply-adds below which handing work to another thread costs more than doing it."""

Job = tuple[Callable[..., None], tuple[Any, ...]]
"""A batch kernel and its arguments, but for the range of sequences that come first, and what it works in."""

_pools: dict[int, ThreadPoolExecutor] = {}


def run(
    *jobs: Job,
    over: Problem,
    space: Callable[[], tuple[Any, ...]] = tuple,
    parts: list[tuple[int, int]] | None = None,
) -> None:
    """Run every job for every sequence, on as many threads as PyTorch would use, this one among them.

    Which thread does what changes no bit: a task is done by one thread, and no two tasks write to one place.

    Args:
        space: makes what one thread works in; jobs get it as their last arguments.
        parts: the ranges of sequences that belong together; as suits the threads, if not given.
    """
    threads = threads_for(over)
    parts = parts or parts_of(over.size.batch, 1 if threads == 1 else 4 * threads)
    tasks = [partial(kernel, *part, *arguments) for part in parts for kernel, arguments in jobs]
    waiting = iter(tasks)

    def work() -> None:
        try:
            own = space()
            for task in waiting:  # every thread takes the next
                task(*own)
        finally:
            for _ in waiting:  # nothing more is begun where a thread failed or was interrupted
                pass

    helpers = [pool(threads - 1).submit(work) for _ in range(min(threads, len(tasks)) - 1)]
    try:
        work()
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]
        for helper in begun:
            helper.exception()  # waits for it
    for helper in begun:
        helper.result()


def threads_for(problem: Problem) -> int:
    """As many threads as PyTorch would use; one for what is done sooner than handed over."""
    return 1 if problem.operations < SMALL_WORK else torch.get_num_threads()


def parts_of(batch: int, count: int) -> list[tuple[int, int]]:
    """At most `count` ranges that tile `[0, batch)`: more than threads, so that ragged ones balance."""
    count = min(batch, count)
    bounds = [batch * i // max(count, 1) for i in range(count + 1)]
    return list(pairwise(bounds))


def pool(threads: int) -> ThreadPoolExecutor:
    """Threads of this process to help the one that calls."""
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="semicrf")
    return _pools[threads]


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_pools.clear)
