"""The grid, the counts and the template on tiny chorales made by hand, and one real chorale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.chorales import metrics, template
from benchmarks.chorales.data import NUMBERS, Chorale, load
from benchmarks.chorales.features import metre_features, note_features
from benchmarks.chorales.labels import NUM_LABELS, chord_label, chord_name
from benchmarks.chorales.model import ChordModel
from benchmarks.chorales.report import describe
from semicrf_spec import Segment

C_MAJOR, A_MINOR = chord_label(0, "major"), chord_label(9, "minor")


def chorale(pitches: list[list[int]], labels: list[int], sharps: int = 0) -> Chorale:
    notes = np.array(pitches)
    return Chorale(
        number=0,
        bwv="0",
        title="made by hand",
        pitches=notes,
        onsets=np.diff(notes, axis=1, prepend=-1) != 0,
        fermata=np.zeros(len(labels), dtype=np.bool_),
        metre=np.arange(len(labels)) % 16,
        sharps=sharps,
        labels=np.array(labels),
    )


def two_chords(transposed: int = 0) -> Chorale:
    voices = [[72] * 4 + [72] * 4, [67] * 4 + [69] * 4, [64] * 4 + [64] * 4, [48] * 4 + [45] * 4]
    labels = [chord_label(transposed, "major")] * 4 + [chord_label(9 + transposed, "minor")] * 4
    raised = [[pitch + transposed for pitch in voice] for voice in voices]
    return chorale(raised, labels, sharps=7 * transposed % 12)


def test_labels_have_names() -> None:
    assert chord_name(C_MAJOR) == "C"
    assert chord_name(A_MINOR) == "Am"
    assert chord_name(chord_label(6, "diminished")) == "F♯°"
    assert len({chord_name(label) for label in range(NUM_LABELS)}) == NUM_LABELS


def test_segments_are_the_runs_of_one_chord() -> None:
    assert two_chords().segments == [Segment(0, 4, C_MAJOR), Segment(4, 8, A_MINOR)]


@pytest.mark.parametrize("weigh", [False, True])
def test_the_template_finds_plain_triads(weigh: bool) -> None:
    assert template.decode(two_chords(), weigh=weigh) == two_chords().segments


def test_a_rest_is_no_pitch() -> None:
    silent = chorale([[-1, 60], [-1, -1]], [C_MAJOR, C_MAJOR])
    assert template.sounding(silent).sum(axis=1).tolist() == [0, 1]
    assert note_features(silent)[0, :3].sum() == 0


def test_counts_ask_for_start_end_and_label() -> None:
    true = [Segment(0, 4, 1), Segment(4, 8, 2), Segment(8, 12, 3)]
    decoded = [Segment(0, 4, 1), Segment(4, 9, 2), Segment(9, 12, 3)]
    counts = metrics.count(true, decoded)
    assert counts.accuracy == pytest.approx(11 / 12)
    assert counts.precision == counts.recall == counts.f1 == pytest.approx(1 / 3)


def test_f1_lies_between_precision_and_recall() -> None:
    counts = metrics.count([Segment(0, 4, 1)], [Segment(0, 3, 1), Segment(3, 4, 2)])
    assert counts.f1 == 0
    counts += metrics.count([Segment(0, 1, 0)], [Segment(0, 1, 0)])
    assert counts.precision == pytest.approx(1 / 3)
    assert counts.recall == pytest.approx(1 / 2)
    assert counts.f1 == pytest.approx(2 / 5)


def test_counting_nothing_is_zero() -> None:
    assert metrics.total([]).accuracy == metrics.total([]).f1 == 0


@pytest.mark.parametrize("max_duration", [1, 6])
def test_transposing_the_music_transposes_what_the_model_says(max_duration: int) -> None:
    torch.manual_seed(0)
    model = ChordModel(max_duration).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    loss = model.loss([two_chords()])
    here = model.decode(two_chords())
    for semitones in range(1, 12):
        torch.testing.assert_close(model.loss([two_chords(semitones)]), loss, rtol=1e-5, atol=1e-5)
        there = model.decode(two_chords(semitones))
        assert there == [Segment(s, e, (label + 5 * semitones) % NUM_LABELS) for s, e, label in here]


def test_a_semi_crf_decodes_no_chord_twice_in_a_row() -> None:
    torch.manual_seed(0)
    model = ChordModel(max_duration=3).eval()
    decoded = model.decode(two_chords())
    assert max(segment.duration for segment in decoded) <= 3
    assert model.boundaries(two_chords())[0] == pytest.approx(1)


@pytest.mark.slow
def test_a_real_chorale_lies_on_the_grid() -> None:
    pytest.importorskip("music21")
    [first] = load([1])
    assert (first.bwv, first.title, first.sharps) == ("269", "Aus meines Herzens Grunde", 1)
    assert first.pitches.shape == first.onsets.shape == (4, 252)
    assert first.metre[:5].tolist() == [8, 9, 10, 11, 0]  # an upbeat of one beat in three
    assert [chord_name(label) for _, _, label in first.segments[:4]] == ["G", "C", "D", "G"]
    assert not np.any(first.pitches < 0)
    assert metre_features(first)[4].tolist() == [1, 0, 0, 0, 1, 1, 0]


@pytest.mark.slow
def test_the_data_are_those_that_were_announced() -> None:
    pytest.importorskip("music21")
    assert describe(load(NUMBERS)) == {
        "chorales": 17,
        "positions": 3804,
        "segments": 809,
        "labels": 36,
        "median_duration": 4,
        "p95_duration": 8,
        "longest_duration": 20,
    }
