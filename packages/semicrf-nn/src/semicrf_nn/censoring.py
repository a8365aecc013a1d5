"""Which sequences were cut off mid-segment: what users say of it, and how two distributions compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from semicrf_spec import Potentials
from semicrf_spec.operators import Censoring

Censored = bool | Tensor | Sequence[bool]
"""Whether sequences were cut off on one side: one answer for all, or `(B,)` booleans."""


class CensoringOptions(TypedDict, total=False):
    """The arguments that say which sequences were cut off mid-segment.

    Attributes:
        left_censored: whether a first segment may have begun before position 0; a boolean or `(B,)`.
        right_censored: whether a last segment may have gone on after its last position; a boolean or `(B,)`.
    """

    left_censored: Censored
    right_censored: Censored


def censoring_of(potentials: Potentials[Tensor], left_censored: Any, right_censored: Any) -> Censoring:
    """The two arguments, found sound.

    Raises: ValueError or TypeError naming the argument, what was expected and what was given.
    """
    batch, device = potentials.shape[0], potentials.emissions.device
    return Censoring(
        _side("left_censored", left_censored, batch, device),
        _side("right_censored", right_censored, batch, device),
    )


def _side(name: str, given: Any, batch: int, device: torch.device) -> bool | Tensor:
    if isinstance(given, bool):
        return given
    try:
        flags = torch.as_tensor(given, device=device)
    except (RuntimeError, TypeError, ValueError):
        raise TypeError(
            f"{name} is a {type(given).__name__}; expected a boolean, or booleans of shape (B,) = ({batch},)"
        ) from None
    if flags.dtype != torch.bool:
        raise TypeError(
            f"{name} has dtype {flags.dtype}; expected booleans, true where a sequence was cut off: one for "
            f"all, or of shape (B,) = ({batch},)"
        )
    if flags.shape not in ((), (batch,)):
        raise ValueError(
            f"{name} has shape {tuple(flags.shape)}; expected one boolean, or shape (B,) = ({batch},)"
        )
    return flags.expand(batch)


def compared(
    ours: tuple[Potentials[Tensor], Censoring], theirs: tuple[Potentials[Tensor], Censoring]
) -> tuple[Potentials[Tensor], Potentials[Tensor]]:
    """Both over the same copies of labels; where sequences differ as they are, for the backend to refuse."""
    (potentials, censoring), (other, others) = ours, theirs
    if potentials.shape != other.shape:
        return potentials, other
    copies = censoring.copies.united(others.copies)
    return censoring.unfolded(potentials, copies), others.unfolded(other, copies)
