"""Seconds, contenders in turn: what disturbs the machine disturbs all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from timeit import timeit

import torch

SHORTEST = 0.1
"""Seconds that one measurement takes at least: shorter calls are repeated within it, as caches are cold at
first, after what was measured before."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: for about so many seconds, in three rounds at least, in so many at most."""

    seconds: float = 10.0
    rounds: int = 25
    quick: bool = False

    def rounds_of(self, seconds: float) -> int:
        """How many rounds that take so many seconds each."""
        return max(min(3, self.rounds), min(self.rounds, int(self.seconds / seconds)))


QUICK = Effort(seconds=0.0, rounds=1, quick=True)


@dataclass(frozen=True)
class Contender:
    """A call, and the number of threads it may use; PyTorch's if missing."""

    call: Callable[[], object]
    threads: int | None = None

    def seconds(self, number: int = 1) -> float:
        """Seconds a call, over so many of them."""
        before = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            return timeit(self.call, number=number) / number
        finally:
            if self.threads is not None:
                torch.set_num_threads(before)


@dataclass(frozen=True)
class Spread:
    """Seconds: the median of some repeats, and their quartiles."""

    lower: float
    median: float
    upper: float
    repeats: int

    @classmethod
    def of(cls, seconds: list[float]) -> Spread:
        if len(seconds) < 2:
            return cls(seconds[0], seconds[0], seconds[0], len(seconds))
        lower, _, upper = quantiles(seconds, n=4, method="inclusive")
        return cls(lower, median(seconds), upper, len(seconds))

    def over(self, number: float) -> Spread:
        """Divided by a number."""
        return Spread(self.lower / number, self.median / number, self.upper / number, self.repeats)

    @property
    def steady(self) -> bool:
        """Whether the quartiles are near one another: if not, something else kept the machine busy."""
        return self.upper <= 1.5 * self.lower

    def __str__(self) -> str:
        exponent = max(-9, 3 * math.floor(math.log10(self.median) / 3)) if self.median else 0
        unit = {0: "s", -3: "ms", -6: "µs", -9: "ns"}.get(exponent)
        scale = 1.0 if unit is None else 10.0**exponent
        median, lower, upper = (_digits(x / scale) for x in (self.median, self.lower, self.upper))
        spread = f" ({lower} to {upper})" if self.repeats > 1 else ""
        return f"{median} {unit or 's'}{spread}"


def interleaved(contenders: Mapping[str, Contender], effort: Effort) -> dict[str, Spread]:
    """The spread of every contender, each measured once a round."""
    for contender in contenders.values():
        contender.seconds()  # compiles, allocates, fills caches
    once = {name: contender.seconds() for name, contender in contenders.items()}
    numbers = {name: max(1, math.ceil(SHORTEST / seconds)) for name, seconds in once.items()}
    rounds = effort.rounds_of(sum(once[name] * numbers[name] for name in once))
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            found[name].append(contender.seconds(numbers[name]))
    return {name: Spread.of(seconds) for name, seconds in found.items()}


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
