"""This library, as its users call it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from semicrf_nn import Segment, Segmentation, SemiCRF

from .problem import Terms


class Ours:
    """A distribution made anew for every call, values checked, as in a training loop.

    Args:
        terms: arguments of `SemiCRF`.
        constant: names of the terms that get no gradient.
    """

    def __init__(self, terms: Terms, constant: Iterable[str] = ()) -> None:
        self.terms = {
            name: term.detach().requires_grad_(name not in constant) for name, term in terms.items()
        }
        self.leaves = [term for term in self.terms.values() if term.requires_grad]

    def distribution(self) -> SemiCRF:
        return SemiCRF(**self.terms)

    def log_partition(self) -> Tensor:
        return self.distribution().log_partition

    def decode_to_tensors(self) -> Segmentation:
        return self.distribution().mode

    def decode_to_segments(self) -> list[list[Segment]]:
        return self.distribution().mode.to_list()

    def decode_to_labels(self) -> list[list[int]]:
        labels: list[list[int]] = self.distribution().mode.labels.tolist()
        return labels
