"""Other libraries, each with its own form of a problem and the same problem in terms of `SemiCRF`.

Their packages are imported when a peer is made, so that a missing one is missing alone.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from .problem import Size, Terms, random_terms


class FlashSemiCRF:
    """flash-semicrf's streaming scan, PyTorch on the CPU, in the float64 that its documentation advises.

    Called as documented: cumulative sums of emissions with mean 0, `duration[d - 1]` for d positions.
    """

    package: ClassVar = "flash-semicrf"
    constant: ClassVar[tuple[str, ...]] = ()

    def __init__(self, size: Size) -> None:
        from flash_semicrf.streaming import semi_crf_streaming_forward

        self._streaming = semi_crf_streaming_forward
        self.terms = random_terms(size, torch.float64)
        self.leaves = [term.clone().requires_grad_() for term in self.terms.values()]
        self.lengths, self.max_duration = torch.full((size.batch,), size.time), size.max_duration

    def log_partition(self) -> Tensor:
        emissions, transition, duration = self.leaves
        sums = pad(emissions.cumsum(1), (0, 0, 1, 0))
        value: Tensor = self._streaming(sums, transition, duration, self.lengths, self.max_duration)
        return value


class TorchStruct:
    """torch-struct's `SemiMarkovCRF`, of a ready tensor of edges, which is what it has gradients of."""

    package: ClassVar = "torch-struct"
    constant: ClassVar[tuple[str, ...]] = ()

    def __init__(self, size: Size) -> None:
        from torch_struct import SemiMarkovCRF

        # PyTorch has since come to ask every distribution for its constraints
        self._distribution = type("SemiMarkovCRF", (SemiMarkovCRF,), {"arg_constraints": {}})
        self.terms = random_terms(size)
        self.leaves = [_edges(**self.terms).requires_grad_()]

    def log_partition(self) -> Tensor:
        value: Tensor = self._distribution(self.leaves[0]).partition
        return value


class PytorchCRF:
    """pytorch-crf's `CRF`, a linear chain: K = 1 and no durations.

    The log partition is taken without the score of a gold path that its `forward` adds to it.
    """

    package: ClassVar = "pytorch-crf"
    constant: ClassVar[tuple[str, ...]] = ("duration",)

    def __init__(self, size: Size) -> None:
        from torchcrf import CRF

        if size.max_duration != 1:
            raise ValueError(f"pytorch-crf is a linear chain; K is {size.max_duration}, expected 1")
        terms = random_terms(size)
        self.crf = CRF(size.classes)
        self.emissions = terms["emissions"].transpose(0, 1).contiguous().requires_grad_()
        self.mask = torch.ones(size.time, size.batch, dtype=torch.bool)
        self.leaves = [self.emissions, *self.crf.parameters()]
        self.terms: Terms = {
            "emissions": terms["emissions"],
            "transition": self.crf.transitions.detach(),
            "duration": torch.zeros(1, size.classes),
            "start": self.crf.start_transitions.detach(),
            "end": self.crf.end_transitions.detach(),
        }

    def log_partition(self) -> Tensor:
        value: Tensor = self.crf._compute_normalizer(self.emissions, self.mask)
        return value

    def decode(self) -> list[list[int]]:
        with torch.no_grad():
            labels: list[list[int]] = self.crf.decode(self.emissions, self.mask)
        return labels


Peer = FlashSemiCRF | TorchStruct | PytorchCRF


def _edges(emissions: Tensor, transition: Tensor, duration: Tensor) -> Tensor:
    """`(B, T, K + 1, C, C)`: start, duration, label, label before it.

    Duration 0 and what would end past T are forbidden.
    """
    (B, T, C), K = emissions.shape, len(duration)
    sums = pad(emissions.cumsum(1), (0, 0, 1, 0))
    edges = emissions.new_full((B, T, K + 1, C, C), -1e5)  # torch-struct's own log of 0
    for d in range(1, min(K, T) + 1):
        content = sums[:, d:] - sums[:, :-d] + duration[d - 1]
        edges[:, : T - d + 1, d] = content[..., None] + transition.T
    return edges
