"""Tables of what was measured beside what was wanted: on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table as RichTable

from .timing import Spread


@dataclass(frozen=True)
class Wanted:
    """A bound on a ratio."""

    side: Literal["≥", "≤"]
    bound: float

    def met(self, ratio: float) -> bool:
        return ratio >= self.bound if self.side == "≥" else ratio <= self.bound

    def __str__(self) -> str:
        return f"{self.side} {self.bound:g}×"


@dataclass(frozen=True)
class Bytes:
    """A size in memory."""

    bytes: int

    def __str__(self) -> str:
        return f"{self.bytes / 1e6:.1f} MB" if self.bytes >= 1e6 else f"{self.bytes / 1e3:.0f} kB"


@dataclass(frozen=True)
class Share:
    """A part of a whole."""

    share: float

    def __str__(self) -> str:
        return f"{self.share:.2g}"


@dataclass(frozen=True)
class Row:
    """Two measurements and their ratio, or a remark why there are none."""

    what: str
    size: str
    first: Spread | Bytes | Share | None = None
    second: Spread | Bytes | Share | None = None
    ratio: float | None = None
    wanted: Wanted | None = None
    remark: str = ""

    @property
    def verdict(self) -> str:
        """`met` or `MISS`; nothing where nothing was wanted or measured."""
        if self.wanted is None or self.ratio is None:
            return ""
        return "met" if self.wanted.met(self.ratio) else "MISS"

    @property
    def remarks(self) -> str:
        """The remark, and whether the times are to be doubted."""
        times = [each for each in (self.first, self.second) if isinstance(each, Spread)]
        return ", ".join(filter(None, [self.remark, "" if all(t.steady for t in times) else "unsteady"]))

    def cells(self) -> list[str]:
        cells = (self.what, self.size, self.first, self.second, _ratio(self.ratio), self.wanted, self.verdict)
        return [*("" if cell is None else str(cell) for cell in cells), self.remarks]


@dataclass(frozen=True)
class Table:
    """Rows under the names of their two measurements and of their ratio."""

    title: str
    first: str
    second: str
    ratio: str
    rows: Sequence[Row]

    @property
    def headings(self) -> list[str]:
        return ["", "size", self.first, self.second, self.ratio, "wanted", "", ""]

    def rich(self) -> RichTable:
        """For the terminal."""
        table = RichTable(title=self.title, title_justify="left")
        for number, heading in enumerate(self.headings):
            table.add_column(
                heading, justify="right" if 2 <= number <= 5 else "left", no_wrap=number in (1, 2, 3)
            )
        for row in self.rows:
            table.add_row(*row.cells(), style="red" if row.verdict == "MISS" else "")
        return table

    def markdown(self) -> str:
        """For a page."""
        lines = [self.headings, ["---", "---", "--:", "--:", "--:", "--:", "---", "---"]]
        lines += [row.cells() for row in self.rows]
        return "\n".join([f"## {self.title}", "", *(f"| {' | '.join(cells)} |" for cells in lines)])

    def json(self) -> dict[str, Any]:
        """Every number, unrounded."""
        return asdict(self) | {"rows": [asdict(row) | {"verdict": row.verdict} for row in self.rows]}


def write(place: Path, title: str, run: dict[str, Any], tables: Sequence[Table]) -> list[Path]:
    """A page and a file of numbers, `.md` and `.json`: what ran, where and when, and its tables."""
    place.parent.mkdir(parents=True, exist_ok=True)
    about = "\n".join(f"- {name}: {_words(value)}" for name, value in run.items())
    page = "\n\n".join([f"# {title}", about, *(t.markdown() for t in tables)])
    numbers = json.dumps(run | {"tables": [t.json() for t in tables]}, indent=2, ensure_ascii=False)
    paths = [place.with_suffix(".md"), place.with_suffix(".json")]
    for path, text in zip(paths, (page, numbers), strict=True):
        path.write_text(text + "\n", encoding="utf-8")
    return paths


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:,.0f}×" if ratio >= 100 else f"{ratio:.3g}×"


def _words(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
