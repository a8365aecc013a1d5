"""On a machine with a GPU: parity at full size, times, memory, and a page of results.

Needs torch, triton, numpy and pytest, and what the packages in packages/*/src import.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
SOURCES = [str(path) for path in sorted((ROOT / "packages").glob("*/src"))]
TESTS = "packages/semicrf-triton/tests/kernels"
OURS = ("fwd", "fwd+bwd", "second order", "decode", "top_k")
"""What is timed of ours."""


def parity() -> dict[str, Any]:
    """Run the tests of the kernels where they are, and say how they ended."""
    path = os.pathsep.join([*SOURCES, os.environ.get("PYTHONPATH", "")])
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    lines = done.stdout.strip().splitlines() or ["nothing ran"]
    return {"passed": done.returncode == 0, "said": lines[-1], "seconds": time.perf_counter() - begun}


def times(smoke: bool, device: torch.device) -> list[dict[str, Any]]:
    """Every size and contender; what cannot run says why."""
    from .contenders import SIZES, SMOKE, Problem
    from .measure import milliseconds, peak_bytes

    rows = []
    for size in SMOKE if smoke else SIZES:
        problem = Problem(size, device)
        row: dict[str, Any] = {"size": str(size)}
        row |= {f"ours {what}": milliseconds(call, device) for what, call in problem.ours().items()}
        row |= {what: milliseconds(call, device) for what, call in problem.floors().items()}
        try:
            for what, call in problem.theirs().items():
                row[f"flash {what}"] = milliseconds(call, device, budget=1.0, most=5)
        except Exception as error:  # whatever it is, the others are still to be measured
            row["flash"] = f"{type(error).__name__}: {error}"[:200]
        ours = problem.ours()
        emissions = problem.emissions.nbytes
        row["bytes of emissions"] = emissions
        row["bytes fwd"] = peak_bytes(ours["fwd"], device)
        row["bytes fwd+bwd"] = peak_bytes(ours["fwd+bwd"], device)
        print({name: str(value) for name, value in row.items()}, flush=True)
        rows.append(row)
    return rows


def ratios(row: dict[str, Any]) -> list[str]:
    """A line of the page."""

    def ratio(above: str, below: str) -> str:
        if above not in row or below not in row:
            return ""
        return f"{row[above].median / row[below].median:.3g}×"

    def share(name: str) -> str:
        return "" if row[name] is None else f"{row[name] / row['bytes of emissions']:.3g}×"

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
    headings = [
        "size", *OURS, "floor", "copy", "fwd+bwd/fwd", "fwd/floor", "flash/ours fwd", "flash/ours fwd+bwd",
        "memory fwd", "memory fwd+bwd", "remark",
    ]  # fmt: skip
    about = [f"- {name}: {value}" for name, value in result.items() if name != "rows"]
    table = [headings, ["---"] * len(headings), *map(ratios, rows)]
    return "\n".join(["# On a GPU", "", *about, "", *(f"| {' | '.join(cells)} |" for cells in table), ""])


def main() -> int:
    """Run everything and write it down; 1 if parity failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes and no parity, to see that it runs")
    parser.add_argument("--out", type=Path, help="where to write; benchmarks/results/<gpu> if missing")
    chosen = parser.parse_args()
    sys.path[:0] = SOURCES
    if not torch.cuda.is_available() and not chosen.smoke:
        parser.error("no GPU is there; --smoke runs tiny sizes in the interpreter, with TRITON_INTERPRET=1")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    from .measure import environment

    result: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": "python -m benchmarks.gpu" + (" --smoke" if chosen.smoke else ""),
        **environment(device),
    }
    if not chosen.smoke:
        result["parity"] = parity()
    rows = times(chosen.smoke, device)
    named = re.sub(r"[^A-Za-z0-9.]+", "-", result["device"])
    folder = chosen.out or ROOT / "benchmarks" / "results" / named
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(
        json.dumps(result | {"rows": rows}, indent=2, default=vars) + "\n", "utf-8"
    )
    (folder / "gpu.md").write_text(page(result, rows), "utf-8")
    print(page(result, rows))
    return 0 if chosen.smoke or result["parity"]["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
