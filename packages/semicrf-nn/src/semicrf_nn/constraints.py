"""Masks of 0 and -inf that rule out transitions and durations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import cast

import numpy as np
import torch
from torch import Tensor

ForbiddenTransitions = Tensor | Iterable[Sequence[int]]


def transition_mask(forbidden: ForbiddenTransitions | None, num_classes: int) -> Tensor:
    """`(C, C)`: `-inf` from row to column where a transition is forbidden, else 0.

    Args:
        forbidden: a `(C, C)` boolean tensor, true where forbidden, or `(from, to)` pairs of labels.
        num_classes: C.
    Raises: ValueError for a mask of another shape or a pair out of range.
    """
    shape = (num_classes, num_classes)
    if isinstance(forbidden, Tensor):
        given = forbidden.cpu().numpy()
    else:
        given = np.asarray(list(() if forbidden is None else forbidden))
    if given.dtype == bool and given.shape == shape:
        return _minus_infinity(torch.from_numpy(given.copy()))
    pairs = given.reshape(0, 2).astype(int) if given.size == 0 else given
    mask_of_numbers = isinstance(forbidden, Tensor) and given.shape == shape  # of pairs, where C = 2
    if mask_of_numbers or pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise ValueError(
            f"forbidden_transitions has dtype {given.dtype} and shape {given.shape}; expected booleans of "
            f"shape {shape}, true where forbidden, or a list of (from, to) pairs of labels"
        )
    mask = torch.zeros(shape, dtype=torch.bool)
    for source, target in pairs.tolist():
        if not (0 <= source < num_classes and 0 <= target < num_classes):
            raise ValueError(
                f"forbidden_transitions holds {(source, target)}; "
                f"expected (from, to) with 0 <= label < {num_classes}"
            )
        mask[source, target] = True
    return _minus_infinity(mask)


def positive(name: str, value: int) -> int:
    """A whole number of at least 1.

    Raises: ValueError naming the argument.
    """
    try:
        number = index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
    return number


def check_one_of(name: str, value: str, legal: Sequence[str]) -> None:
    """Raise ValueError, naming the argument, unless the value is one of the legal ones."""
    if value not in legal:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, legal))}")


def per_class(name: str, value: int | Sequence[int], num_classes: int) -> list[int]:
    """One positive duration for each class, from one number for all or one each.

    Raises: ValueError naming the argument.
    """
    if not hasattr(value, "__len__"):
        return [positive(name, value)] * num_classes
    values = [positive(f"{name}[{c}]", each) for c, each in enumerate(cast("Sequence[int]", value))]
    if len(values) != num_classes:
        raise ValueError(
            f"{name} has {len(values)} entries; expected one number, or num_classes = {num_classes} of them"
        )
    return values


def duration_mask(shortest: Sequence[int], longest: Sequence[int], max_duration: int | None = None) -> Tensor:
    """`(K, C)`: 0 in row d - 1 where `shortest[c] <= d <= longest[c]`, else `-inf`.

    K is `max_duration`, or the longest of all.

    Raises: ValueError naming the class that no duration is left for.
    """
    for label, (low, high) in enumerate(zip(shortest, longest, strict=True)):
        if low > high:
            raise ValueError(f"class {label} has min_duration {low} above max_duration {high}")
    d = torch.arange(1, (max_duration or max(longest)) + 1)[:, None]
    return _minus_infinity((d < torch.tensor(shortest)) | (d > torch.tensor(longest)))


def _minus_infinity(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape).masked_fill(mask, -torch.inf)
