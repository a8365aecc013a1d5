"""Which axis of a block of three is summed, so that a sum needs no exchange between threads.

Labels lie side by side in memory, and are spread over threads first. Triton spreads the other axes from the
last one on, and before 3.7 from the first on: what comes after is left to each thread.
"""

from __future__ import annotations

import triton
import triton.language as tl

_FROM_LAST = tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 7)

SUMMED = tl.constexpr(1 if _FROM_LAST else 2)
"""The axis that is summed, where labels are the first."""
KEPT = tl.constexpr(2 if _FROM_LAST else 1)
"""The other axis there."""

SUMMED_BEFORE = tl.constexpr(0 if _FROM_LAST else 1)
"""The axis that is summed, where labels are the last."""
KEPT_BEFORE = tl.constexpr(1 if _FROM_LAST else 0)
"""The other axis there."""
