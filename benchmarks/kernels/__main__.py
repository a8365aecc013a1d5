"""Compile every GPU kernel for several GPUs, print what each takes, and fail where it takes too much."""

from __future__ import annotations

import argparse
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import triton
from rich.console import Console
from rich.table import Table

from semicrf_triton.launch.blocks import REGISTERS, programs_on

from .inspection import TARGETS, Usage, usage
from .variants import variants

SPILLING = ("C = 128", "boundary_kernel C = 64", "longest lists")
"""Kernels that spill: not all of a `(C, C)` sum, or of lists, stays in registers. The rest is checked."""
SPILLING_BEFORE_3_7 = (
    "k = 64", "k = 128", "means_kernel C = 64", "transition_covariance_kernel C = 64"
)  # fmt: skip
"""Those that an older Triton spills besides."""
ONE_EXCHANGE = tuple(
    f"{name} C = {classes}, {terms} terms"
    for name in ("scan_kernel", "wide_kernel")
    for classes in (16, 32)
    for terms in ("all", "required")
)
"""Kernels in whose innermost loops warps tell one another something once: a barrier before, one behind."""


@dataclass(frozen=True)
class Compiled:
    """A kernel, where it was compiled for, and what it takes there."""

    name: str
    threads: int  # of the programs that are to have room on a multiprocessor
    target: str
    usage: Usage

    @property
    def may_spill(self) -> bool:
        older = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7)
        known = (*SPILLING, *(SPILLING_BEFORE_3_7 if older else ()))
        return any(name in self.name for name in known)

    @property
    def faults(self) -> list[str]:
        """What it must not do."""
        used = self.usage
        found = {
            f"{used.local} bytes of local memory": used.local and not self.may_spill,
            f"{used.stack} spilled": used.stack and not self.may_spill,
            f"{used.all['float64']} float64 instructions": used.all["float64"],
            f"{used.barriers} barriers in a loop": self.name in ONE_EXCHANGE and used.barriers > 2,
        }
        if self.target.startswith("sm_") and used.registers * self.threads > REGISTERS:
            found["more registers than a multiprocessor has for them"] = 1
        return [said for said, count in found.items() if count]


def compiled(job: tuple[int, str]) -> Compiled:
    """One of the variants, for one GPU; by its number, as kernels do not travel between processes."""
    warnings.simplefilter("ignore")  # Triton's, of settings that nobody made
    number, target = job
    variant = list(variants())[number]
    arch = TARGETS[target].arch
    programs = programs_on(arch, variant.programs) if isinstance(arch, int) else 1
    return Compiled(variant.name, 32 * variant.warps * programs, target, usage(variant, TARGETS[target]))


def row(found: Compiled) -> list[str]:
    """A line of the table."""
    used = found.usage
    loops = "\n".join(
        f"{loop.total()}: " + ", ".join(f"{count} {kind}" for kind, count in loop.most_common())
        for loop in used.loops
    )
    sizes = (used.registers, used.local, used.stack, used.shared)
    return [found.name, found.target, *map(str, sizes), loops, "; ".join(found.faults) or "fine"]


def main() -> int:
    """Print the table; 1 where a kernel takes too much."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this GPU")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only kernels that have this in their name"
    )
    chosen = parser.parse_args()
    numbers = [i for i, variant in enumerate(variants()) if chosen.only in variant.name]
    jobs = [(number, target) for number in numbers for target in chosen.target or TARGETS]
    table = Table(
        "kernel", "GPU", "registers", "local", "stack", "shared", "instructions of innermost loops", "verdict"
    )
    table.title = f"Compiled ahead of time by Triton {triton.__version__}"
    faulty = 0
    with ProcessPoolExecutor() as pool:
        for found in pool.map(compiled, jobs):
            table.add_row(*row(found))
            faulty += bool(found.faults)
    Console(width=200).print(table)
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
