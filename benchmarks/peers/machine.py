"""What a run is a run of: the machine, the versions, the day."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

OURS = ("semicrf-spec", "semicrf-reference", "semicrf-nn")


def describe(command: str, *others: str) -> dict[str, Any]:
    """Machine, versions of ours and of other packages, date, command and threads."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": command,
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "load at the start": round(load(), 2),
        },
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in ("torch", "numba", *OURS, *others)},
    }


def load() -> float:
    """How many processes have lately been running, on average; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def processor() -> str:
    """The name the processor gives itself, with its family and model where one name has several."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = said.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{key.removeprefix('cpu ')} {said[key]}" for key in ("cpu family", "model") if key in said]
    return " ".join([name, *numbers])


def folder_name() -> str:
    """The processor's name as that of a folder."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", processor()).strip("-")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from source" if package in OURS else "not installed"
