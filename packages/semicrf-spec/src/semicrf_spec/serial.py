"""Which passes over CPU tensors numpy makes, on one thread.

PyTorch's calls cost more where there is little, and large passes it shares out among threads that go on
spinning for milliseconds afterwards, beside the threads of whatever scan comes next.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from array_api_compat import array_namespace

DTYPES = ("torch.float32", "torch.float64")
"""What numpy is fast on."""


def for_numpy(tensor: Any, *dtypes: Any) -> bool:
    """Whether the tensor is on the CPU, and its dtype and the others given are what numpy is fast on."""
    return tensor.device.type == "cpu" and all(str(dtype) in DTYPES for dtype in (tensor.dtype, *dtypes))


def largest(term: Any) -> float:
    """The largest entry of an array of any library, NaN if there is one."""
    if hasattr(term, "numel"):  # asked like this, as PyTorch need not be there
        if for_numpy(term):
            with suppress(RuntimeError), np.errstate(invalid="ignore"):  # no memory of its own, as under vmap
                return float(term.numpy(force=True).max())
        term = term.detach().resolve_neg()
    return float(array_namespace(term).max(term))
