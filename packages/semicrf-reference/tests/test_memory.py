"""What second-order questions add to the memory of a process, measured in one of its own.

Kernels allocate where neither PyTorch nor Python counts it, and a peak of the tests before would hide it.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semicrf_reference import compiled
from semicrf_spec import Potentials

POSITIONS, LONGEST, CLASSES = 20_000, 1_000, 2
PROCESS = Path("/proc/self")
QUESTIONS = ["entropy", "cross_entropy", "kl_divergence"]


@pytest.mark.slow
@pytest.mark.skipif(not (PROCESS / "clear_refs").exists(), reason="only Linux can forget a peak")
@pytest.mark.parametrize("question", QUESTIONS)
def test_gradients_of_entropies_and_divergences_take_no_memory_for_each_position_and_duration(question):
    command = [sys.executable, __file__, question]
    added = int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    assert 0 < added < 8 * POSITIONS * LONGEST / 10


def asked_and_trained(question, positions):
    """What computes an answer about random models, and its gradients by every score."""
    generator = torch.Generator().manual_seed(0)
    shapes = (1, positions, CLASSES), (CLASSES, CLASSES), (LONGEST, CLASSES)
    ours, theirs = ([torch.randn(x, generator=generator).requires_grad_() for x in shapes] for _ in range(2))
    other = {} if question == "entropy" else {"other": Potentials(*theirs)}
    return lambda: getattr(compiled, question)(*ours, **other).sum().backward()


def bytes_of(record):
    return 1024 * int(re.search(rf"^{record}:\s*(\d+) kB$", (PROCESS / "status").read_text(), re.M)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    asked_and_trained(sys.argv[1], 1_000)()  # loads the kernels
    call = asked_and_trained(sys.argv[1], POSITIONS)
    (PROCESS / "clear_refs").write_text("5")  # forgets the peak
    before = bytes_of("VmRSS")
    call()
    print(bytes_of("VmHWM") - before)
