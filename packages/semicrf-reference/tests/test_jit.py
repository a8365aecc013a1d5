"""Compilation, seen from fresh processes: announced once, kept on disk, never in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import semicrf_reference

NOTICE = "compiling the CPU kernels"

USE = """
import logging, sys

class Count(logging.Handler):
    def emit(self, record):
        print(record.name, record.levelname, record.getMessage())

logging.getLogger("semicrf_reference").addHandler(Count())
import torch
from semicrf_reference import compiled
print("imported")
terms = [torch.zeros(shape, dtype=torch.float64) for shape in ((1, 2, 2), (2, 2), (2, 2))]
for name in sys.argv[1:]:
    getattr(compiled, name)(*terms)
    print("answered", name)
"""


def used(*functions, **environment):
    """What a fresh process prints that calls the functions."""
    return printed(USE, *functions, **environment)


def printed(code, *arguments, **environment):
    """What a fresh process prints that runs the code, warnings being errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,  # compiling takes a minute, or several on a busy machine
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache folder that one process has filled, and what that process printed."""
    folder = str(tmp_path_factory.mktemp("cache"))
    return folder, used("log_partition", "viterbi", NUMBA_CACHE_DIR=folder)


@pytest.mark.slow
def test_the_first_use_says_once_that_it_compiles(filled):
    _, lines = filled
    notices = [line for line in lines if NOTICE in line]
    assert len(notices) == 1
    assert notices[0].startswith("semicrf_reference WARNING")
    assert lines.index("imported") < lines.index(notices[0]) < lines.index("answered log_partition")
    assert lines[-1] == "answered viterbi"


@pytest.mark.slow
def test_a_later_process_finds_what_was_compiled_and_says_nothing(filled):
    folder, _ = filled
    lines = used("log_partition", "viterbi", NUMBA_CACHE_DIR=folder)
    assert lines == ["imported", "answered log_partition", "answered viterbi"]


@pytest.mark.slow
def test_importing_compiles_nothing(tmp_path):
    assert used(NUMBA_CACHE_DIR=str(tmp_path)) == ["imported"]


@pytest.mark.slow
def test_without_any_folder_to_write_to_it_compiles_and_answers(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    lines = used(
        "log_partition",
        NUMBA_CACHE_DIR=str(blocked / "cache"),
        NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator",  # and in no other folder
    )
    assert lines[-1] == "answered log_partition"


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_no_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert used("log_partition", NUMBA_CACHE_DIR=str(blocked / "cache"))[-1] == "answered log_partition"


UNUSABLE = "cannot be kept on disk"


@pytest.mark.slow
def test_damaged_files_are_compiled_again_and_then_replaced(filled, tmp_path):
    folder = shutil.copytree(filled[0], tmp_path / "cache")
    for file in folder.rglob("*.nbc"):
        file.write_bytes(file.read_bytes()[:1000])
    first, second, third = (used("viterbi", NUMBA_CACHE_DIR=str(folder)) for _ in range(3))
    assert first[-1] == second[-1] == "answered viterbi"
    assert sum(UNUSABLE in line for line in first) == 1
    assert not any(UNUSABLE in line for line in second)
    assert third == ["imported", "answered viterbi"]


@pytest.mark.slow
def test_a_full_disk_is_no_error(tmp_path):
    full = """
import errno
from numba.core.caching import IndexDataCacheFile
def save(self, key, data):
    raise OSError(errno.ENOSPC, "No space left on device")
IndexDataCacheFile.save = save
"""
    lines = printed(full + USE, "viterbi", "viterbi", NUMBA_CACHE_DIR=str(tmp_path))
    assert lines[-2:] == ["answered viterbi"] * 2
    assert sum("No space left on device" in line for line in lines) == 1
    assert sum(NOTICE in line for line in lines) == 1


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_while_another_thread_compiles_answers(tmp_path):
    code = """
import os, threading, time, warnings
import torch
from semicrf_reference import compiled
warnings.simplefilter("ignore")  # Python 3.12 warns of what this is about
zeros = [torch.zeros(shape, dtype=torch.float64) for shape in ((1, 2, 2), (2, 2), (2, 2))]
compiling = threading.Thread(target=lambda: compiled.viterbi(*zeros))
compiling.start()
time.sleep(0.5)
child = os.fork()
if not child:
    compiled.viterbi(*zeros)
    os._exit(7)
compiling.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert printed(code, NUMBA_CACHE_DIR=str(tmp_path))[-1] == "7"


def test_compiling_others_functions_is_not_announced(caplog):
    import numba

    numba.njit("int64(int64)")(lambda x: x + 1)
    assert NOTICE not in caplog.text


def test_functions_that_belong_to_no_module_compile_as_ever():
    import numba

    namespace = {}
    exec("def plus_one(x):\n    return x + 1", namespace)
    namespace["plus_one"].__module__ = None
    assert numba.njit(namespace["plus_one"])(1) == 2


SHIFTED = """
import torch
from semicrf_reference import compiled
zeros = [torch.zeros(shape, dtype=torch.float64) for shape in ((1, 1, 1), (1, 1), (1, 1))]
print(compiled.log_partition(*zeros).item())
"""


@pytest.mark.slow
def test_a_change_in_one_file_reaches_what_calls_it_from_another(tmp_path):
    package = Path(semicrf_reference.__file__).parent
    shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    fresh = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert printed(SHIFTED, **fresh) == ["0.0"]
    wide = tmp_path / package.name / "compiled" / "wide.py"
    changed = wide.read_text().replace("+ math.log(mantissa)", "+ math.log(mantissa) + 1000.0")
    assert changed != wide.read_text()
    wide.write_text(changed)
    assert printed(SHIFTED, **fresh) == ["1000.0"]
