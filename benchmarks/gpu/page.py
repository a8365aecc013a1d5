"""The page of results, and its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .contenders import OURS, THEIRS
from .measure import Spread

Row = dict[str, Any]
"""Of a size: for each call a `Spread`, or why there is none."""


def ratios(row: Row) -> list[str]:
    """A line of the page."""

    def ratio(above: str, below: str) -> str:
        if not all(isinstance(row.get(name), Spread) for name in (above, below)):
            return ""
        return f"{row[above].median / row[below].median:.3g}×"

    def share(name: str) -> str:
        added = getattr(row.get(name), "added", None)
        return "" if added is None else f"{added / row['bytes of emissions']:.3g}×"

    timed = (*(f"ours {what}" for what in OURS), "floor", "copy")
    remarks = [f"{name}: {row[name]}" for name in THEIRS if isinstance(row.get(name), str)]
    return [
        row["size"],
        *(str(row.get(name, "")) for name in timed),
        ratio("ours fwd+bwd", "ours fwd"),
        ratio("ours fwd", "floor"),
        ratio("flash fwd", "ours fwd"),
        ratio("flash fwd+bwd", "ours fwd+bwd"),
        share("ours fwd"),
        share("ours fwd+bwd"),
        "; ".join(remarks),
    ]


def page(result: dict[str, Any], rows: list[Row]) -> str:
    """Results as Markdown."""
    headings = [
        "size", *OURS, "floor", "copy", "fwd+bwd/fwd", "fwd/floor", "flash/ours fwd", "flash/ours fwd+bwd",
        "memory fwd", "memory fwd+bwd", "remark",
    ]  # fmt: skip
    about = [f"- {name}: {value}" for name, value in result.items()]
    table = [headings, ["---"] * len(headings), *map(ratios, rows)]
    return "\n".join(["# On a GPU", "", *about, "", *(f"| {' | '.join(cells)} |" for cells in table), ""])


def write(folder: Path, result: dict[str, Any], rows: list[Row]) -> None:
    """The numbers, and the page."""
    text = json.dumps(result | {"rows": rows}, indent=2, default=vars)
    (folder / "gpu.json").write_text(text + "\n", "utf-8")
    (folder / "gpu.md").write_text(page(result, rows), "utf-8")
