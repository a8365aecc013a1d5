"""Every term of the score: its shape, its meaning, and the one validator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, cast

import numpy as np
from array_api_compat import array_namespace, device

from semicrf_spec.serial import largest

Array = Any  # an array of any library the Python array API covers
Side = bool | Array
"""Whether sequences are cut off on one side: all alike, or `(B,)` booleans."""
A = TypeVar("A")
Out = TypeVar("Out")

SHAPES: dict[str, tuple[str, ...]] = {
    "emissions": ("B T C",),
    "transition": ("C C", "B T C C", "K C C", "B T K C C"),
    "duration": ("K C", "B K C", "B T K C"),
    "start": ("C",),
    "end": ("C",),
    "begin": ("B T C",),
    "finish": ("B T C",),
    "lengths": ("B",),
    "cuts": ("B T",),
}
"""The legal shapes of every argument, in the letters of the documentation."""

_AXES = {
    name: {len(axes): axes for axes in (tuple(shape.split()) for shape in shapes)}
    for name, shapes in SHAPES.items()
}
"""The letters of axes by their number. No term has two shapes of one number, so T is not held beside K."""

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "lengths": ("an integer", INTEGERS),
    "cuts": ("a boolean", ("bool",)),
}
"""The legal dtypes of what is no score, and what they are called."""

_NUMPY_NAMES = {np.dtype(name): name for name in (*FLOATS, *INTEGERS, "bool") if name != "bfloat16"}
"""The names of numpy's dtypes, which numpy puts together anew whenever it is asked."""


@dataclass(frozen=True, eq=False)
class Potentials(Generic[A]):
    """The terms of `score(y)` for a batch of sequences, in nats.

    Args:
        emissions: `(B, T, C)`, score of label c at position t.
        transition: `(C, C)` from row to column, or `(B, T, C, C)` where entry `s` serves the
            boundary before position `s`; never used for the first segment. With a duration axis,
            `(K, C, C)` or `(B, T, K, C, C)`, row `d - 1` serves those into segments of `d` positions.
        duration: `(K, C)` or `(B, K, C)`; row `d - 1` scores a segment of `d` positions. With a position
            axis, `(B, T, K, C)`, entry `s` serves what begins at `s`: a score for every whole segment.
        start: `(C,)`, score of the first label. Missing means 0.
        end: `(C,)`, score of the last label. Missing means 0.
        begin: `(B, T, C)`, a segment of c begins at t. Missing means 0.
        finish: `(B, T, C)`, a segment of c has t as its last position. Missing means 0.
        lengths: `(B,)` integers in `[0, T]`; positions and segments past the length count for nothing.
            Missing means T.
        cuts: `(B, T)` booleans; where true, a segment has to begin, so none may lie across. What stands at
            position 0 and past the lengths does not matter. Missing means that none has to.

    All floating dtypes are legal; `-inf` forbids, exactly. Construction checks shapes, dtypes and
    devices; `check_values` checks what the arrays hold.

    Raises: ValueError for a shape or a device, TypeError for a dtype; both name the argument, what
        was expected and what was given.
    """

    emissions: A
    transition: A
    duration: A
    start: A | None = None
    end: A | None = None
    begin: A | None = None
    finish: A | None = None
    lengths: A | None = None
    cuts: A | None = None

    def __post_init__(self) -> None:
        sizes, emissions = self._sizes(), cast(Array, self.emissions)
        place = getattr(emissions, "device", None)
        _check_dtype("emissions", emissions)
        term: Array
        for name, term in self.items():
            _check_shape(name, term, sizes)
            if name in DTYPES or term.dtype is not emissions.dtype:  # else it is legal, as that is
                _check_dtype(name, term)
            if getattr(term, "device", None) != place:
                raise ValueError(_device_message(name, term, emissions))

    def _sizes(self) -> dict[str, int]:
        """The sizes the letters stand for: B, T, C from emissions and K from duration."""
        for name, axes in (("emissions", 3), ("transition", 2), ("duration", 2)):
            if len(_shape(name, getattr(self, name))) < axes:
                raise ValueError(_shape_message(name, getattr(self, name), {}))
        batch, time, classes = self.shape
        sizes = {"B": batch, "T": time, "C": classes, "K": self.max_duration}
        for letter, name in (("C", "emissions"), ("K", "duration")):
            if sizes[letter] < 1:
                raise ValueError(f"{name} has {letter} = 0; expected at least 1")
        return sizes

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(B, T, C)`."""
        batch, time, classes = _shape("emissions", self.emissions)[:3]
        return batch, time, classes

    @property
    def max_duration(self) -> int:
        """`K`."""
        return _shape("duration", self.duration)[-2]

    def items(self) -> Iterator[tuple[str, A]]:
        """Name and array of every term that is present."""
        return ((name, term) for name, term in zip(SHAPES, self.terms(), strict=True) if term is not None)

    def terms(self) -> tuple[A | None, ...]:
        """All terms in the order of the call signature, None where one is missing."""
        return (
            self.emissions,
            self.transition,
            self.duration,
            self.start,
            self.end,
            self.begin,
            self.finish,
            self.lengths,
            self.cuts,
        )

    def map(self, function: Callable[[A], Out]) -> Potentials[Out]:
        """The potentials with `function` applied to every term that is present, lengths included."""
        return Potentials(**{name: function(term) for name, term in self.items()})

    def as_float64(self) -> Potentials[A]:
        """The same potentials with every score in float64, and integers left alone."""

        def widened(term: A) -> A:
            xp = array_namespace(term)
            scores = xp.isdtype(cast(Any, term).dtype, "real floating")
            return cast(A, xp.astype(term, xp.float64, copy=False)) if scores else term

        return self.map(widened)

    def masked(self) -> Self:
        """The same potentials with 0 past the lengths, where anything may have stood."""

        def kept(name: str, term: A) -> A:
            within = self.within(name)
            if within is None:
                return term
            xp = array_namespace(term)
            return cast(A, xp.where(within, term, xp.zeros_like(term)))

        return type(self)(**{name: kept(name, term) for name, term in self.items()})

    def within(self, name: str, left: Side = False, right: Side = False) -> Array | None:
        """True where a position counts, or a segment that begins there; None where all of a term does.

        Segments that end past the length count where they may have lasted longer than is seen of them.

        Args:
            name: which term.
            left: whether segments that begin at position 0 may have; one answer for all, or `(B,)` booleans.
            right: whether all may have.
        Returns: booleans that broadcast to the term.
        """
        term: Array = getattr(self, name)
        axes = axes_of(name, term)
        by_segment = axes[1:3] == ("T", "K")
        if axes[:2] != ("B", "T") or len(axes) < 3 or (self.lengths is None and not by_segment):
            return None
        xp = array_namespace(term)
        batch, time = term.shape[:2]
        place = xp.arange(time, device=device(term))
        stop = xp.full((batch,), time, device=device(term)) if self.lengths is None else self.lengths
        stop = xp.astype(stop, xp.int64)[:, None]
        counts = place < stop
        if by_segment:
            last = place[:, None] + xp.arange(term.shape[2], device=device(term))
            longer = counts & (_each(right) | (_each(left) & (place == 0)))
            counts = (last < stop[:, :, None]) | longer[:, :, None]
        return xp.reshape(counts, (*counts.shape, *(1,) * (term.ndim - counts.ndim)))

    def check_values(self, left: Side = False, right: Side = False) -> None:
        """Raise unless `0 <= lengths <= T` and every score that counts is finite or `-inf`.

        Tensors on `meta` have no values.

        Args:
            left: which sequences are cut off on the left, where more counts, as in `within`.
            right: likewise on the right.
        Raises: ValueError that names the argument and its first bad index.
        Cost: one pass over each term and no copy, unless something past a length is bad. On a GPU one wait.
        """
        if getattr(self.emissions, "is_meta", False):
            return
        checked = {name: term for name, term in self.items() if name not in DTYPES}
        if self.lengths is not None:  # before the scores that they cut off
            checked = {"lengths": outside(self.lengths, self.shape[1]), **checked}
        for (name, term), top in zip(checked.items(), largest(checked.values()), strict=True):
            if name == "lengths":
                if top > 0:
                    check_lengths(self.lengths, self.shape[1])
            elif not top < math.inf:  # true for NaN
                self._check_scores(name, term, self.within(name, left, right))

    def _check_scores(self, name: str, term: Array, within: Array | None) -> None:
        bad = ~(term < math.inf)
        if within is not None:
            bad = bad & within
        if name == "transition" and axes_of(name, term)[0] == "B":
            bad[:, 0] = False  # no transition enters the first segment
        index = _first(bad)
        if index is not None:
            place = ", ".join(map(str, index))
            raise ValueError(
                f"{name}[{place}] is {term[index].item()}; expected a finite score or -inf, "
                "which forbids. Look for a division by zero or an overflow upstream"
            )


def axes_of(name: str, term: Array) -> tuple[str, ...]:
    """The letters of a term's axes."""
    return _AXES[name][term.ndim]


def check_factored(potentials: Potentials[Any], backend: str) -> None:
    """Raise where transitions depend on the duration, which no backend over factored potentials serves.

    Raises: ValueError naming the backend that does.
    """
    transition = potentials.transition
    axes = axes_of("transition", transition)
    if "K" in axes:
        raise ValueError(
            f"transition has shape {_shape('transition', transition)}, that is ({', '.join(axes)}), which "
            f"backend={backend!r} does not serve: use backend='eager'"
        )


def check_lengths(lengths: Array, time: int) -> None:
    """Raise unless `0 <= lengths <= time`.

    Raises: ValueError naming the first length that is not.
    """
    index = _first(outside(lengths, time))
    if index is not None:
        raise ValueError(
            f"lengths[{index[0]}] is {int(lengths[index])}; expected 0 <= length <= T = {time}, "
            "the padded length of emissions"
        )


def outside(lengths: Array, time: int) -> Array:
    """`(B,)` int8: 1 where a length is not within `[0, time]`, else 0."""
    xp = array_namespace(lengths)
    wide = xp.astype(lengths, xp.int64)  # a T of 300 is 44 in uint8
    return xp.astype((wide < 0) | (wide > time), xp.int8)


def _shape(name: str, term: Any) -> tuple[int, ...]:
    try:
        return tuple(term.shape)
    except AttributeError:
        raise TypeError(
            f"{name} is a {type(term).__name__}; expected an array or tensor of shape {_legal(name)}"
        ) from None


def _legal(name: str) -> str:
    return " or ".join(f"({shape.replace(' ', ', ')})" for shape in SHAPES[name])


def _shape_message(name: str, term: Any, sizes: dict[str, int]) -> str:
    known = ", ".join(f"{letter} = {size}" for letter, size in sizes.items())
    return f"{name} has shape {_shape(name, term)}; expected {_legal(name)}" + (
        f" with {known}, as emissions (B, T, C) and duration have them" if known else ""
    )


def _check_shape(name: str, term: Any, sizes: dict[str, int]) -> None:
    shape = _shape(name, term)
    axes = _AXES[name].get(len(shape))
    if axes is None or shape != tuple([sizes[letter] for letter in axes]):
        mask = name == "lengths" and shape == (sizes["B"], sizes["T"])
        hint = ". Of a (B, T) mask give mask.sum(1)" if mask else ""
        raise ValueError(_shape_message(name, term, sizes) + hint)


def _check_dtype(name: str, term: Any) -> None:
    kind, legal = DTYPES.get(name, ("a floating", FLOATS))
    # the name is what all libraries agree on and a tracer can read: float32, torch.float32
    own = _NUMPY_NAMES.get(term.dtype) if isinstance(term, np.ndarray) else None
    if (own or str(term.dtype).rpartition(".")[2]) not in legal:
        raise TypeError(f"{name} has dtype {term.dtype}; expected {kind} dtype: {', '.join(legal)}")


def _device_message(name: str, term: Any, emissions: Any) -> str:
    given, expected = getattr(term, "device", None), getattr(emissions, "device", None)
    return (
        f"{name} is a {type(term).__name__} on {given}; expected a {type(emissions).__name__} "
        f"on {expected}, where emissions are"
    )


def _each(side: Side) -> Array:
    """`(B, 1)` booleans, or one for all."""
    return side if isinstance(side, bool) else side[:, None]


def _first(bad: Array) -> tuple[int, ...] | None:
    """Index of the first true entry, or None."""
    xp = array_namespace(bad)
    if not bool(xp.any(bad)):
        return None
    flat = int(xp.argmax(xp.astype(xp.reshape(bad, (-1,)), xp.int8)))
    index: list[int] = []
    for size in reversed(bad.shape):
        flat, place = divmod(flat, int(size))
        index.append(place)
    return tuple(reversed(index))
