"""Every peer and ours in turn, on the same problem, once they have been found to agree on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

import torch

from semicrf_spec.testing import assert_close

from .ours import Ours
from .peers import FlashSemiCRF, Peer, PytorchCRF, TorchStruct
from .problem import Model, Size, forward, train
from .report import Row, Table, Wanted
from .timing import Contender, Effort, Spread, interleaved

FORWARD, TRAIN, DECODE = "fwd", "fwd+bwd", "decode"
CALLS: dict[str, Callable[[Model], object]] = {FORWARD: forward, TRAIN: train}


@dataclass(frozen=True)
class Match:
    """A peer, a size, and how many times as fast is wanted at what; what is not named is not measured."""

    peer: type[Peer]
    size: Size
    wanted: dict[str, float | None] = field(default_factory=dict)
    quick: bool = True


MATCHES = (
    Match(FlashSemiCRF, Size(4, 200, 20, 16), {FORWARD: None, TRAIN: 500}),
    Match(TorchStruct, Size(4, 100, 10, 8), {TRAIN: 2000}),
    *(
        Match(PytorchCRF, size, {FORWARD: None, TRAIN: wanted, DECODE: 20}, quick)
        for size, wanted, quick in (
            (Size(32, 128, 1, 9), 20, True),
            (Size(8, 1000, 1, 24), 20, True),
            (Size(1, 10_000, 1, 24), 100, False),
        )
    ),
)


def table(effort: Effort) -> Table:
    """How many times as fast ours is."""
    rows = [row for match in MATCHES if match.quick or not effort.quick for row in _rows(match, effort)]
    return Table("Beside other libraries", "theirs", "ours", "theirs/ours", rows)


def _rows(match: Match, effort: Effort) -> Iterator[Row]:
    torch.manual_seed(0)
    package, size = match.peer.package, str(match.size)
    try:
        peer = match.peer(match.size)
    except ImportError as missing:
        for what in match.wanted:
            yield Row(f"{package} {what}", size, remark=f"not importable: {missing}")
        return
    ours = Ours(peer.terms, constant=peer.constant)
    check(peer, ours)
    for what, wanted in match.wanted.items():
        bound = None if wanted is None else Wanted("≥", wanted)
        theirs, *others = found = fastest(calls(peer, ours, what), effort)
        slow = found[theirs]
        for name in others:
            fast = found[name]
            ratio = slow.spread.median / fast.spread.median
            threads = f"threads: {slow.threads} and {fast.threads}"
            yield Row(f"{package} {name}", size, slow.spread, fast.spread, ratio, bound, threads)


def calls(peer: Peer, ours: Ours, what: str) -> dict[str, Callable[[], object]]:
    """The peer's call, then ours, for a path three: segments, lists of labels like the peer's, tensors."""
    if what == DECODE:
        return {
            "theirs": cast(PytorchCRF, peer).decode,
            "decode to segments": ours.decode_to_segments,
            "decode to labels": ours.decode_to_labels,
            "decode to tensors": ours.decode_to_tensors,
        }
    return {"theirs": partial(CALLS[what], peer), what: partial(CALLS[what], ours)}


class Fastest(NamedTuple):
    """The number of threads that a call is fastest on, and its time there."""

    spread: Spread
    threads: int


def fastest(calls: Mapping[str, Callable[[], object]], effort: Effort) -> dict[str, Fastest]:
    """Each call on one thread and on all: what is small may be faster, and steadier, on one."""
    numbers = sorted({1, torch.get_num_threads()})
    found = interleaved(
        {f"{name} on {n}": Contender(call, threads=n) for name, call in calls.items() for n in numbers},
        effort,
    )
    return {
        name: min((Fastest(found[f"{name} on {n}"], n) for n in numbers), key=lambda each: each.spread.median)
        for name in calls
    }


def check(peer: Peer, ours: Ours) -> None:
    """Raise AssertionError unless both compute the same: nobody is to be timed on something else.

    The peer rounds once a position, in the precision that it computes in. Its best path is scored by ours,
    so that paths of equal score agree.
    """
    positions = peer.terms["emissions"].shape[1]
    bound = positions * torch.finfo(peer.terms["emissions"].dtype).eps
    expected = forward(ours)
    assert_close(peer.log_partition().detach(), expected, bound, f"{peer.package}'s log partition")
    if isinstance(peer, PytorchCRF):
        distribution, paths = ours.distribution(), peer.decode()
        path = [[(t, t + 1, label) for t, label in enumerate(labels)] for labels in paths]
        best = distribution.mode.scores
        assert best is not None
        assert_close(distribution.score(path).detach(), best, bound, f"{peer.package}'s best score")
