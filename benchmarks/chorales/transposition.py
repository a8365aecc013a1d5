"""Terms of the head that are the same in every key, for `torch.nn.utils.parametrize`.

Labels are `root * Q + quality`, with R = 12 roots and Q qualities.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from semicrf_nn import SemiMarkovCRFHead

from .labels import QUALITIES, ROOTS

R, Q = len(ROOTS), len(QUALITIES)


def tie(head: SemiMarkovCRFHead) -> SemiMarkovCRFHead:
    """The head, whose scores now depend on qualities and on intervals between roots, not on the key."""
    register_parametrization(head, "transition", SameForEveryInterval())
    for term in ("duration", "start", "end"):
        register_parametrization(head, term, SameForEveryRoot())
    return head


class SameForEveryRoot(nn.Module):
    """A term `(..., C)` from one that knows qualities only, `(..., Q)`."""

    def forward(self, term: Tensor) -> Tensor:
        return term.repeat(*[1] * (term.ndim - 1), R)

    def right_inverse(self, term: Tensor) -> Tensor:
        return term[..., :Q]


class SameForEveryInterval(nn.Module):
    """A transition `(C, C)` from one that knows the interval between two roots, `(Q, R, Q)`."""

    def forward(self, term: Tensor) -> Tensor:
        return torch.stack([term.roll(root, 1) for root in range(R)]).reshape(R * Q, R * Q)

    def right_inverse(self, term: Tensor) -> Tensor:
        return term.reshape(R, Q, R, Q)[0]
