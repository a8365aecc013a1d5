"""Compute for memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from array_api_compat import is_torch_array

from semicrf_spec.semirings.protocol import Array, Constant, Semiring


@dataclass(frozen=True)
class CheckpointSemiring(Semiring):
    """A semiring whose sums of products are computed again in the backward pass instead of being kept.

    Values and gradients are those of the semiring itself, bit for bit. Of `dot(a, b)` autograd keeps `a` and
    `b`, and not their products, which are larger by the axes that only one of the two has. Arrays of other
    libraries than PyTorch have no backward pass, and nothing is done to them.

    Args:
        inner: the semiring.
    Cost: each `dot` twice, if there is a backward pass.
    Source: Chen, Xu, Zhang & Guestrin 2016.
    """

    inner: Semiring

    @property
    def name(self) -> str:
        """What the semiring computes, and how."""
        return f"{self.inner.name}, checkpointed"

    @property
    def zero(self) -> Constant:
        """That of the inner semiring."""
        return self.inner.zero

    @property
    def one(self) -> Constant:
        """That of the inner semiring."""
        return self.inner.one

    @property
    def arity(self) -> int:
        """That of the inner semiring."""
        return self.inner.arity

    @property
    def lift(self) -> Callable[..., Array]:
        """That of the inner semiring."""
        return self.inner.lift

    def add(self, a: Array, b: Array) -> Array:
        """That of the inner semiring."""
        return self.inner.add(a, b)

    def mul(self, a: Array, b: Array) -> Array:
        """That of the inner semiring."""
        return self.inner.mul(a, b)

    def sum(self, x: Array, axis: int) -> Array:
        """That of the inner semiring."""
        return self.inner.sum(x, axis)

    def dot(self, a: Array, b: Array, axis: int) -> Array:
        """That of the inner semiring, computed again for its gradient."""
        if not is_torch_array(a):
            return self.inner.dot(a, b, axis)
        from torch.utils.checkpoint import checkpoint

        return checkpoint(self.inner.dot, a, b, axis, use_reentrant=False, preserve_rng_state=False)
