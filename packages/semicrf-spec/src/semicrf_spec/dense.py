"""Potentials with every term present: one shape for each, nothing optional."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from array_api_compat import array_namespace, device

from semicrf_spec.potentials import Potentials, axes_of

A = TypeVar("A")
Out = TypeVar("Out")


@dataclass(frozen=True, eq=False)
class DensePotentials(Potentials[A]):
    """`Potentials` with every term present, and of each sequence.

    `transition` is `(B, T, C, C)`, or `(B, T, K, C, C)` where it depends on the duration; `duration`
    `(B, K, C)`, or `(B, T, K, C)` where it depends on the position; `start` and `end` `(C,)`, everything else
    as in `Potentials`. Missing terms are zeros, missing lengths T, missing cuts false. Broadcast, not copied.
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

        def with_axes(name: str, **sizes: int) -> A:
            """A term with these axes in front, those of them that it has not."""
            term: Any = getattr(potentials, name)
            axes = axes_of(name, term)
            missing = (size for letter, size in sizes.items() if letter not in axes)
            return widened(term, *missing, *term.shape)

        lengths, cuts = potentials.lengths, potentials.cuts
        if lengths is None:
            lengths = xp.full((batch,), time, dtype=xp.int64, device=device(emissions))
        if cuts is None:
            cuts = xp.zeros((batch, time), dtype=xp.bool, device=device(emissions))
        return cls(
            emissions=potentials.emissions,
            transition=with_axes("transition", B=batch, T=time),
            duration=with_axes("duration", B=batch),
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
