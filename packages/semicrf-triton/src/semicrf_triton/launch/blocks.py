"""How work is cut into pieces for a number of labels."""

from __future__ import annotations

from typing import NamedTuple


class Blocks(NamedTuple):
    """How much a program holds at once: constants of its compilation."""

    classes: int  # labels, a power of two
    tile: int  # positions that are taken one by one between two wide sums
    wide: int  # segments of the window that a wide sum reads at once
    warps: int  # of 32 threads

    @property
    def chunk(self) -> int:
        """Positions whose posteriors one program takes: more with many labels, as it keeps a `(C, C)` sum."""
        return max(64, 2 * self.classes)


BLOCKS = (Blocks(16, 16, 16, 8), Blocks(32, 8, 16, 4), Blocks(64, 8, 4, 8), Blocks(128, 8, 2, 16))
"""The more labels, the fewer positions and segments: all that a step needs is meant to stay in registers."""


def blocks_for(classes: int) -> Blocks:
    """The least blocks that hold so many labels.

    Raises: ValueError where there are none.
    """
    for blocks in BLOCKS:
        if classes <= blocks.classes:
            return blocks
    raise ValueError(
        f"C = {classes} labels are more than the GPU kernels hold, {BLOCKS[-1].classes}: "
        "use backend='eager', or move the tensors to the CPU"
    )
