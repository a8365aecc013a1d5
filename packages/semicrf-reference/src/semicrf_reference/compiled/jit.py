"""Compilation: on first use, cached on disk where that is possible, and announced as it takes time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any, cast

import numba
import numpy as np
from numba.core import event

logger = logging.getLogger("semicrf_reference")
Function = Callable[..., Any]


_one_at_a_time = RLock()

STAMP = tuple(
    (file.name, file.stat().st_mtime, file.stat().st_size)
    for file in sorted(Path(__file__).parent.glob("*.py"))
)
"""What kernels on disk were compiled from. Numba looks only at the file that a kernel itself is in."""


def jit(function: Function) -> Any:
    """Compiled without the GIL and with IEEE arithmetic; kept on disk.

    Without a folder to cache in, the function is compiled anew in every process.
    """
    try:
        dispatcher: Any = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no writable folder
        return numba.njit(nogil=True)(function)
    with suppress(AttributeError):  # where Numba keeps it is Numba's affair
        dispatcher._cache._cache_file._source_stamp = STAMP
    return dispatcher


def kernel(signature: str) -> Callable[[Function], Function]:
    """Compile on first call, once for float32 and once for float64 positions.

    Args:
        signature: Numba's notation, `real` standing for the dtype of the first array. The arrays in it
            may have any strides, so that views, expanded terms and reversed sequences share one
            compilation.
    """

    def decorate(function: Function) -> Function:
        ready: dict[str, Function] = {}

        def compiled(real: str) -> Function:
            with _one_at_a_time:
                if real not in ready:
                    dispatcher = jit(function)
                    dispatcher.compile(signature.replace("real", real))
                    dispatcher.disable_compile()
                    ready[real] = dispatcher
            return ready[real]

        def call(*args: Any) -> None:
            real = next(arg.dtype.name for arg in args if isinstance(arg, np.ndarray))
            (ready.get(real) or compiled(real))(*args)

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
                "semicrf: compiling the CPU kernels; this takes some seconds, once per dtype and installation"
            )

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


cast(Any, event).register("numba:compile", _Announcer())
