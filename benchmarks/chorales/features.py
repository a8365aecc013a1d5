"""What the encoder sees of a chorale: for each pitch class its notes, and where in the bar we are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .data import GRID, Chorale
from .labels import ROOTS
from .template import sounding

NUM_NOTE_FEATURES = 4
NUM_METRE_FEATURES = GRID + 3

_C_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_FIFTH = 7


def note_features(chorale: Chorale) -> Tensor:
    """`(T, 4, 12)`: half the voices sounding it, whether one begins it, whether it is bass, is in the key."""
    pitches = chorale.pitches[:, :, None]  # (V, T, 1)
    begins = (_is_pitch_class(pitches) & chorale.onsets[:, :, None]).any(axis=0)
    lowest = np.where(pitches >= 0, pitches, 128).min(axis=0)
    bass = _is_pitch_class(lowest) & (lowest < 128)
    scale = np.isin(np.arange(len(ROOTS)), np.add(_C_MAJOR, _FIFTH * chorale.sharps) % len(ROOTS))
    features = np.stack([sounding(chorale) / 2, begins, bass, np.tile(scale, (chorale.length, 1))], axis=1)
    return torch.from_numpy(features.astype(np.float32))


def metre_features(chorale: Chorale) -> Tensor:
    """`(T, 7)`: which sixteenth of the beat, whether a bar begins, whether a note begins, a fermata."""
    within = chorale.metre[:, None] % GRID == np.arange(GRID)
    rest = np.stack([chorale.metre == 0, chorale.onsets.any(axis=0), chorale.fermata], axis=1)
    return torch.from_numpy(np.concatenate([within, rest], axis=1).astype(np.float32))


def _is_pitch_class(pitches: np.ndarray) -> np.ndarray:
    """`(..., 12)` from `(..., 1)`."""
    same: np.ndarray = pitches % len(ROOTS) == np.arange(len(ROOTS))
    return same
