"""Bytes of all tensors that are alive at the same time, counted as they come and go."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Alive(TorchDispatchMode):
    """Counts the memory that operators return; what one of them uses inside and frees again is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            if storage._cdata not in given | self._known:
                self._known.add(storage._cdata)
                self.bytes += storage.nbytes()
                self.peak = max(self.peak, self.bytes)
                weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        return result

    def _freed(self, storage: int, size: int) -> None:
        self._known.discard(storage)
        self.bytes -= size


def peak_bytes(call: Callable[[], object]) -> int:
    """Bytes that a call adds, at its peak, to the tensors that were there before."""
    with Alive() as alive:
        result = call()  # kept alive, as a caller would
    del result
    return alive.peak


def _storages(tree: Any) -> list[Any]:
    return [x.untyped_storage() for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]
