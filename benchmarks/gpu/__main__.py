"""On a machine with a GPU: parity at full size, times, memory, and a page of results.

Needs torch, triton, numpy and pytest, and what the packages in packages/*/src import.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .contenders import Size

ROOT = Path(__file__).parents[2]
SOURCES = [str(path) for path in sorted((ROOT / "packages").glob("*/src"))]
TESTS = "packages/semicrf-triton/tests/kernels"


def parity(seconds: float) -> dict[str, Any]:
    """Run the tests of the kernels for so long, many at once if that is possible, and say how they ended."""
    from .ahead import WORKERS

    plugins = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS]
    if importlib.util.find_spec("xdist"):
        command += ["-p", "xdist.plugin", "-n", str(WORKERS)]
    begun, stopped = time.perf_counter(), False
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(
            command, cwd=ROOT, env=os.environ | plugins, stdout=output, stderr=output
        ) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)  # pytest then says what has failed
                threading.Timer(10.0, process.kill).start()
                stopped = True
        output.seek(0)
        text = output.read()
    print(text[-8000:], flush=True)
    lines = [
        line for line in text.splitlines() if any(f" {x}" in line for x in ("passed", "failed", "error"))
    ]
    return {
        "passed": process.returncode == 0,
        "said": (lines or ["nothing"])[-1].strip("= ") + (", stopped when time was up" if stopped else ""),
        "seconds": round(time.perf_counter() - begun),
    }


def times(sizes: Sequence[Size], device: torch.device) -> list[dict[str, Any]]:
    """What ours take at every size, the floor and a copy."""
    from .contenders import Problem
    from .measure import milliseconds, with_peak

    rows = []
    for size in sizes:
        problem = Problem(size, device)
        row: dict[str, Any] = {"size": str(size), "bytes of emissions": problem.emissions.nbytes}
        for what, call in problem.ours().items():
            try:
                row[f"ours {what}"], row[f"bytes {what}"] = with_peak(call, device)
            except Exception as error:  # the others are still to be measured
                row[f"ours {what}"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        row |= {what: milliseconds(call, device) for what, call in problem.floors().items()}
        print({name: str(value) for name, value in row.items()}, flush=True)
        rows.append(row)
    return rows


def ratios(row: dict[str, Any]) -> list[str]:
    """A line of the page."""
    from .contenders import OURS
    from .measure import Spread

    def ratio(above: str, below: str) -> str:
        if not all(isinstance(row.get(name), Spread) for name in (above, below)):
            return ""
        return f"{row[above].median / row[below].median:.3g}×"

    def share(name: str) -> str:
        return "" if row.get(name) is None else f"{row[name] / row['bytes of emissions']:.3g}×"

    timed = (*(f"ours {what}" for what in OURS), "floor", "copy")
    measured = [str(row.get(name, "")) for name in timed]
    against = [
        ratio("ours fwd+bwd", "ours fwd"),
        ratio("ours fwd", "floor"),
        ratio("flash fwd", "ours fwd"),
        ratio("flash fwd+bwd", "ours fwd+bwd"),
    ]
    return [
        row["size"],
        *measured,
        *against,
        share("bytes fwd"),
        share("bytes fwd+bwd"),
        row.get("flash", ""),
    ]


def page(result: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Results as Markdown."""
    from .contenders import OURS

    headings = [
        "size", *OURS, "floor", "copy", "fwd+bwd/fwd", "fwd/floor", "flash/ours fwd", "flash/ours fwd+bwd",
        "memory fwd", "memory fwd+bwd", "remark",
    ]  # fmt: skip
    about = [f"- {name}: {value}" for name, value in result.items() if name != "rows"]
    table = [headings, ["---"] * len(headings), *map(ratios, rows)]
    return "\n".join(["# On a GPU", "", *about, "", *(f"| {' | '.join(cells)} |" for cells in table), ""])


def write(folder: Path, result: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The numbers, and the page."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result | {"rows": rows}, indent=2, default=vars)
    (folder / "gpu.json").write_text(text + "\n", "utf-8")
    (folder / "gpu.md").write_text(page(result, rows), "utf-8")


def main() -> int:
    """Run everything and write it down, as far as it is known; 1 if parity failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, help="where to write; benchmarks/results/<gpu> if missing")
    parser.add_argument("--peers", type=float, default=120.0, help="seconds for flash-semicrf")
    parser.add_argument("--parity", type=float, default=180.0, help="seconds for the tests; 0 for none")
    chosen = parser.parse_args()
    sys.path[:0] = SOURCES
    os.environ["PYTHONPATH"] = os.pathsep.join([*SOURCES, os.environ.get("PYTHONPATH", "")])
    if not torch.cuda.is_available() and not chosen.smoke:
        parser.error("no GPU is there; --smoke runs tiny sizes in the interpreter, with TRITON_INTERPRET=1")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    from .ahead import compile_all
    from .contenders import SIZES, SMOKE
    from .measure import environment
    from .peer import peers

    sizes = SMOKE if chosen.smoke else SIZES
    result: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
        **environment(device),
    }
    named = re.sub(r"[^A-Za-z0-9.]+", "-", result["device"])
    folder = chosen.out or ROOT / "benchmarks" / "results" / named
    compile_all(sizes)
    rows = times(sizes, device)
    write(folder, result, rows)
    theirs = peers(sizes, chosen.peers)
    rows = [row | theirs[row["size"]] for row in rows]
    write(folder, result, rows)
    if chosen.parity > 0.0:
        result["parity"] = parity(chosen.parity)
        write(folder, result, rows)
    print(page(result, rows))
    return 0 if result.get("parity", {}).get("passed", True) else 1


if __name__ == "__main__":
    sys.exit(main())
