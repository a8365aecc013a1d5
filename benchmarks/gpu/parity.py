"""The tests of the kernels, for as long as there is time."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from .process import WORKERS, begin, kill

TESTS = "packages/semicrf-triton/tests/kernels"
GRACE = 30.0
"""Seconds of those given in which pytest may end: its workers alone take up to 10 of them."""


def counted(text: str) -> Counter[str]:
    """How many tests passed, failed and so on, as `pytest -v` says after each, whether it ended or not."""
    after_each = [line for line in text.splitlines() if re.search(r"\[ *\d+%\]", line)]
    return Counter(re.findall(r"\b(PASSED|FAILED|ERROR|SKIPPED)\b", "\n".join(after_each)))


def parity(output: Path, seconds: float, tests: str = TESTS) -> tuple[bool, str]:
    """Run tests for so long, many at once if that is possible: whether all is well, and what there is to say.

    Args:
        output: the file that pytest writes to.
        seconds: in which it ends, or is ended.
        tests: the folder of tests.
    """
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", tests]
    if importlib.util.find_spec("xdist"):
        command += ["-p", "xdist.plugin", "-n", str(WORKERS)]
    begun, stopped = time.monotonic(), False
    with output.open("w", encoding="utf-8") as file:
        process = begin(command, stdout=file, stderr=file)
        try:
            process.wait(max(seconds - GRACE, 0.0))
        except subprocess.TimeoutExpired:
            stopped = True
            process.send_signal(signal.SIGINT)  # pytest then says what has failed
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                print("pytest did not end when it was told to", flush=True)
        finally:
            kill(process)
    text = output.read_text("utf-8", errors="replace")
    print(text[-8000:], flush=True)
    found = counted(text)
    if found["FAILED"] or found["ERROR"]:
        well, verdict = False, "failed"
    elif process.returncode == 0:
        well, verdict = True, "passed"
    elif stopped and found["PASSED"]:
        well, verdict = True, "stopped when time was up, no test had failed"
    else:
        well, verdict = False, f"could not run, pytest ended with {process.returncode}"
    numbers = ", ".join(f"{count} {name.lower()}" for name, count in sorted(found.items())) or "no tests"
    return well, f"{verdict}: {numbers} in {time.monotonic() - begun:.0f} s"
