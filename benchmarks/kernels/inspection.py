"""What a compiled kernel takes of a GPU, read from its machine code."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from semicrf_triton.launch.blocks import options

from .variants import Variant

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"

KINDS = {
    "float64": r"D(ADD|MUL|FMA|SETP|MNMX)|MUFU\.\w*64\w*|v_\w+_f64\w*",
    "local": r"LDL|STL|scratch_(load|store)\w*|buffer_(load|store)_dword\w* .*offen.*s\[0:3\]",
    "float32": r"F(ADD|MUL|FMA|MNMX|SETP|SEL|SET)|v_\w+_f32\w*",
    "special": r"MUFU|v_(exp|log|rcp|sqrt)_f32\w*",
    "shuffle": r"SHFL|v_\w+_dpp|ds_(b?permute|swizzle)\w*",
    "shared": r"(LDS|STS|LDSM|ATOMS)|ds_(read|write)\w*",
    "global": r"LDG|STG|global_\w+|buffer_(load|store)\w*",
    "barrier": r"BAR|WARPSYNC|s_barrier",
    "integer": r"I(ADD|MAD|MNMX|SETP|ABS)|LOP|SHF|SHL|SHR|LEA|SEL|PRMT|VI\w+|[vs]_\w+_[iub](16|32|64)\w*",
}
"""Instructions by kind; the first that matches counts."""
INSTRUCTION = re.compile(
    r"(?:@!?U?P\w+\s+)?\b([A-Z][A-Z0-9]+(?:\.[\w.]+)?\b(?=.*;)|(?:[vs]|ds|global|scratch|buffer)_\w+)"
)


@dataclass(frozen=True)
class Usage:
    """Registers of a thread, bytes of its stack (or registers spilled), other bytes, and instructions.

    `loops` are those of each innermost loop, the longest first.
    """

    registers: int
    stack: int
    local: int
    shared: int
    loops: list[Counter[str]]
    all: Counter[str]

    @property
    def barriers(self) -> int:
        """The most that an innermost loop has."""
        return max((loop["barrier"] for loop in self.loops), default=0)


def compile_for(variant: Variant, target: GPUTarget) -> Any:
    """The kernel, compiled for a GPU that need not be there."""
    signature, constants = variant.signature()
    kinds = dict(enumerate(signature.values()))
    kinds_by_place = {(i,): kind for i, kind in kinds.items()} | {
        (i, k): member
        for i, kind in kinds.items()
        if isinstance(kind, tuple)
        for k, member in enumerate(kind)
    }
    aligned = {
        place: [["tt.divisibility", 16]]  # as a launch finds tensors to be
        for place, kind in kinds_by_place.items()
        if isinstance(kind, str) and kind.startswith("*")
    }
    source = ASTSource(fn=variant.kernel, signature=signature, constexprs=constants, attrs=aligned)
    amd = target.backend == "hip"
    chosen = options(variant.warps, variant.programs, amd=amd, arch=None if amd else target.arch)
    return triton.compile(source, target=target, options=chosen)


def usage(variant: Variant, target: GPUTarget) -> Usage:
    """Compile and read."""
    compiled = compile_for(variant, target)
    shared = compiled.metadata.shared
    if target.backend == "hip":
        text = compiled.asm["amdgcn"]
        found = {name: int(value) for name, value in re.findall(r"\.(\w+):\s+(\d+)\s*$", text, re.MULTILINE)}
        code = text.splitlines()
        loops = innermost(code, r"^\.(LBB\w+):", r"\bs_c?branch\w*\s+\.(LBB\w+)")
        names = ("vgpr_count", "vgpr_spill_count", "private_segment_fixed_size")
        registers, stack, local = (found[name] for name in names)
    else:
        with tempfile.TemporaryDirectory() as folder:
            cubin = Path(folder) / "kernel.cubin"
            cubin.write_bytes(compiled.asm["cubin"])
            resources = tool("-res-usage", cubin)
            code = tool("-sass", cubin).splitlines()
        registers, stack, local = (
            int(re.search(rf"{name}:(\d+)", resources)[1])  # type: ignore[index]  # a None raises
            for name in ("REG", "STACK", "LOCAL")
        )
        loops = innermost_sass(code)
    longest_first = sorted((counted(loop) for loop in loops), key=Counter.total, reverse=True)
    return Usage(registers, stack, local, shared, longest_first, counted(code))


def tool(option: str, cubin: Path) -> str:
    """What cuobjdump prints."""
    done = subprocess.run([CUOBJDUMP, option, cubin], capture_output=True, text=True, check=True)
    return done.stdout


def innermost(lines: list[str], label: str, jump: str) -> list[list[str]]:
    """The loops that hold no other: from a label to the jump back to it."""
    places, loops = {}, []
    for i, line in enumerate(lines):
        if found := re.search(label, line):
            places[found[1]] = i
        elif (found := re.search(jump, line)) and found[1] in places:
            loops.append((places[found[1]], i))
    inner = [(a, b) for a, b in loops if not any(a <= x and y <= b and (x, y) != (a, b) for x, y in loops)]
    return [lines[first : last + 1] for first, last in inner]


def innermost_sass(code: list[str]) -> list[list[str]]:
    """The same, where jumps name addresses."""
    labelled = [re.sub(r"/\*0*([0-9a-f]+)\*/", r"@\1:", line, count=1) for line in code]
    return innermost(labelled, r"@([0-9a-f]+):(?!.*\bBRA\b)", r"\bBRA\w*\b.*?0x0*([0-9a-f]+)")


def counted(lines: list[str]) -> Counter[str]:
    """Instructions by kind."""
    kinds: Counter[str] = Counter()
    for line in lines:
        if (word := INSTRUCTION.search(line)) is not None:
            matching = (kind for kind, pattern in KINDS.items() if re.match(pattern, word[1]))
            kinds[next(matching, "other")] += 1
    return kinds
