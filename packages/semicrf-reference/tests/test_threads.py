"""Threads of the kernels' own, threads of the caller's, and processes that fork."""

import gc
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from semicrf_reference import compiled
from semicrf_reference.compiled import threads
from semicrf_reference.compiled.threads import SMALL_WORK, parts_of, run
from semicrf_spec.cost import Size, scan_operations
from semicrf_spec.testing import random_potentials

PATIENCE = 60.0
"""Seconds after which what has not answered is taken for dead."""

PARALLEL = dict(random_potentials(6, 150, 40, 6, seed=90).map(torch.from_numpy).items())
"""Enough work that the kernels share it out among threads."""

fork_needed = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
# From Python 3.12 on: forking a process that has threads is what these tests are about.
fork_allowed = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def answers():
    return [
        compiled.log_partition(**PARALLEL),
        *compiled.posteriors(**PARALLEL),
        compiled.viterbi(**PARALLEL).labels,
    ]


def same_bits(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def kernel_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("semicrf")]


@given(st.integers(0, 500), st.integers(1, 64))
def test_parts_tile_the_batch_in_order_and_differ_by_one_at_most(batch, count):
    parts = parts_of(batch, count)
    assert [b for first, last in parts for b in range(first, last)] == list(range(batch))
    assert len(parts) == min(batch, count)
    sizes = [last - first for first, last in parts]
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


def test_large_problems_use_a_thread_of_their_own_beside_this_one_and_small_ones_do_not(
    two_threads, monkeypatch
):
    monkeypatch.setattr(threads, "SMALL_WORK", SMALL_WORK)
    used, meeting = [], threading.Barrier(2)

    def job(first, last):
        used.append(threading.current_thread())

    def met(first, last):
        job(first, last)
        if len(used) <= 2:
            meeting.wait(PATIENCE / 10)

    def batch_of(size):
        return SimpleNamespace(size=size, operations=scan_operations("compiled", size))

    run((job, ()), over=batch_of(Size(1, 10, 3, 2)))
    run((job, ()), over=batch_of(Size(6, 10, 3, 2)), scans=3.0)
    assert set(used) == {threading.current_thread()}
    for size, scans in ((Size(6, 1000, 50, 8), 1.0), (Size(6, 100, 50, 8), 3.0)):
        used.clear()
        meeting.reset()
        run((met, ()), over=batch_of(size), scans=scans)
        assert len(used) == 6
        assert threading.current_thread() in used
        assert all(thread.name.startswith("semicrf") for thread in set(used) - {threading.current_thread()})
    used.clear()
    run((job, ()), over=batch_of(Size(6, 100, 50, 8)), scans=1.0)
    assert set(used) == {threading.current_thread()}


def test_every_job_runs_once_for_every_sequence(two_threads):
    done = []

    def job(first, last, name):
        done.extend((name, b) for b in range(first, last))

    run((job, ("alpha",)), (job, ("beta",)), over=SimpleNamespace(size=Size(11, 9, 9, 9), operations=1e9))
    assert sorted(done) == sorted((name, b) for name in ("alpha", "beta") for b in range(11))


def test_every_thread_works_in_one_space_of_its_own(two_threads):
    spaces, used, meeting = [], [], threading.Barrier(2)

    def space():
        spaces.append(threading.current_thread())
        return (threading.current_thread(),)

    def job(first, last, maker):
        used.append((threading.current_thread(), maker))
        if len(used) <= 2:
            meeting.wait(PATIENCE / 10)

    run((job, ()), over=SimpleNamespace(size=Size(8, 9, 9, 9), operations=1e9), space=space)
    assert len(used) == 8
    assert len(spaces) == len(set(spaces)) == 2
    assert all(maker is thread for thread, maker in used)


def test_an_error_here_leaves_the_rest_undone_and_waits_for_who_is_at_work(two_threads):
    here, begun, ended, done = threading.current_thread(), threading.Event(), [], []

    def job(first, last):
        done.append(first)
        if threading.current_thread() is here:
            begun.wait(PATIENCE / 10)
            raise ZeroDivisionError
        begun.set()
        time.sleep(0.05)
        ended.append(first)

    with pytest.raises(ZeroDivisionError):
        run((job, ()), over=SimpleNamespace(size=Size(100, 9, 9, 9), operations=1e9))
    assert len(ended) == len(done) - 1 >= 1
    assert len(done) < 8


@pytest.mark.parametrize("threads", [2, 4])
def test_as_many_threads_work_at_once_as_pytorch_would_use(threads):
    torch.set_num_threads(threads)
    meeting = threading.Barrier(threads)

    def job(first, last):
        meeting.wait(PATIENCE / 10)  # raises unless so many are here together

    run((job, ()), over=SimpleNamespace(size=Size(threads, 9, 9, 9), operations=1e9))


def test_what_a_job_raises_reaches_the_caller():
    def job(first, last):
        raise ZeroDivisionError(f"sequence {first}")

    with pytest.raises(ZeroDivisionError, match="sequence 0"):
        run((job, ()), over=SimpleNamespace(size=Size(2, 9, 9, 9), operations=1))


def test_what_a_job_raises_in_another_thread_reaches_the_caller_once_all_have_ended():
    torch.set_num_threads(4)
    here, meeting, at_work, ended = threading.current_thread(), threading.Barrier(4), [], []

    def job(first, last):
        at_work.append(first)
        place = meeting.wait(PATIENCE / 10) if len(at_work) <= 4 else 0
        if threading.current_thread() is not here and failing.acquire(blocking=False):
            raise ZeroDivisionError
        time.sleep(0.02 * (1 + place))
        ended.append(first)

    failing = threading.Semaphore(1)
    with pytest.raises(ZeroDivisionError):
        run((job, ()), over=SimpleNamespace(size=Size(100, 9, 9, 9), operations=1e9))
    assert len(ended) == len(at_work) - 1
    assert len(at_work) < 16  # the rest was left undone


def test_several_python_threads_at_once_get_the_same_bits(two_threads):
    expected = answers()
    with ThreadPoolExecutor(8) as callers:
        found = [done.result(PATIENCE) for done in [callers.submit(answers) for _ in range(32)]]
    assert kernel_threads()
    assert all(same_bits(given, expected) for given in found)


def test_several_python_threads_at_once_get_the_same_gradients(two_threads):
    def gradients():
        leaves = {name: term.clone().requires_grad_() for name, term in PARALLEL.items()}
        return torch.autograd.grad(compiled.log_partition(**leaves).sum(), list(leaves.values()))

    expected = gradients()
    with ThreadPoolExecutor(6) as callers:
        found = [done.result(PATIENCE) for done in [callers.submit(gradients) for _ in range(18)]]
    assert all(same_bits(given, expected) for given in found)


def test_other_threads_go_on_while_a_kernel_runs():
    long = random_potentials(1, 100_000, 400, 8, seed=91, optional=False)
    terms = dict(long.map(torch.from_numpy).items())
    compiled.log_partition(**PARALLEL)  # nothing is left to compile
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.wait(0.001):
            ticks.append(time.perf_counter())

    other = threading.Thread(target=tick)
    other.start()
    begun = time.perf_counter()
    compiled.log_partition(**terms)
    ended = time.perf_counter()
    stop.set()
    other.join()
    margin = (ended - begun) / 4  # checks and copies at either end need the lock
    assert sum(begun + margin < t < ended - margin for t in ticks) >= 5


def answer_in_a_child(expected, verdict):
    torch.set_num_threads(2)
    verdict.put((same_bits(answers(), expected), len(kernel_threads())))


@fork_needed
@fork_allowed
def test_a_forked_child_answers_though_its_parents_threads_are_gone(two_threads):
    expected = answers()
    assert kernel_threads()
    context = multiprocessing.get_context("fork")
    verdict = context.SimpleQueue()
    child = context.Process(target=answer_in_a_child, args=(expected, verdict))
    child.start()
    child.join(PATIENCE)
    if child.is_alive():
        child.kill()
        pytest.fail("the child hangs")
    assert child.exitcode == 0
    same, threads = verdict.get()
    assert same
    assert threads == 1  # beside the one that calls
    assert same_bits(answers(), expected)  # and the parent goes on


class Decoded(Dataset):
    """Items that take a kernel to make."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return compiled.viterbi(**PARALLEL).labels[index]


@fork_needed
@fork_allowed
def test_a_data_loaders_worker_answers_after_the_parent_has(two_threads):
    expected = compiled.viterbi(**PARALLEL).labels
    assert kernel_threads()
    loader = DataLoader(Decoded(), num_workers=1, multiprocessing_context="fork", timeout=PATIENCE)
    for labels, wanted in zip(loader, expected, strict=False):
        assert torch.equal(labels[0], wanted)


def helped():
    """Whether another thread takes part in a call."""
    used, meeting = set(), threading.Barrier(2)

    def job(first, last):
        used.add(threading.current_thread())
        with suppress(threading.BrokenBarrierError):
            meeting.wait(PATIENCE / 10)

    run((job, ()), over=SimpleNamespace(size=Size(2, 9, 9, 9), operations=1e9))
    return len(used) == 2


def test_a_call_does_without_help_where_no_thread_can_be_had_and_later_ones_have_it_again(monkeypatch):
    def refused(thread):
        raise RuntimeError("can't start new thread")

    torch.set_num_threads(2)
    expected = answers()
    torch.set_num_threads(64)
    monkeypatch.setattr(threading.Thread, "start", refused)
    assert same_bits(answers(), expected)
    monkeypatch.undo()
    torch.set_num_threads(2)
    assert helped()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_calls_have_help_after_any_number_of_interrupts(two_threads):
    def interrupt(signum, frame):
        raise KeyboardInterrupt

    answers()
    before, random = signal.signal(signal.SIGALRM, interrupt), np.random.default_rng(0)
    gc.disable()  # what is raised while it collects is lost
    try:
        for _ in range(300):
            with suppress(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-3))
                deadline = time.monotonic() + 0.01
                while time.monotonic() < deadline:
                    run((lambda *_: None, ()), over=SimpleNamespace(size=Size(2, 9, 9, 9), operations=1e9))
    finally:
        gc.enable()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert helped()


def test_an_error_in_one_call_leaves_nothing_broken(two_threads):
    expected = answers()
    broken = {**PARALLEL, "emissions": PARALLEL["emissions"].clone()}
    broken["emissions"][3, 7, 1] = float("nan")
    for name in ("log_partition", "posteriors", "viterbi", "entropy"):
        with pytest.raises(ValueError, match=r"emissions\[3, 7, 1\]"):
            getattr(compiled, name)(**broken)
    assert same_bits(answers(), expected)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_an_interrupted_call_leaves_nothing_broken(two_threads):
    long = dict(random_potentials(1, 60_000, 400, 8, seed=92, optional=False).map(torch.from_numpy).items())
    expected = answers()

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    def call_until_interrupted():
        while True:
            compiled.posteriors(**long)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for seconds in (0.001, 0.01, 0.05):
            signal.setitimer(signal.ITIMER_REAL, seconds)
            with pytest.raises(KeyboardInterrupt):
                call_until_interrupted()
            assert same_bits(answers(), expected)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
