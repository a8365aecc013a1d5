"""Potentials with every term present: one shape for each, nothing optional."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from array_api_compat import array_namespace, device

from semicrf_spec.potentials import Potentials

A = TypeVar("A")
Out = TypeVar("Out")


@dataclass(frozen=True, eq=False)
class DensePotentials(Potentials[A]):
    """`Potentials` in the widest legal shapes.

    `transition` is `(B, T, C, C)`, `duration` `(B, K, C)`, `start` and `end` `(C,)`, everything else
    as in `Potentials`; missing terms are zeros, missing lengths T, missing cuts false. Broadcast, not copied.
    """

    start: A
    end: A
    begin: A
    finish: A
    lengths: A
    cuts: A

    @classmethod
    def of(cls, potentials: Potentials[A]) -> DensePotentials[A]:
        """The same potentials, made dense."""
        emissions: Any = potentials.emissions
        xp = array_namespace(emissions)
        batch, time, classes = potentials.shape
        zero = xp.zeros((), dtype=emissions.dtype, device=device(emissions))

        def widened(term: A | None, *shape: int) -> A:
            return cast(A, xp.broadcast_to(zero if term is None else term, shape))

        lengths, cuts = potentials.lengths, potentials.cuts
        if lengths is None:
            lengths = xp.full((batch,), time, dtype=xp.int64, device=device(emissions))
        if cuts is None:
            cuts = xp.zeros((batch, time), dtype=xp.bool, device=device(emissions))
        return cls(
            emissions=potentials.emissions,
            transition=widened(potentials.transition, batch, time, classes, classes),
            duration=widened(potentials.duration, batch, potentials.max_duration, classes),
            start=widened(potentials.start, classes),
            end=widened(potentials.end, classes),
            begin=widened(potentials.begin, batch, time, classes),
            finish=widened(potentials.finish, batch, time, classes),
            lengths=lengths,
            cuts=cuts,
        )

    def map(self, function: Callable[[A], Out]) -> DensePotentials[Out]:
        """The potentials with `function` applied to every term, lengths included."""
        return DensePotentials(**{name: function(term) for name, term in self.items()})
