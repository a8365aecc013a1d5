"""Which kernels are compiled, for which constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from semicrf_triton.kernels.covariances import (
    Covariances,
    boundary_covariance_kernel,
    drift_kernel,
    duration_covariance_kernel,
    transition_covariance_kernel,
)
from semicrf_triton.kernels.fixed import Scores
from semicrf_triton.kernels.means import Means, Values, means_kernel
from semicrf_triton.kernels.open import Open
from semicrf_triton.kernels.posteriors import Counts, boundary_kernel, cover_kernel, duration_kernel
from semicrf_triton.kernels.ranking import rank_kernel, walk_kernel
from semicrf_triton.kernels.sample import sample_kernel
from semicrf_triton.kernels.scan import Behind, Passed, State, Sums, scan_kernel, wide_kernel
from semicrf_triton.kernels.tables import Tables, tables_kernel
from semicrf_triton.kernels.terms import BY_SEGMENT, SHARED, Terms, Weights
from semicrf_triton.kernels.viterbi import traceback_kernel, viterbi_kernel
from semicrf_triton.launch.blocks import BLOCKS, LISTED, TILED, Blocks, Lists, lists_for
from semicrf_triton.launch.viterbi import POSITIONS

FLOATS, INTS, LONGS = "*fp32", "*i32", "*i64"
REQUIRED = Terms(FLOATS, None, None, None, None, None, None)
ALL_TERMS = Terms(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, LONGS, "*i8")
OPENS = Open(FLOATS, INTS, LONGS, INTS)
SUMS = Sums(LONGS, LONGS, FLOATS, FLOATS, LONGS, INTS)
SCORES = Scores(FLOATS, LONGS)
STATE = State(*(LONGS,) * 7)
BEHIND = Behind(FLOATS, LONGS)
COUNTS = Counts(FLOATS, None, None, FLOATS, FLOATS, FLOATS, LONGS, FLOATS)
ALL_COUNTS = Counts(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, LONGS, FLOATS)
VALUES = Values(*(FLOATS,) * 8)
MEANS = Means(LONGS, LONGS, LONGS, LONGS)
COVARIANCES = Covariances(FLOATS, FLOATS, FLOATS, FLOATS, LONGS, LONGS, FLOATS)


@dataclass(frozen=True)
class Variant:
    """A kernel with the types of its arguments and the values of its constants."""

    kernel: Any
    what: str
    types: tuple[Any, ...]
    constants: dict[str, Any]
    warps: int
    programs: int = 1  # that are to have room on a multiprocessor

    @property
    def name(self) -> str:
        return f"{self.kernel.__name__} {self.what}"

    def signature(self) -> tuple[dict[str, Any], dict[tuple[int, ...], Any]]:
        """What Triton is to be told: the type of each argument, and the constants by their place."""
        names = self.kernel.arg_names
        values: dict[tuple[int, ...], Any] = {}
        signature: dict[str, Any] = {}
        for i, (name, kind) in enumerate(zip(names, self.types, strict=False)):
            if isinstance(kind, tuple):
                values |= {(i, k): None for k, member in enumerate(kind) if member is None}
                kind = type(kind)(*("constexpr" if member is None else member for member in kind))
            signature[name] = kind
        for name, value in self.constants.items():
            signature[name] = "constexpr"
            values[(names.index(name),)] = value
        assert set(signature) == set(names), f"{self.name}: {list(signature)} are not {names}"
        return {name: signature[name] for name in names}, values


def variants() -> Iterator[Variant]:
    """Every kernel for every size of blocks, and for one of them with other terms."""
    for blocks in BLOCKS:
        yield from of_blocks(blocks, "all terms", ALL_TERMS, ALL_COUNTS)
    yield from of_blocks(BLOCKS[1], "required terms", REQUIRED, COUNTS)
    yield from of_blocks(BLOCKS[1], "by position", ALL_TERMS, ALL_COUNTS, by_position=True)
    yield from of_blocks(BLOCKS[1], "whole segments", ALL_TERMS, ALL_COUNTS, durations=BY_SEGMENT.value)
    for blocks in BLOCKS:
        for k in (1, 8, TILED // blocks.classes):
            yield of_lists(lists_for(blocks.classes, k), f"k = {k}")
        yield of_lists(lists_for(blocks.classes, LISTED // blocks.classes), "longest lists")
    yield of_lists(lists_for(BLOCKS[1].classes, 8), "k = 8, whole segments", BY_SEGMENT.value)
    sizes = {"BLOCK": POSITIONS}
    yield Variant(traceback_kernel, "", (INTS, "*i8", INTS, LONGS, LONGS, LONGS, "i32", "i32"), sizes, 4)
    pointers = (INTS, "*i16", INTS, LONGS, LONGS, LONGS)
    yield Variant(walk_kernel, "", (*pointers, *("i32",) * 4), {"BITS": 3, **sizes}, 4)


def of_blocks(
    blocks: Blocks, what: str, terms: Terms, counts: Counts, *, by_position: bool = False, durations: int = 0
) -> Iterator[Variant]:
    """The kernels of one size of blocks."""
    what = f"C = {blocks.classes}, {what}"
    sizes = ("i32",) * 4  # rows, T, K, C
    weights, passed = Weights(FLOATS, INTS, FLOATS, INTS), Passed(LONGS, LONGS)
    at = {"BLOCK_C": blocks.classes, "BLOCK_T": blocks.positions}
    flags = {"BY_POSITION": by_position, "DURATIONS": durations}
    chunk = {"CHUNK": blocks.chunk}
    own = by_position or durations == BY_SEGMENT.value
    scanned = (terms, weights, OPENS, SUMS)

    def variant(
        kernel: Any, types: tuple[Any, ...], warps: int, programs: int = 1, **constants: Any
    ) -> Variant:
        return Variant(kernel, what, types, constants, warps, 1 if own else programs)

    of_scans = {"DURATIONS": durations, **blocks.sized(blocks.scan)}
    tables = Tables(
        durations=LONGS if durations == SHARED.value else None,
        near=LONGS if durations == SHARED.value else None,
        matrix_m=None if by_position else FLOATS,
        matrix_e=None if by_position else INTS,
    )
    if durations == SHARED.value or not by_position:
        sizes_of_tables = {"BEST": False, **blocks.sized(blocks.scan)}
        yield variant(tables_kernel, (weights, tables, "i32", "i32", "i32"), 4, **sizes_of_tables)
    begun = (terms, weights, tables, OPENS, SUMS)
    arguments = (*begun, passed, STATE, BEHIND, LONGS, "*i8", "i32", "i32", *sizes)
    yield variant(scan_kernel, arguments, blocks.scan.warps, BY_POSITION=by_position, **of_scans, **chunk)
    arguments = (*begun, STATE, BEHIND, "i32", *sizes)
    yield variant(wide_kernel, arguments, blocks.scan.warps, **of_scans)
    arguments = (*scanned, passed, counts, *sizes)
    ends, lasting = blocks.boundaries, blocks.lasting
    deep = {"BLOCK_D": ends.durations}
    yield variant(boundary_kernel, arguments, blocks.helpers, ends.programs, **flags, **chunk, **at, **deep)
    yield variant(cover_kernel, (terms, SUMS, counts, "i32", "i32"), blocks.helpers, **chunk, **at)
    of_segments = {"DURATIONS": durations, **chunk, **at, **deep}
    arguments = (*scanned, counts, FLOATS, *sizes, "i32", "i32")
    of_lasting = of_segments | {"BLOCK_D": lasting.durations}
    yield variant(duration_kernel, arguments, blocks.helpers, lasting.programs, **of_lasting)
    arguments = (*scanned, VALUES, MEANS, FLOATS, FLOATS, *sizes)
    yield variant(means_kernel, arguments, blocks.mean.warps, **flags, **blocks.sized(blocks.mean))
    found = (VALUES, MEANS, COVARIANCES)
    yield variant(boundary_covariance_kernel, (*scanned, *found, *sizes), blocks.helpers, **of_segments)
    arguments = (terms, ALL_COUNTS, MEANS, COVARIANCES, "i32", "i32")
    yield variant(drift_kernel, arguments, blocks.helpers, **chunk, **at)
    arguments = (*scanned[:3], passed, ALL_COUNTS, *found, *sizes[1:])
    by_position_too = {"BY_POSITION": by_position, **chunk, **at}
    yield variant(transition_covariance_kernel, arguments, blocks.helpers, **by_position_too)
    arguments = (*scanned, ALL_COUNTS, *found, FLOATS, *sizes, "i32", "i32")
    yield variant(duration_covariance_kernel, arguments, blocks.helpers, **of_segments)
    arguments = (*scanned, LONGS, LONGS, LONGS, *sizes, "i32")
    of_samples = {"BLOCK_C": blocks.classes, "BLOCK_T": blocks.scan.positions, "BLOCK_D": blocks.drawn}
    yield variant(sample_kernel, arguments, blocks.helpers, **flags, **of_samples)
    of_best = tables._replace(matrix_e=None)
    if durations == SHARED.value or not by_position:
        sizes_of_tables = {"BEST": True, **blocks.sized(blocks.best)}
        yield variant(tables_kernel, (SCORES, of_best, "i32", "i32", "i32"), 4, **sizes_of_tables)
    arguments = (terms, SCORES, of_best, LONGS, LONGS, "*i8", INTS, "*i8", INTS, *sizes)
    yield variant(viterbi_kernel, arguments, blocks.best.warps, **flags, **blocks.sized(blocks.best))


def of_lists(lists: Lists, what: str, durations: int = 0) -> Variant:
    """The kernel of the k best, for one size of lists."""
    arguments = (ALL_TERMS, FLOATS, LONGS, LONGS, LONGS, INTS, "*i16", INTS, *("i32",) * 5)
    flags = {"BY_POSITION": False, "DURATIONS": durations}
    sizes = {"BLOCK_C": lists.classes, "BLOCK_T": lists.tile, "BITS": lists.bits}
    return Variant(rank_kernel, f"C = {lists.classes}, {what}", arguments, flags | sizes, lists.warps)
