"""Which segmentation to answer with, given what a mistake costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from semicrf_nn.conditions import without_scores
from semicrf_spec import Potentials

Method = Literal["viterbi", "position"]


def position_gains(potentials: Potentials[Tensor], position: Tensor) -> Potentials[Tensor]:
    """Potentials whose score is the expected number of right labels, and that allow what the others allow."""
    gains = position.masked_fill(potentials.emissions == -torch.inf, -torch.inf)
    return replace(without_scores(potentials), emissions=gains)
