"""Which passes over CPU tensors numpy makes, on one thread.

PyTorch would share a large one out among threads that go on spinning for milliseconds afterwards, beside the
threads of whatever scan comes next. On one thread both take as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

PARALLEL = 2**15
"""Entries from which on PyTorch uses threads."""

DTYPES = ("torch.float32", "torch.float64")
"""What numpy is fast on."""


def for_numpy(tensor: Any, *dtypes: Any) -> bool:
    """Whether the tensor is large, on the CPU, and its dtype and the others given are what numpy knows."""
    large = tensor.numel() >= PARALLEL and tensor.device.type == "cpu"
    return large and all(str(dtype) in DTYPES for dtype in (tensor.dtype, *dtypes))


def largest(term: Any) -> float:
    """The largest entry of an array of any library, NaN if there is one."""
    if hasattr(term, "numel"):  # asked like this, as PyTorch need not be there
        term = term.detach().resolve_neg()
        if for_numpy(term):
            with np.errstate(invalid="ignore"):
                return float(np.max(np.asarray(term)))
    return float(array_namespace(term).max(term))
