"""What is computed: sizes, random terms, and the calls that every library is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from semicrf_spec import cost

Terms = dict[str, Any]
"""Arguments of `SemiCRF`."""


class Size(cost.Size):
    """B sequences of T positions, segments of up to K positions, C labels."""

    __slots__ = ()

    def __str__(self) -> str:
        return "B={} T={} K={} C={}".format(*self)


class Model(Protocol):
    """A log partition of terms that learn."""

    @property
    def leaves(self) -> Sequence[Tensor]:
        """What gets gradients."""

    def log_partition(self) -> Tensor:
        """`(B,)` nats."""


def random_terms(size: Size, dtype: torch.dtype = torch.float32, seed: int = 0) -> Terms:
    """The required terms, normal, in place so that nothing else of their size is ever allocated.

    Emissions have mean 0, as flash-semicrf asks for. The exponentials of the transitions into a label sum
    to 1, so that a first segment may come from any label, as other libraries have it, or from none, as here.
    """
    B, T, K, C = size
    generator = torch.Generator().manual_seed(seed)
    emissions, transition, duration = (
        torch.empty(shape, dtype=dtype).normal_(generator=generator) for shape in ((B, T, C), (C, C), (K, C))
    )
    emissions -= emissions.mean(dim=1, keepdim=True)
    return {"emissions": emissions, "transition": transition.log_softmax(0), "duration": duration}


def forward(model: Model) -> Tensor:
    """The log partition without gradients."""
    with torch.no_grad():
        return model.log_partition()


def train(model: Model) -> None:
    """The log partition and its gradient by every leaf."""
    for leaf in model.leaves:
        leaf.grad = None
    model.log_partition().sum().backward()
