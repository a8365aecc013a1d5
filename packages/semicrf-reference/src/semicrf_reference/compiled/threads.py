"""Threads over sequences and directions; the kernels release the GIL."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, ClassVar

import torch

from semicrf_reference.compiled.problem import Problem

SMALL_WORK = 100_000
"""Multiply-adds below which handing work to another thread costs more than doing it."""

Job = tuple[Callable[..., None], tuple[Any, ...]]
"""A batch kernel and its arguments, but for the range of sequences that come first, and what it works in."""


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
        own: tuple[Any, ...] | None = None
        try:
            for task in waiting:  # every thread takes the next
                own = space() if own is None else own
                task(*own)
        finally:
            for _ in waiting:  # nothing more is begun where a thread failed or was interrupted
                pass

    helping = [helper.begin(work) for helper in helpers(min(threads, len(tasks)) - 1)]
    try:
        work()
    finally:
        errors = [ended.get() for ended in helping]  # waits for all
    for error in errors:
        if error is not None:
            raise error


def threads_for(problem: Problem) -> int:
    """As many threads as PyTorch would use; one for what is done sooner than handed over."""
    return 1 if problem.operations < SMALL_WORK else torch.get_num_threads()


def parts_of(batch: int, count: int) -> list[tuple[int, int]]:
    """At most `count` ranges that tile `[0, batch)`: more than threads, so that ragged ones balance."""
    count = min(batch, count)
    bounds = [batch * i // max(count, 1) for i in range(count + 1)]
    return list(pairwise(bounds))


class Helper:
    """A thread of this process that helps those that call, one at a time.

    It is handed work in a tenth of the time that a `concurrent.futures` pool takes, 10 microseconds and not
    100, which short scans notice.
    """

    idle: ClassVar[deque[Helper]] = deque()
    count = 0
    counting = Lock()

    def __init__(self) -> None:
        self._inbox: SimpleQueue[tuple[Callable[[], None], SimpleQueue[BaseException | None]]] = SimpleQueue()
        Thread(target=self._help, name=f"semicrf_{Helper.count}", daemon=True).start()

    def begin(self, work: Callable[[], None]) -> SimpleQueue[BaseException | None]:
        """Begin the work. Returns: where its error comes once it has ended, None if there is none."""
        ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._inbox.put((work, ended))
        return ended

    def _help(self) -> None:
        while True:
            work, ended = self._inbox.get()
            error: BaseException | None = None
            try:
                work()
            except BaseException as raised:  # the caller's, as all that it is told
                error = raised
            del work  # and with it the arrays of the call
            Helper.idle.append(self)
            ended.put(error)
            del ended, error


def helpers(most: int) -> list[Helper]:
    """Helpers that are idle, so many at most; others are made while there are not so many in all."""
    found: list[Helper] = []
    while len(found) < most:
        try:
            found.append(Helper.idle.pop())
        except IndexError:
            with Helper.counting:
                if Helper.count >= most:
                    break
                Helper.count += 1
            found.append(Helper())
    return found


def _forget_helpers() -> None:
    Helper.idle, Helper.count, Helper.counting = deque(), 0, Lock()


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_forget_helpers)
