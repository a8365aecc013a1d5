"""Drawings; matplotlib is asked for when one is drawn, not before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def plot_durations(log_probabilities: Tensor, names: Sequence[str] | None = None, ax: Any = None) -> Any:
    """Draw the probability of every duration for each label.

    Args:
        log_probabilities: `(K, C)` nats.
        names: of the labels; their numbers if missing.
        ax: matplotlib's axes to draw on; new ones if missing.
    Returns: the axes.
    Raises: ValueError unless there is a name for each label; ImportError where matplotlib is missing, with
        what to install. Cost: O(K C).
    """
    num_classes = log_probabilities.shape[1]
    labels = [str(c) for c in range(num_classes)] if names is None else list(names)
    if len(labels) != num_classes:
        raise ValueError(
            f"names are {labels!r}; expected one for each label, num_classes = {num_classes} of them"
        )
    if ax is None:
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise ImportError("plots need matplotlib: pip install 'semicrf-nn[plot]'") from error
        _, ax = pyplot.subplots()
    columns = log_probabilities.detach().double().exp().cpu().numpy().T
    for label, column in zip(labels, columns, strict=True):
        ax.plot(range(1, len(column) + 1), column, label=label, drawstyle="steps-mid")
    ax.set_xlabel("duration (positions)")
    ax.set_ylabel("probability")
    ax.legend()
    return ax
