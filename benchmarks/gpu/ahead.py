"""Kernels compiled ahead of their timing, many at once; they are found again in Triton's cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

from .contenders import OURS, Problem, Size

WORKERS = max((os.cpu_count() or 2) - 2, 1)
"""Processes beside one another."""


def beside(function: Callable[..., Any], *arguments: Iterable[Any]) -> None:
    """Call a function of a module with each of the arguments, in processes of their own."""
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        list(pool.map(function, *arguments))


def compile_for(classes: int, what: str) -> None:
    """Compile the kernels of one question for so many labels."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    problem = Problem(Size(1, 10, 3, classes), device)
    try:
        (problem.ours() | problem.floors())[what]()
        if device.type == "cuda":
            torch.cuda.synchronize()
    except Exception as error:  # whatever it is, it is met again where it is timed
        print(f"{what} of {classes} labels: {type(error).__name__}: {error}"[:300], flush=True)


def compile_all(sizes: Iterable[Size]) -> None:
    """The kernels that are timed for these sizes."""
    jobs = dict.fromkeys((size.classes, what) for size in sizes for what in (*OURS, "floor"))
    beside(compile_for, *zip(*jobs, strict=True))
