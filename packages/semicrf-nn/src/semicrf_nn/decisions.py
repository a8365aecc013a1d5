"""Which segmentation to answer with, given what a mistake costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from semicrf_nn.conditions import without_scores
from semicrf_spec import Potentials

Method = Literal["viterbi", "position"]


def check_method(method: str) -> Method:
    """The method.

    Raises: ValueError for an unknown one.
    """
    names = get_args(Method)
    if method not in names:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(map(repr, names))}")
    return cast(Method, method)


def position_gains(potentials: Potentials[Tensor], position: Tensor) -> Potentials[Tensor]:
    """Potentials whose score is the expected number of right labels, and that allow what the others allow."""
    gains = position.masked_fill(potentials.emissions == -torch.inf, -torch.inf)
    return replace(without_scores(potentials), emissions=gains)
