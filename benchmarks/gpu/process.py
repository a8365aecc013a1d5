"""Processes of their own for what may raise, hang or be killed; what they tell is read as it comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCES = [str(path) for path in sorted((ROOT / "packages").glob("*/src"))]
WORKERS = max((os.cpu_count() or 2) - 2, 1)
"""Processes beside one another."""


def inherited() -> dict[str, str]:
    """The environment, in which Python finds the packages here and, from any folder, what it found before.

    Of plugins, pytest and its workers load those only that are named.
    """
    given = [
        str(Path(entry).resolve()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry
    ]
    paths = os.pathsep.join([*SOURCES, *given])
    return os.environ | {"PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def begin(command: list[str], **streams: Any) -> subprocess.Popen[Any]:
    """Begin a process in the root of the repository, with a group of processes of its own."""
    return subprocess.Popen(command, cwd=ROOT, env=inherited(), process_group=0, **streams)


def kill(process: subprocess.Popen[Any]) -> None:
    """End it and all that it began; what the system cannot end is left behind."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10.0)


def tell(path: Path, said: Any) -> None:
    """Add a line of JSON to what this process has told; stdout is everybody's."""
    with path.open("a", encoding="utf-8") as told:
        told.write(json.dumps(said, default=vars) + "\n")


def follow(module: str, argument: str, heard: Callable[[Any], None], seconds: Callable[[], float]) -> str:
    """Run a module, which is given a file to `tell` in and an argument, and say how it ended.

    Args:
        module: its name.
        argument: of the module.
        heard: takes what is told, as it comes.
        seconds: how long the next line may take, asked for before each; then the process is killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "told"
        path.touch()
        process, rest, allowed = begin([sys.executable, "-m", module, str(path), argument]), "", seconds()
        since = time.monotonic()
        try:
            with path.open(encoding="utf-8") as told:
                while True:
                    ended = process.poll()  # asked before reading: nothing is told after it
                    *lines, rest = (rest + told.read()).split("\n")
                    for line in lines:
                        heard(json.loads(line))
                        since, allowed = time.monotonic(), seconds()
                    if ended is not None:
                        return f"the process ended with {ended}"
                    if time.monotonic() - since > allowed:
                        return f"stopped after {allowed:.0f} s"
                    time.sleep(0.05)
        finally:
            kill(process)


def beside(calls: Iterable[Callable[[], object]]) -> None:
    """Call functions that wait for processes, as many at once as there are workers."""
    with ThreadPoolExecutor(WORKERS) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()
