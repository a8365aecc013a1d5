"""Peak memory that one call adds, in a process of its own.

python -m benchmarks.peers.memory training 1000000
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from .ours import Ours
from .problem import Size, forward, random_terms, train
from .report import Bytes, Row, Table, Wanted
from .timing import Effort

ROOT = Path(__file__).parents[2]
CALLS = {
    "training": train,
    "log_partition": forward,
    "mode": Ours.decode_to_tensors,
    "mode.to_list()": Ours.decode_to_segments,
}
WANTED = {"training": Wanted("≤", 6), "log_partition": Wanted("≤", 0.1), "mode": Wanted("≤", 2)}
REMARKS = {
    "training": "gradients included",
    "log_partition": "without gradients",
    "mode": "viterbi and traceback, as tensors",
    "mode.to_list()": "the same as Python objects",
}


def table(effort: Effort) -> Table:
    """Bytes added by each call, as a multiple of those of the emissions."""
    size = Size(1, 100_000 if effort.quick else 1_000_000, 100, 24)
    rows = []
    for what in CALLS:
        emissions = Bytes(4 * size.batch * size.time * size.classes)
        added = _in_a_process_of_its_own(what, size.time)
        ratio = added.bytes / emissions.bytes
        rows.append(Row(what, str(size), emissions, added, ratio, WANTED.get(what), REMARKS[what]))
    return Table("Ours alone: peak memory added, float32", "emissions", "added", "added/emissions", rows)


def added_by(what: str, positions: int) -> int:
    """Bytes by which a call raises the peak of this process, once a small one has loaded the kernels."""
    CALLS[what](_model(1_000))
    model = _model(positions)
    _forget_peak()
    before = _peak()
    result = CALLS[what](model)  # kept alive, as a caller would
    added = _peak() - before
    del result
    return added


def _model(positions: int) -> Ours:
    return Ours(random_terms(Size(1, positions, 100, 24)))


def _in_a_process_of_its_own(what: str, positions: int) -> Bytes:
    command = [sys.executable, "-m", "benchmarks.peers.memory", what, str(positions)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return Bytes(int(done.stdout))


def _peak() -> int:
    """Bytes. Linux starts `ru_maxrss` at the peak of the parent process, so there its own record is read."""
    with suppress(OSError):
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text("utf-8"), re.M)
        if found:
            return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _forget_peak() -> None:
    """Make the peak what is in use now, where the system can: an earlier peak would hide what is added."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "utf-8")


if __name__ == "__main__":
    print(added_by(sys.argv[1], int(sys.argv[2])))
