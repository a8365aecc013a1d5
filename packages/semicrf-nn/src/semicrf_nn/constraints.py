"""Masks of 0 and -inf that rule out transitions and durations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

ForbiddenTransitions = Tensor | Iterable[tuple[int, int]]


def transition_mask(forbidden: ForbiddenTransitions | None, num_classes: int) -> Tensor:
    """`(C, C)`: `-inf` from row to column where a transition is forbidden, else 0.

    Args:
        forbidden: a `(C, C)` boolean tensor, true where forbidden, or `(from, to)` pairs of labels.
        num_classes: C.
    Raises: ValueError for a mask of another shape or a pair out of range.
    """
    mask = torch.zeros(num_classes, num_classes, dtype=torch.bool)
    if isinstance(forbidden, Tensor):
        if forbidden.dtype != torch.bool or forbidden.shape != mask.shape:
            raise ValueError(
                f"forbidden_transitions has dtype {forbidden.dtype} and shape {tuple(forbidden.shape)}; "
                f"expected torch.bool and {tuple(mask.shape)}, true where forbidden, "
                "or a list of (from, to) pairs"
            )
        mask = forbidden.clone()
    else:
        for pair in forbidden or ():
            if len(pair) != 2 or not all(0 <= label < num_classes for label in pair):
                raise ValueError(
                    f"forbidden_transitions holds {pair!r}; "
                    f"expected (from, to) with 0 <= label < {num_classes}"
                )
            mask[pair[0], pair[1]] = True
    return _minus_infinity(mask)


def per_class(name: str, value: int | Sequence[int], num_classes: int) -> list[int]:
    """One positive duration for each class, from one number for all or one each.

    Raises: ValueError naming the argument.
    """
    values = [value] * num_classes if isinstance(value, int) else [int(v) for v in value]
    if len(values) != num_classes or min(values) < 1:
        raise ValueError(
            f"{name} is {value!r}; expected a duration of at least 1, "
            f"or a list of num_classes = {num_classes} of them"
        )
    return values


def duration_mask(shortest: Sequence[int], longest: Sequence[int]) -> Tensor:
    """`(K, C)`: 0 in row d - 1 where `shortest[c] <= d <= longest[c]`, else `-inf`; K is the longest of all.

    Raises: ValueError naming the class that no duration is left for.
    """
    for label, (low, high) in enumerate(zip(shortest, longest, strict=True)):
        if low > high:
            raise ValueError(f"class {label} has min_duration {low} above max_duration {high}")
    d = torch.arange(1, max(longest) + 1)[:, None]
    return _minus_infinity((d < torch.tensor(shortest)) | (d > torch.tensor(longest)))


def _minus_infinity(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape).masked_fill(mask, -torch.inf)
