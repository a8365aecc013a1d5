"""Semiring sums over segmentations, given a score for every segment after every label, by four algorithms.

All of them take the same arguments and return the same elements; they differ in time, memory and depth.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from semicrf_reference.scan.linear import linear_scan, linear_scan_vectorized
from semicrf_reference.scan.tree import binary_tree, binary_tree_sharded
from semicrf_spec import LOG, Semiring


class Algorithm(Protocol):
    """What every algorithm is called with."""

    def __call__(
        self, edges: Tensor, lengths: Tensor | None = None, semiring: Semiring = LOG, *others: Tensor
    ) -> Tensor:
        """`(B,)` elements of the semiring."""


ALGORITHMS: dict[str, Algorithm] = {
    "linear_scan": linear_scan,
    "linear_scan_vectorized": linear_scan_vectorized,
    "binary_tree": binary_tree,
    "binary_tree_sharded": binary_tree_sharded,
}
"""Every algorithm there is, by name."""

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "binary_tree",
    "binary_tree_sharded",
    "linear_scan",
    "linear_scan_vectorized",
]
