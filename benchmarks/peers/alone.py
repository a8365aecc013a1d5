"""Ours by itself: gradients, threads, growth with positions and durations, and the rate of its sums."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numba
import numpy as np

from .against import CALLS, FORWARD, MATCHES, TRAIN
from .ours import Ours
from .problem import Size, forward, random_terms
from .report import Row, Table, Wanted
from .timing import Contender, Effort, interleaved

LARGER = (Size(8, 1000, 100, 24), Size(1, 4000, 100, 24), Size(1, 4000, 1000, 24))
BATCHED = (Size(32, 128, 1, 9), Size(8, 1000, 1, 24), Size(8, 1000, 100, 24))
SINGLE = (Size(1, 10_000, 1, 24), Size(1, 4000, 100, 24), Size(1, 4000, 1000, 24))


def gradients(effort: Effort) -> Table:
    """What the gradient of every term costs, beside the value."""
    sizes = [match.size for match in MATCHES if match.quick or not effort.quick]
    rows = []
    for size in sizes if effort.quick else [*sizes, *LARGER]:
        ours = Ours(random_terms(size))
        found = interleaved({what: Contender(partial(call, ours)) for what, call in CALLS.items()}, effort)
        ratio = found[TRAIN].median / found[FORWARD].median
        rows.append(Row("", str(size), found[FORWARD], found[TRAIN], ratio, Wanted("≤", 3)))
    return Table("Ours alone: gradients, float32", FORWARD, TRAIN, "fwd+bwd/fwd", rows)


def threads(effort: Effort) -> Table:
    """What a second thread saves."""
    rows = list(plain_threads(effort))
    remark = "" if (os.cpu_count() or 1) > 1 else "the machine has one core"
    for size in BATCHED[:1] if effort.quick else (*BATCHED, *SINGLE):
        ours = Ours(random_terms(size))
        wanted = Wanted("≥", 1.7) if size.batch >= 8 else None
        for what, call in CALLS.items():
            contenders = {str(n): Contender(partial(call, ours), threads=n) for n in (1, 2)}
            one, two = interleaved(contenders, effort).values()
            rows.append(Row(what, str(size), one, two, one.median / two.median, wanted, remark))
    return Table("Ours alone: threads, float32", "1 thread", "2 threads", "1 thread/2 threads", rows)


def plain_threads(effort: Effort) -> Iterator[Row]:
    """What a second thread saves where nothing is shared: two loops one after the other, or at once.

    Dot products wait for memory, polynomials for nothing. Where threads share a core, with one another or
    with strangers, neither gains what two cores would give.
    """
    random = np.random.default_rng(0)
    windows, weights = random.random((2, 24, 200)), np.ones((24, 100))
    numbers = random.random((2, 1024))
    loops: dict[str, Callable[[int], object]] = {
        "dot products": lambda i: dot_products(windows[i], weights, 20_000),
        "polynomials": lambda i: polynomials(numbers[i], 5_000),
    }
    with ThreadPoolExecutor(2) as pool:
        for name, loop in loops.items():
            calls = {1: partial(map, loop), 2: partial(pool.map, loop)}
            contenders = {
                str(n): Contender(lambda call=call: list(call((0, 1)))) for n, call in calls.items()
            }
            one, two = interleaved(contenders, effort).values()
            yield Row(f"plain {name}", "", one, two, one.median / two.median, remark="what the machine gives")


def positions(effort: Effort) -> Table:
    """Time a position, of short and of long sequences: of one, and of as many as make the longest together.

    One short sequence takes little longer than what a call costs whatever it is asked for. All on one thread,
    as a second one shortens a long sequence more than a short one.
    """
    lengths = (1_000, 10_000) if effort.quick else (1_000, 10_000, 100_000, 1_000_000)
    longer = replace(effort, seconds=20 * effort.seconds)  # each takes seconds, and a machine has moods
    rows = [
        *each_position([Size(1, T, 100, 24) for T in lengths], effort),
        *each_position([Size(lengths[-1] // T, T, 100, 24) for T in lengths], longer),
    ]
    return Table("Ours alone: time a position, float32", FORWARD, TRAIN, "slowest/fastest", rows)


def each_position(sizes: Sequence[Size], effort: Effort) -> Iterator[Row]:
    """Time a position at each size, on one thread, and the slowest beside the fastest."""
    models = {size: Ours(random_terms(size)) for size in sizes}
    contenders = {
        f"{what} {size}": Contender(partial(call, model), threads=1)
        for size, model in models.items()
        for what, call in CALLS.items()
    }
    found = interleaved(contenders, effort)
    spreads = {what: [found[f"{what} {s}"].over(s.batch * s.time) for s in sizes] for what in CALLS}
    for size, value, gradient in zip(sizes, spreads[FORWARD], spreads[TRAIN], strict=True):
        yield Row("a position", str(size), value, gradient)
    for what, of_sizes in spreads.items():
        fastest, slowest = (pick(of_sizes, key=lambda spread: spread.median) for pick in (min, max))
        ratio = slowest.median / fastest.median
        yield Row(f"{what}: slowest/fastest", "", ratio=ratio, wanted=Wanted("≤", 1.15))


def durations(effort: Effort) -> Table:
    """How time grows with the longest duration."""
    few, many = (Ours(random_terms(Size(1, 1000 if effort.quick else 4000, K, 24))) for K in (100, 1000))
    size = f"B=1 T={few.terms['emissions'].shape[1]} C=24"
    rows = []
    for what, call in CALLS.items():
        short, long = interleaved(
            {"100": Contender(partial(call, few)), "1000": Contender(partial(call, many))}, effort
        ).values()
        rows.append(Row(what, size, short, long, long.median / short.median, Wanted("≤", 10)))
    return Table("Ours alone: growth with durations, float32", "K=100", "K=1000", "K=1000/K=100", rows)


def products(effort: Effort) -> Table:
    """The rate of multiply-adds beside that of a plain loop of dot products, both on one thread.

    Of ours those count that the recursion asks for: the first K positions end shorter segments only. It is
    spared those of segments that have become too small to matter, so that it may be faster than the loop.
    """
    size = Size(1, 2000 if effort.quick else 4000, 1000, 24)
    ours = Ours(random_terms(size))
    window, weights = np.random.default_rng(0).random((2, size.classes, 2 * size.max_duration))
    weights = np.ascontiguousarray(weights[:, : size.max_duration])
    loop, log_partition = interleaved(
        {
            "loop": Contender(lambda: dot_products(window, weights, size.time), threads=1),
            "ours": Contender(partial(forward, ours), threads=1),
        },
        effort,
    ).values()
    whole, needed = (
        size.time * size.max_duration * size.classes,
        size.classes * sum(min(t, size.max_duration) for t in range(1, size.time + 1)),
    )
    rates = [whole / loop.median / 1e9, needed / log_partition.median / 1e9]
    remark = "{:.2f} and {:.2f} G multiply-adds/s, with those that ours leaves out".format(*rates)
    row = Row(FORWARD, str(size), loop, log_partition, rates[1] / rates[0], Wanted("≥", 0.5), remark)
    return Table("Ours alone: beside dot products", "plain loop", "ours", "ours/loop, in rate", [row])


@numba.njit(fastmath=True, nogil=True)
def dot_products(window: Any, weights: Any, positions: int) -> float:
    """C dot products of K numbers a position, over a window that moves by one and starts again after K."""
    labels, longest = weights.shape
    total = 0.0
    for t in range(positions):
        first = t % longest
        for c in range(labels):
            for k in range(longest):
                total += window[c, first + k] * weights[c, k]
    return total


@numba.njit(fastmath=True, nogil=True)
def polynomials(numbers: Any, repeats: int) -> float:
    """The same polynomial of every number, over and over."""
    total = 0.0
    for _ in range(repeats):
        for i in range(numbers.size):
            value = 1.0
            for _ in range(24):
                value = value * numbers[i] + 0.5
            total += value
    return total
