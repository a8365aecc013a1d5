"""Compilation: on first use, cached on disk where that is possible, and announced as it takes time."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from threading import RLock
from typing import Any, cast

import numba
import numpy as np
import numpy.ma  # Numba would import it at the first call, while which nothing can fork
from numba.core import event

logger = logging.getLogger("semicrf_reference")
Function = Callable[..., Any]


_one_at_a_time = RLock()
if hasattr(
    os, "register_at_fork"
):  # a child that is forked while another thread compiles would wait for ever
    os.register_at_fork(
        before=_one_at_a_time.acquire,
        after_in_parent=_one_at_a_time.release,
        after_in_child=_one_at_a_time.release,
    )

STAMP = tuple(
    (file.name, file.stat().st_mtime, file.stat().st_size)
    for file in sorted(Path(__file__).parent.glob("*.py"))
)
"""What kernels on disk were compiled from. Numba looks only at the file that a kernel itself is in."""

FASTMATH = {"contract", "nnan", "nsz"}
"""Products may be fused into sums, and no NaN is ever computed; infinities keep their meaning."""

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": FASTMATH,
    "_nrt": False,  # no counting of references: it took longer than the arithmetic, and nothing is allocated
}


def jit(function: Function) -> Any:
    """Compiled as part of the kernels that call it, without the GIL."""
    return numba.njit(**OPTIONS)(function)


def inlined(function: Function) -> Any:
    """Like `jit`, for what is small or called at every step."""
    return numba.njit(forceinline=True, **OPTIONS)(function)


def summed(function: Function) -> Any:
    """Like `inlined`, its sums in the order that suits the processor, which is always the same."""
    options = {**OPTIONS, "fastmath": FASTMATH | {"reassoc"}}
    return numba.njit(forceinline=True, **options)(function)


def cached(function: Function) -> Any:
    """Like `jit`, kept on disk; without a folder to keep it in, compiled anew in every process.

    For functions of plain arrays: what else is in a signature would have to be importable from the cache.
    """
    try:
        dispatcher: Any = numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # numba found no writable folder
        return jit(function)
    with suppress(AttributeError):  # where Numba keeps it is Numba's affair
        dispatcher._cache._cache_file._source_stamp = STAMP
    return dispatcher


def compiled_for(signature: str, function: Function) -> Function:
    """Compiled for one signature, whatever has become of the folder: a full disk is no error."""
    dispatcher = cached(function)
    try:
        dispatcher.compile(signature)
    except Exception as error:  # whatever reading a damaged file may raise
        if not dispatcher.signatures:  # else it was compiled, and keeping it failed
            with suppress(Exception):
                dispatcher._cache.flush()  # what is damaged is written anew by the next process
            dispatcher = jit(function)
            dispatcher.compile(signature)
        logger.warning(
            "semicrf: compiled CPU kernels cannot be kept on disk (%s: %s), so every process compiles them "
            "anew; free some space, or set NUMBA_CACHE_DIR to another folder",
            type(error).__name__,
            error,
        )
    dispatcher.disable_compile()
    return cast(Function, dispatcher)


def kernel(signature: str) -> Callable[[Function], Function]:
    """Compile on first call, once for every dtype of the first and of the last array in the tuples given.

    Args:
        signature: Numba's notation, `real` and `index` standing for those dtypes. The arrays of users in it
            may have any strides, so that views, expanded terms and reversed sequences share one compilation.
    """

    def decorate(function: Function) -> Function:
        ready: dict[tuple[np.dtype[Any], np.dtype[Any]], Function] = {}

        def compiled(real: np.dtype[Any], index: np.dtype[Any]) -> Function:
            with _one_at_a_time:
                if (real, index) not in ready:
                    types = signature.replace("real", real.name).replace("index", index.name)
                    ready[real, index] = compiled_for(types, function)
            return ready[real, index]

        @wraps(function)
        def call(*args: Any) -> Any:
            tuples = [arg for arg in args if isinstance(arg, tuple)]
            dtypes = tuples[0][0].dtype, tuples[-1][-1].dtype
            return (ready.get(dtypes) or compiled(*dtypes))(*args)

        return call

    return decorate


class _Announcer(event.Listener):
    """Says once that compilation has begun, so that nobody takes it for a hang."""

    said = False

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        ours = (function.__module__ or "").startswith(__name__.rpartition(".")[0])
        if ours and not self.said:
            self.said = True
            logger.warning(
                "semicrf: compiling the CPU kernels; this takes about half a minute, once per dtype and "
                "installation"
            )

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


cast(Any, event).register("numba:compile", _Announcer())
