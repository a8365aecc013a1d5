"""How sparse the matrices of spans are, and how narrow a band holds them in the best of several orders."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.peers.report import Row, Share, Table, Wanted
from benchmarks.peers.timing import Effort
from semicrf_reference.scan.tree import composed
from semicrf_spec import BOOLEAN

Pattern = npt.NDArray[np.bool_]
"""Square: which state at the right end of a span can be reached from which one at the left end."""

Order = Sequence[int]
"""Of the states, (boundary, label) counted back from the end of a span."""

WANTED = Wanted("≥", 0.9)


def table(effort: Effort) -> Table:
    """Spans from one position to 2 K, as their states are counted and in the best order of several."""
    sizes = ((4, 2),) if effort.quick else ((16, 2), (16, 4), (64, 1))
    rows = [row for longest, classes in sizes for row in _rows(longest, classes)]
    title = "Matrices of spans, and the product of two of them"
    return Table(title, "not zero", "multiply-adds not zero", "band", rows)


def _rows(longest: int, classes: int) -> Iterator[Row]:
    measured = {1, longest // 4, longest // 2, longest // 2 + 1, 3 * longest // 4, longest, 2 * longest}
    for length, found in enumerate(patterns(longest, classes, 2 * longest), start=1):
        if length not in measured:
            continue
        narrowest = min(ORDERS, key=lambda name: bandwidth(found, ORDERS[name](found, classes)))
        shares = Share(float(found.mean())), Share(products(found))
        wanted = WANTED if 2 * length > longest else None
        for name in dict.fromkeys(("by boundary", narrowest)):
            yield Row(
                f"{length} position{'s' * (length > 1)}, {name}",
                f"K={longest} C={classes}",
                *shares,
                bandwidth(found, ORDERS[name](found, classes)),
                wanted,
                f"as stored: {min(length / longest, 1.0) ** 2:.2g}; any order: ≥ {lower_bound(found):.3g}",
            )


def patterns(longest: int, classes: int, most: int) -> Iterator[Pattern]:
    """Of spans of 1, 2, ... positions, every edge allowed."""
    leaf = torch.ones(1, 1, longest, classes, 1, classes)
    span = leaf
    for length in range(1, most + 1):
        yield _square(span, length)
        span = composed(span, leaf, BOOLEAN)


def _square(span: torch.Tensor, length: int) -> Pattern:
    """The whole matrix: what lies within, and older boundaries that are `length` positions further back."""
    _, _, longest, classes, within, _ = span.shape
    found = torch.zeros(longest, classes, longest, classes, dtype=torch.bool)
    found[:, :, :within] = span[0, 0] > 0
    for older in range(length, longest):
        found[older - length, :, older] = torch.eye(classes, dtype=torch.bool)
    square: Pattern = found.flatten(2, 3).flatten(0, 1).numpy()
    return square


def products(pattern: Pattern) -> float:
    """Of the multiply-adds of a product of two such matrices, how many have no zero in them."""
    needed = int(pattern.sum(0) @ pattern.sum(1))
    return needed / len(pattern) ** 3


def bandwidth(pattern: Pattern, order: Order) -> float:
    """The largest distance from the diagonal of what is not zero, as a part of the largest there can be."""
    place = np.empty(len(order), dtype=int)
    place[list(order)] = np.arange(len(order))
    rows, columns = np.nonzero(pattern)
    return float(np.abs(place[rows] - place[columns]).max(initial=0) / max(len(order) - 1, 1))


def lower_bound(pattern: Pattern) -> float:
    """Of `bandwidth` in any order.

    If h states touch all others, the first or the last of them has a state (n - 1 + h - 1) / 2 places away.
    """
    others = len(pattern) - 1
    touching = pattern | pattern.T | np.eye(len(pattern), dtype=bool)
    everywhere = int(touching.all(1).sum())
    return -(-(others + everywhere - 1) // 2) / max(others, 1) if everywhere else 0.0


def by_boundary(pattern: Pattern, classes: int) -> Order:
    """As they are: all labels of a boundary together."""
    return range(len(pattern))


def by_label(pattern: Pattern, classes: int) -> Order:
    """All boundaries of a label together."""
    return [place * classes + c for c in range(classes) for place in range(len(pattern) // classes)]


def cuthill_mckee(pattern: Pattern, classes: int) -> Order:
    """Reversed: breadth first from a state that touches few, those that touch few first."""
    touching = pattern | pattern.T
    degree = touching.sum(1)
    order: list[int] = []
    for first in np.argsort(degree, kind="stable").tolist():
        queue = deque([] if first in order else [first])
        while queue:
            state = queue.popleft()
            if state not in order:
                order.append(state)
                queue.extend(sorted(np.nonzero(touching[state])[0].tolist(), key=degree.__getitem__))
    return order[::-1]


def busiest_in_the_middle(pattern: Pattern, classes: int) -> Order:
    """What touches most is nearest to everything."""
    degree = (pattern | pattern.T).sum(1)
    falling = np.argsort(-degree, kind="stable").tolist()
    return [*falling[1::2][::-1], *falling[::2]]


ORDERS: dict[str, Callable[[Pattern, int], Order]] = {
    "by boundary": by_boundary,
    "by label": by_label,
    "reverse Cuthill-McKee": cuthill_mckee,
    "busiest in the middle": busiest_in_the_middle,
}
