"""The chorales: notes from the score, chords from a hand-made analysis, on a sixteenth-note grid.

Both ship in the `music21` wheel. Nothing is downloaded and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semicrf_spec import Segment, labels_to_segments

from .labels import chord_label

# The analyses of 11, 14 and 17 do not match their scores.
NUMBERS = tuple(number for number in range(1, 21) if number not in (11, 14, 17))
GRID = 4
"""Positions per quarter note."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Chorale:
    """One chorale of T positions and V voices."""

    number: int
    """In Riemenschneider's edition."""
    bwv: str
    title: str
    pitches: Ints
    """`(V, T)` MIDI pitch sounding in each voice, -1 in a rest."""
    onsets: Bools
    """`(V, T)` whether a note begins there; a tied continuation does not."""
    fermata: Bools
    """`(T,)` whether a fermata, which ends a phrase, stands over a note sounding there."""
    metre: Ints
    """`(T,)` positions since the bar line."""
    sharps: int
    """In the key signature; flats are negative."""
    labels: Ints
    """`(T,)` the chord, see `labels.chord_label`."""

    @property
    def length(self) -> int:
        """T, in positions."""
        return len(self.labels)

    @property
    def segments(self) -> list[Segment]:
        """The analysis: every maximal run of one chord is a segment."""
        return labels_to_segments(self.labels.tolist())


def load(
    numbers: Iterable[int] = NUMBERS, progress: Callable[[int], object] = lambda number: None
) -> list[Chorale]:
    """The chorales of these Riemenschneider numbers; `progress` hears of each once it is read."""
    catalogue = _music21("corpus.chorales").ChoraleListRKBWV().byRiemenschneider
    chorales = []
    for number in numbers:
        chorales.append(_load_one(number, catalogue[number]))
        progress(number)
    return chorales


def _load_one(number: int, entry: Any) -> Chorale:
    score = _parse(f"bach/bwv{entry['bwv']}")
    analysis = _parse(f"bach/choraleAnalyses/riemenschneider{number:03d}.rntxt")
    length = _position(score.highestTime)
    pitches, onsets, fermata = _notes(list(score.parts), length)
    return Chorale(
        number=number,
        bwv=str(entry["bwv"]),
        title=str(entry["title"]),
        pitches=pitches,
        onsets=onsets,
        fermata=fermata,
        metre=_metre(score.parts[0], length),
        sharps=next(iter(score.recurse().getElementsByClass("KeySignature"))).sharps,
        labels=_labels(analysis, length),
    )


def _parse(name: str) -> Any:
    """A work of music21's own corpus; `forceSource` keeps it from writing a cache."""
    return _music21("corpus").parse(name, forceSource=True)


def _music21(module: str) -> Any:
    """Its types are partial and say less than they seem to, so nothing here relies on them."""
    return import_module(f"music21.{module}")


def _position(offset: Any) -> int:
    """The first position at or after an offset in quarter notes."""
    position: int = ceil(offset * GRID)
    return position


def _notes(parts: Sequence[Any], length: int) -> tuple[Ints, Bools, Bools]:
    pitches = np.full((len(parts), length), -1, dtype=np.int64)
    onsets = np.zeros((len(parts), length), dtype=np.bool_)
    fermata = np.zeros(length, dtype=np.bool_)
    for voice, part in enumerate(parts):
        for note in part.flatten().notes:
            start = _position(note.offset)
            span = slice(start, _position(note.offset + note.quarterLength))
            # Where a part divides, the bass sings its lowest note and the others their highest.
            pitches[voice, span] = (min if voice == len(parts) - 1 else max)(
                pitch.midi for pitch in note.pitches
            )
            onsets[voice, start] = note.tie is None or note.tie.type == "start"
            fermata[span] |= any(mark.name == "fermata" for mark in note.expressions)
    return pitches, onsets, fermata


def _metre(part: Any, length: int) -> Ints:
    metre = np.zeros(length, dtype=np.int64)
    for bar in part.getElementsByClass("Measure"):
        start, end = _position(bar.offset), _position(bar.offset + bar.highestTime)
        # An upbeat is the end of a bar whose beginning is left out.
        metre[start:end] = np.arange(end - start) + _position(bar.paddingLeft)
    return metre


def _labels(analysis: Any, length: int) -> Ints:
    """A chord holds until the next one, the last to the end of the score."""
    labels = np.full(length, -1, dtype=np.int64)
    for numeral in analysis.flatten().getElementsByClass("RomanNumeral"):
        start = _position(numeral.offset)
        labels[start:] = chord_label(numeral.root().pitchClass, numeral.quality)
    if labels.min() < 0:
        raise ValueError("the analysis does not begin with the score")
    return labels
