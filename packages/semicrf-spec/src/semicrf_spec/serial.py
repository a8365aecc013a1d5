"""Which passes over CPU tensors numpy makes, on one thread.

PyTorch's calls cost more where there is little, and large passes it shares out among threads that go on
spinning for milliseconds afterwards, beside the threads of whatever scan comes next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np
from array_api_compat import array_namespace

DTYPES = {"torch.float32": np.float32, "torch.float64": np.float64}
"""Numpy's dtypes of scores, by what PyTorch calls them: those that numpy is fast on."""


def for_numpy(tensor: Any) -> bool:
    """Whether the tensor is on the CPU, and numpy is fast on its dtype: on all but those of 16 bits."""
    return bool(tensor.is_cpu) and tensor.itemsize != 2


def largest(terms: Iterable[Any]) -> list[float]:
    """The largest entry of each array of any library, NaN if there is one, `-inf` where there is none.

    Those of tensors on a GPU are read together, as each reading waits for it.
    """
    with np.errstate(invalid="ignore"):
        tops = [_largest(term) if 0 not in term.shape else -math.inf for term in terms]
    far = [n for n, top in enumerate(tops) if not getattr(top, "is_cpu", True)]
    if len(far) > 1:
        together = array_namespace(tops[far[0]]).stack([tops[n] for n in far]).tolist()
        for n, top in zip(far, together, strict=True):
            tops[n] = top
    return [float(top) for top in tops]


def _largest(term: Any) -> Any:
    if isinstance(term, np.ndarray):
        return np.maximum.reduce(term, axis=None)
    if hasattr(term, "numel"):  # asked like this, as PyTorch need not be there
        with suppress(RuntimeError):  # no memory of its own, as under torch.func.grad
            if for_numpy(term):
                return np.maximum.reduce(term.numpy(force=True), axis=None)
        term = term.detach().resolve_neg()
    return array_namespace(term).max(term)
