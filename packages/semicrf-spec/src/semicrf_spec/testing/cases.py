"""Named cases, small enough to enumerate, that every backend must get right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from semicrf_spec.potentials import Potentials

Floats = npt.NDArray[np.floating[Any]]
Case = Potentials[npt.NDArray[Any]]
MAX_DURATIONS = (1, 2, 3, 4, 5)
"""The K every named case is built for."""

_BUILDERS: dict[str, Callable[[int], Case]] = {}
_OVER_EDGES: dict[str, Callable[[int], Case]] = {}


def case_names() -> tuple[str, ...]:
    """The names of all cases that the oracle and the CPU serve."""
    return tuple(_BUILDERS)


def factored_case_names() -> tuple[str, ...]:
    """The names of those without scores of whole segments, which every backend serves."""
    return tuple(name for name, build in _BUILDERS.items() if build(1).duration.ndim < 4)


def edge_case_names() -> tuple[str, ...]:
    """The names of those whose transitions depend on durations, which only the oracle serves."""
    return tuple(_OVER_EDGES)


def case(name: str, max_duration: int = 3) -> Case:
    """The potentials of a named case, the same in every process."""
    return (_BUILDERS | _OVER_EDGES)[name](max_duration)


def _named(builder: Callable[[int], Case]) -> Callable[[int], Case]:
    _BUILDERS[builder.__name__] = builder
    return builder


def random_potentials(
    batch: int,
    time: int,
    max_duration: int,
    classes: int,
    *,
    seed: int = 0,
    scale: float = 1.0,
    optional: bool = True,
    lengths: list[int] | None = None,
) -> Case:
    """Normal scores of a standard deviation, reproducible, with or without the optional terms."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Floats:
        return scale * rng.standard_normal(shape)

    required = {
        "emissions": normal(batch, time, classes),
        "transition": normal(classes, classes),
        "duration": normal(max_duration, classes),
    }
    extra = {
        "start": normal(classes),
        "end": normal(classes),
        "begin": normal(batch, time, classes),
        "finish": normal(batch, time, classes),
    }
    return Potentials(
        **required,
        **(extra if optional else {}),
        lengths=None if lengths is None else np.array(lengths, dtype=np.int64),
    )


def _with(potentials: Case, **terms: npt.NDArray[Any]) -> Case:
    return Potentials(**{**dict(potentials.items()), **terms})


def with_segment_scores(potentials: Case, seed: int, forbidden: float = 0.0) -> Case:
    """The potentials with a random score for every segment, NaN where it does not fit.

    Args:
        potentials: others.
        seed: of the scores.
        forbidden: the share of them that is `-inf`.
    """
    batch, time, classes = potentials.shape
    rng = np.random.default_rng(seed)
    duration = rng.standard_normal((batch, time, potentials.max_duration, classes))
    duration[rng.random(duration.shape) < forbidden] = -np.inf
    lengths = [time] * batch if potentials.lengths is None else potentials.lengths.tolist()
    for b, length in enumerate(lengths):
        for d in range(1, potentials.max_duration + 1):
            duration[b, max(0, length - d + 1) :, d - 1] = np.nan
    return _with(potentials, duration=duration)


def _forbid(term: str, *index: Any) -> Callable[[int], Case]:
    """A case in which one entry of one term is `-inf`."""

    def build(max_duration: int) -> Case:
        potentials = random_potentials(2, 4, max_duration, 2, seed=7, lengths=[4, 3])
        changed = np.array(getattr(potentials, term))
        changed[index] = -np.inf
        return _with(potentials, **{term: changed})

    return build


@_named
def length_0(max_duration: int) -> Case:
    """Nothing to segment."""
    return random_potentials(1, 0, max_duration, 2)


@_named
def length_1(max_duration: int) -> Case:
    """One position, one segment."""
    return random_potentials(1, 1, max_duration, 3)


@_named
def required_terms_only(max_duration: int) -> Case:
    """Emissions, transition and duration, everything else missing."""
    return random_potentials(2, 5, max_duration, 2, seed=1, optional=False)


@_named
def every_term(max_duration: int) -> Case:
    """All terms present."""
    return random_potentials(2, 5, max_duration, 3, seed=2)


@_named
def shorter_than_max_duration(max_duration: int) -> Case:
    """K exceeds T."""
    return random_potentials(1, 2, max_duration + 2, 2, seed=3)


@_named
def ragged(max_duration: int) -> Case:
    """Lengths from nothing to T."""
    return random_potentials(4, 5, max_duration, 2, seed=4, lengths=[0, 1, 3, 5])


@_named
def one_label(max_duration: int) -> Case:
    """C = 1: only the cuts are unknown."""
    return random_potentials(2, 6, max_duration, 1, seed=5)


@_named
def ties(max_duration: int) -> Case:
    """Every segmentation has the same score."""
    return random_potentials(2, 5, max_duration, 2, scale=0.0, lengths=[5, 4])


@_named
def integer_ties(max_duration: int) -> Case:
    """Small integer scores: many exact ties, and sums without rounding."""
    return random_potentials(3, 5, max_duration, 2, seed=6).map(
        lambda term: np.round(term) if term.dtype == np.float64 else term
    )


@_named
def position_transition(max_duration: int) -> Case:
    """Transitions that depend on the position."""
    potentials = random_potentials(2, 5, max_duration, 2, seed=8, lengths=[5, 3])
    transition = np.random.default_rng(9).standard_normal((2, 5, 2, 2))
    return _with(potentials, transition=transition)


@_named
def sequence_duration(max_duration: int) -> Case:
    """Durations that depend on the sequence."""
    potentials = random_potentials(2, 5, max_duration, 2, seed=10, lengths=[4, 5])
    return _with(potentials, duration=np.random.default_rng(11).standard_normal((2, max_duration, 2)))


@_named
def segment_duration(max_duration: int) -> Case:
    """Durations that depend on the position: a score for every segment; NaN where a segment does not fit."""
    potentials = random_potentials(2, 5, max_duration, 2, seed=19, lengths=[5, 3])
    found = with_segment_scores(potentials, seed=20)
    found.duration[0, 1, 0, 1] = -np.inf
    return found


def _over_edges(builder: Callable[[int], Case]) -> Callable[[int], Case]:
    _OVER_EDGES[builder.__name__] = builder
    return builder


@_over_edges
def duration_transition(max_duration: int) -> Case:
    """Transitions that depend on the duration of the segment they lead to."""
    potentials = random_potentials(3, 5, max_duration, 2, seed=21, lengths=[5, 3, 0])
    transition = np.random.default_rng(22).standard_normal((max_duration, 2, 2))
    transition[0, 0, 1] = -np.inf
    return _with(potentials, transition=transition)


@_over_edges
def segment_transition(max_duration: int) -> Case:
    """A score of every segment after every label; NaN where a segment does not fit, and at position 0."""
    potentials = random_potentials(2, 5, max_duration, 2, seed=23, lengths=[5, 3])
    transition = np.random.default_rng(24).standard_normal((2, 5, max_duration, 2, 2))
    transition[:, 0] = np.nan
    for b, length in enumerate([5, 3]):
        for d in range(1, max_duration + 1):
            transition[b, max(0, length - d + 1) :, d - 1] = np.nan
    return _with(potentials, transition=transition)


@_named
def cuts(max_duration: int) -> Case:
    """Segments have to begin at some positions; position 0 and what is past the lengths do not matter."""
    potentials = random_potentials(3, 5, max_duration, 2, seed=18, lengths=[5, 3, 0])
    known = [[True, False, True, True, False], [False, True, False, True, True], [True] * 5]
    return _with(potentials, cuts=np.array(known))


@_named
def nothing_allowed(max_duration: int) -> Case:
    """One sequence cannot start at all, its neighbours can."""
    potentials = random_potentials(3, 4, max_duration, 2, seed=12, lengths=[4, 4, 0])
    emissions = np.array(potentials.emissions)
    emissions[1, 0] = -np.inf
    return _with(potentials, emissions=emissions)


@_named
def extremes(max_duration: int) -> Case:
    """Emissions of +-10,000 nats."""
    potentials = random_potentials(2, 5, max_duration, 2, seed=13)
    return _with(potentials, emissions=1e4 * np.sign(potentials.emissions))


@_named
def one_duration_allowed(max_duration: int) -> Case:
    """Every duration but K is forbidden: most lengths cannot be tiled."""
    potentials = random_potentials(4, 6, max_duration, 2, seed=14, lengths=[6, 5, 4, 3])
    duration = np.array(potentials.duration)
    duration[:-1] = -np.inf
    return _with(potentials, duration=duration)


@_named
def float16(max_duration: int) -> Case:
    """Half-precision input, accepted as it is."""
    return random_potentials(2, 5, max_duration, 2, seed=15).map(
        lambda term: term.astype(np.float16) if term.dtype == np.float64 else term
    )


@_named
def poisoned_padding(max_duration: int) -> Case:
    """NaN and `+inf` past the lengths, which count for nothing."""
    potentials = random_potentials(3, 5, max_duration, 2, seed=16, lengths=[5, 3, 0])
    changed = {}
    for term, poison in (("emissions", np.nan), ("begin", np.inf), ("finish", -np.inf)):
        changed[term] = np.array(getattr(potentials, term))
        changed[term][1, 3:] = poison
        changed[term][2] = poison
    return _with(potentials, **changed)


for _term, *_index in (
    ("emissions", 0, 1, 1),
    ("transition", 0, 1),
    ("duration", 0, 1),
    ("start", 0),
    ("end", 1),
    ("begin", 1, 2, 0),
    ("finish", 0, 3, 0),
):
    _BUILDERS[f"forbidden_{_term}"] = _forbid(str(_term), *_index)
