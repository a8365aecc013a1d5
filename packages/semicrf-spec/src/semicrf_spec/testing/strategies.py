"""Hypothesis strategies; importing this module needs Hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from semicrf_spec.potentials import Potentials
from semicrf_spec.segments import Segment


def scores(largest: float = 50.0, *, whole: bool = False) -> st.SearchStrategy[float]:
    """Finite scores and `-inf`; sums of `whole` ones are exact, and ties in whatever order they are added."""
    if whole:
        finite = st.integers(-int(largest), int(largest)).map(float)
    else:
        finite = st.floats(-largest, largest, allow_nan=False, width=32)
    return st.one_of(finite, finite, finite, st.just(-np.inf))


@st.composite
def small_potentials(
    draw: st.DrawFn,
    *,
    max_batch: int = 2,
    max_time: int = 4,
    max_classes: int = 3,
    largest: float = 50.0,
    whole: bool = False,
) -> Potentials[Any]:
    """Potentials small enough to enumerate, any optional term present or not, `-inf` anywhere."""
    batch, time = draw(st.integers(1, max_batch)), draw(st.integers(0, max_time))
    classes, max_duration = draw(st.integers(1, max_classes)), draw(st.integers(1, max_time + 1))

    def term(*shape: int) -> Any:
        return draw(hnp.arrays(np.float64, shape, elements=scores(largest, whole=whole)))

    def maybe(*shape: int) -> Any:
        return term(*shape) if draw(st.booleans()) else None

    pairs = (classes, classes)
    durations = (max_duration, classes)
    return Potentials(
        emissions=term(batch, time, classes),
        transition=term(*draw(st.sampled_from([pairs, (batch, time, *pairs)]))),
        duration=term(*draw(st.sampled_from([durations, (batch, *durations), (batch, time, *durations)]))),
        start=maybe(classes),
        end=maybe(classes),
        begin=maybe(batch, time, classes),
        finish=maybe(batch, time, classes),
        lengths=draw(st.none() | hnp.arrays(np.int64, batch, elements=st.integers(0, time))),
        cuts=draw(st.none() | hnp.arrays(np.bool_, (batch, time))),
    )


@st.composite
def tilings(
    draw: st.DrawFn, *, max_segments: int = 6, max_duration: int = 4, num_classes: int = 3
) -> list[Segment]:
    """Segments that tile a sequence."""
    durations = draw(st.lists(st.integers(1, max_duration), max_size=max_segments))
    ends = np.cumsum(durations, dtype=np.int64).tolist()
    return [
        Segment(end - duration, end, draw(st.integers(0, num_classes - 1)))
        for duration, end in zip(durations, ends, strict=True)
    ]
