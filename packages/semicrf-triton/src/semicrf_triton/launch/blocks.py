"""How work is cut into pieces for a number of labels."""

from __future__ import annotations

from typing import NamedTuple

import torch

REGISTERS = 65_536
"""32-bit registers of an NVIDIA multiprocessor, and so of the programs on it."""


SHARED_FROM = 90
"""The architecture from which on programs share registers: for older ones the compiler spills some."""


def options(
    warps: int, programs: int = 1, *, amd: bool = torch.version.hip is not None, arch: int | None = None
) -> dict[str, int]:
    """How a kernel is compiled: so many warps of 32 threads, and registers for so many programs beside it.

    Without a number of registers the compiler for NVIDIA GPUs spills some to fit one more program beside.
    AMD's warps have 64 threads.

    Args:
        arch: 90 for sm_90; that of the current device if None.
    """
    if amd:
        return {"num_warps": max(warps // 2, 1)}
    shared = programs_on(current_arch() if arch is None else arch, programs)
    registers = REGISTERS // (32 * warps * shared)
    return {"num_warps": warps, "maxnreg": min(registers // 8 * 8, 255)}


def programs_on(arch: int, programs: int) -> int:
    """How many programs share the registers of a multiprocessor, if so many may."""
    return programs if arch >= SHARED_FROM else 1


def current_arch() -> int:
    """Of the current device, as 90 for sm_90; where kernels are interpreted, any."""
    if not torch.cuda.is_available():
        return SHARED_FROM
    major, minor = torch.cuda.get_device_capability()
    return 10 * major + minor


class Tile(NamedTuple):
    """What a scan holds at once."""

    positions: int  # that it takes one by one between two wide sums
    wide: int  # open segments that such a sum reads at once
    warps: int = 8  # of 32 threads


class Share(NamedTuple):
    """What a program of posteriors takes of a multiprocessor."""

    durations: int  # at once
    programs: int  # that have room beside one another


class Blocks(NamedTuple):
    """How much a program holds at once: constants of its compilation."""

    classes: int  # labels, a power of two
    scan: Tile
    best: Tile  # Viterbi: its scores are twice as long
    mean: Tile
    boundaries: Share
    lasting: Share  # posteriors of durations
    helpers: int  # warps that take posteriors
    span: int = 256  # positions of a launch where segments may be longer; whole frames of them

    def tiled(self, tile: Tile) -> dict[str, int]:
        """The constants of a scan in such tiles, and how it is compiled."""
        return self.sized(tile) | options(tile.warps)

    def sized(self, tile: Tile) -> dict[str, int]:
        """The constants alone."""
        return {"BLOCK_C": self.classes, "BLOCK_T": tile.positions, "BLOCK_K": tile.wide}

    @property
    def positions(self) -> int:
        """Boundaries that posteriors take at once."""
        return 8

    @property
    def drawn(self) -> int:
        """Durations that a sample weighs at once."""
        return 1024 // self.classes

    @property
    def chunk(self) -> int:
        """Positions whose posteriors one program takes: more with many labels, as it keeps a `(C, C)` sum."""
        return max(64, 2 * self.classes)


BLOCKS = (
    # classes, scan, best, mean, boundaries, lasting, helpers
    Blocks(16, Tile(16, 16, 4), Tile(16, 8), Tile(16, 8), Share(4, 3), Share(2, 4), 4),
    Blocks(32, Tile(16, 8), Tile(16, 8), Tile(8, 8), Share(2, 3), Share(2, 4), 4),
    Blocks(64, Tile(8, 8), Tile(8, 4), Tile(8, 2), Share(2, 1), Share(8, 1), 8),
    Blocks(128, Tile(8, 1, 16), Tile(8, 1, 16), Tile(8, 1, 16), Share(1, 1), Share(4, 1), 16),
)
"""So much that all a step needs stays in registers; of 128 labels it does not, nor do posteriors of 64.

Posteriors of up to 64 labels by the clock of an H200 (`benchmarks.gpu.sweep`), scans by the instructions and
barriers that they take (`benchmarks.kernels`).
"""


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


LISTED = 4096
"""Entries of the lists of a position, one for each label and rank."""
TILED = 2048
"""Those of a tile, so that they stay in registers; of the longest lists not even one position's do."""


class Lists(NamedTuple):
    """How much a program holds that keeps sorted lists."""

    classes: int  # labels, a power of two
    bits: int  # of a rank
    tile: int  # positions

    @property
    def ranks(self) -> int:
        """Entries of a list, a power of two."""
        return 1 << self.bits

    @property
    def warps(self) -> int:
        """Of 32 threads: an entry of the lists of a position each, within reason."""
        return min(max(self.classes * self.ranks // 32, 4), 16)


def lists_for(classes: int, k: int) -> Lists:
    """The lists of k for so many labels.

    Raises: ValueError where they are too long.
    """
    held = blocks_for(classes).classes
    bits = (k - 1).bit_length()
    if held << bits > LISTED:
        raise ValueError(
            f"k = {k} of C = {classes} labels is more than the GPU kernels hold, {LISTED // held}: "
            "use backend='eager', or move the tensors to the CPU"
        )
    return Lists(held, bits, max(min(TILED // (held << bits), 8), 1))
