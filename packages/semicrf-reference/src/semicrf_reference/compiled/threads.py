"""Threads over sequences and directions; the kernels release the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import torch

from semicrf_reference.compiled.problem import Problem

SMALL_WORK = 600_000
"""Multiply-adds below which handing work to another thread costs more than doing it: half a millisecond."""

Job = tuple[Callable[..., None], tuple[Any, ...]]
"""A batch kernel and its arguments, but for the range of sequences that come first, and what it works in."""


def run(
    *jobs: Job,
    over: Problem,
    scans: float = 1.0,
    space: Callable[[], tuple[Any, ...]] = tuple,
    parts: list[tuple[int, int]] | None = None,
) -> None:
    """Run every job for every sequence, on as many threads as PyTorch would use, this one among them.

    Which thread does what changes no bit: a task is done by one thread, and no two tasks write to one place.

    Args:
        scans: as how many scans that only sum all of it takes.
        space: makes what one thread works in; jobs get it as their last arguments.
        parts: the ranges of sequences that belong together; as suits the threads, if not given.
    """
    threads = threads_for(over, scans)
    parts = parts or parts_of(over.size.batch, 1 if threads == 1 else 4 * threads)
    tasks = [partial(kernel, *part, *arguments) for part in parts for kernel, arguments in jobs]
    waiting = iter(tasks)

    def begin_no_more() -> None:
        for _ in waiting:
            pass

    def work() -> None:
        own: tuple[Any, ...] | None = None
        try:
            for task in waiting:  # every thread takes the next
                own = space() if own is None else own
                task(*own)
        finally:
            begin_no_more()

    offers = [Offer(work) for _ in range(min(threads, len(tasks)) - 1)]
    try:
        hand_over(offers)
        work()
    finally:
        begin_no_more()
        errors = [offer.end() for offer in offers]
    for error in errors:
        if error is not None:
            raise error


def threads_for(problem: Problem, scans: float) -> int:
    """As many threads as PyTorch would use; one for what is done sooner than handed over."""
    return 1 if problem.operations * scans < SMALL_WORK else torch.get_num_threads()


def parts_of(batch: int, count: int) -> list[tuple[int, int]]:
    """At most `count` ranges that tile `[0, batch)`: more than threads, so that ragged ones balance."""
    count = min(batch, count)
    bounds = [batch * i // max(count, 1) for i in range(count + 1)]
    return list(pairwise(bounds))


class Offer:
    """Work that a helper may begin, until it is taken back."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._offers = [work]  # taken once, by whoever is first
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def begin(self) -> None:
        """Do the work, unless it has been taken back."""
        with suppress(IndexError):
            work = self._offers.pop()
            error: BaseException | None = None
            try:
                work()
            except BaseException as raised:  # the caller's, as all that it is told
                error = raised
            self._ended.put(error)

    def end(self) -> BaseException | None:
        """Take it back, or wait for who has begun. Returns: the error that this ended with."""
        with suppress(IndexError):
            self._offers.pop()
            return None
        return self._ended.get()


class Helpers:
    """The threads of this process that help those that call.

    They are handed work sooner than a `concurrent.futures` pool hands it over, which short scans notice.
    """

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Offer] = SimpleQueue()
        self._count = 0
        self._counting = Lock()

    def gather(self, count: int) -> None:
        """Have so many at least; fewer where the system has no more threads, as the caller works too."""
        with self._counting, suppress(RuntimeError):
            while self._count < count:
                Thread(target=self._help, name=f"semicrf_{self._count}", daemon=True).start()
                self._count += 1

    def _help(self) -> None:
        while True:
            self.inbox.get().begin()


_helpers = Helpers()


def hand_over(offers: list[Offer]) -> None:
    """Offer work to as many helpers."""
    _helpers.gather(len(offers))
    for offer in offers:
        _helpers.inbox.put(offer)


def _forget_helpers() -> None:
    global _helpers
    _helpers = Helpers()


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_forget_helpers)
