"""Whatever fails, hangs or is killed: a page is written, with what was known and why there is no more."""

import importlib.util
import json
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("needs Triton", allow_module_level=True)

import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import parity as tests
from benchmarks.gpu import timing
from benchmarks.gpu.contenders import SMOKE, Size
from benchmarks.gpu.measure import Spread

SIZE = SMOKE[0]
TOOK = Spread(1.0, 2.0, 3.0, 3)
WORKER = """
    import json, os, signal, sys, time
    from pathlib import Path

    from benchmarks.gpu.process import tell

    path, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
    for _, what in jobs:
        print("a line that is not JSON", flush=True)
        tell(path, None)
        if what in ("hangs", "ours fwd"):
            time.sleep(600.0)
        if what in ("is killed", "ours decode", "flash fwd"):
            os.kill(os.getpid(), signal.SIGKILL)
        if what in ("raises for good", "ours top_k"):
            tell(path, "AcceleratorError: an illegal memory access")
            sys.exit(1)
        tell(path, {"lower": 1.0, "median": 2.0, "upper": 3.0, "repeats": 3})
"""
PASSES, FAILS, HANGS = (
    "import carried\ndef test_that_passes(): pass\n",
    "def test_that_fails(): assert False\n",
    "import time\ndef test_that_hangs(): time.sleep(600.0)\n",
)
DEAF = (
    "import signal, time\ndef test_that_hangs():\n"
    "    signal.signal(signal.SIGINT, signal.SIG_IGN)\n    time.sleep(600.0)\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder beside the one that PYTHONPATH names, where a worker does what is planted."""
    given = tmp_path / "given"
    given.mkdir()
    (given / "planted.py").write_text(textwrap.dedent(WORKER), "utf-8")
    (given / "carried.py").touch()
    (given / "flash_semicrf.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "given")
    monkeypatch.syspath_prepend(str(given))
    return tmp_path


def heard_of(whats, seconds=60.0, **options):
    """What is heard of calls, by what was called."""
    heard = {}
    timing.times(
        [(SIZE, what) for what in whats],
        time.monotonic() + seconds,
        lambda size, what, said: heard.update({what: said}),
        module="planted",
        **options,
    )
    return heard


def test_a_process_that_fails_for_good_costs_one_call(folder):
    assert heard_of(["first", "raises for good", "last"]) == {
        "first": TOOK,
        "raises for good": "AcceleratorError: an illegal memory access",
        "last": TOOK,
    }


def test_a_process_that_is_killed_costs_one_call(folder):
    heard = heard_of(["is killed", "last"])
    assert heard == {"is killed": "the process ended with -9", "last": TOOK}


def test_a_call_that_hangs_costs_a_share_of_the_time(folder):
    heard = heard_of(["hangs", "last"], 12.0, share=0.25)
    assert heard == {"hangs": "stopped after 3 s", "last": TOOK}


def test_a_process_may_take_longer_to_begin_than_a_call(folder):
    worker = folder / "given" / "planted.py"
    worker.write_text("import time; time.sleep(2.0)\n" + worker.read_text("utf-8"), "utf-8")
    assert heard_of(["first"], 15.0, share=0.1) == {"first": TOOK}


def test_what_there_is_no_time_for_is_said_to_be_missing(folder):
    heard = heard_of(["first", "hangs", "last"], 3.0)
    assert heard["first"] == TOOK
    assert heard["hangs"].startswith("stopped after")
    assert heard["last"].startswith("not reached: stopped after")


def test_a_process_that_does_not_begin_is_not_begun_again(folder):
    (folder / "given" / "planted.py").write_text("import what_is_not_there\n", "utf-8")
    assert heard_of(["first", "last"]) == dict.fromkeys(
        ["first", "last"], "not reached: the process ended with 1"
    )


def test_an_error_leaves_the_other_calls_of_a_process_to_be_timed(tmp_path, monkeypatch):
    def timed(size, what, device):
        if what == "raises":
            raise ValueError("too | much\nof it")
        return TOOK

    monkeypatch.setattr(timing, "timed", timed)
    told = tmp_path / "told"
    timing.work(told, [(SIZE, "raises"), (SIZE, "last")], torch.device("cpu"))
    lines = [json.loads(line) for line in told.read_text("utf-8").splitlines()]
    assert lines == [None, "ValueError: too / much", None, vars(TOOK)]


def test_an_error_that_stays_on_the_device_ends_the_process(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(timing, "timed", broken)
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    told = tmp_path / "told"
    with pytest.raises(RuntimeError, match="illegal"):
        timing.work(told, [(SIZE, "raises"), (SIZE, "last")], torch.device("cuda"))
    assert told.read_text("utf-8").splitlines() == ["null", '"RuntimeError: an illegal memory access"']


def run_tests(folder, *files):
    """Parity of tests in these files; some seconds, and the others to end in."""
    kernels = folder / "kernels"
    kernels.mkdir()
    for i, text in enumerate(files):
        (kernels / f"test_{i}.py").write_text(text, "utf-8")
    return tests.parity(folder / "parity.txt", tests.GRACE + 8.0, str(kernels))


@pytest.fixture
def together():
    """With xdist, which takes 10 seconds to end what hangs, and the time that the command gives it."""
    pytest.importorskip("xdist")


@pytest.fixture
def alone(monkeypatch):
    """Without xdist."""
    monkeypatch.setattr(tests, "GRACE", 3.0)
    monkeypatch.setattr(tests.importlib.util, "find_spec", lambda name: None)


def test_parity_passes_where_all_tests_do(folder, together):
    well, said = run_tests(folder, PASSES)
    assert well
    assert said.startswith("passed: 1 passed in")


def test_parity_fails_where_a_test_does(folder, together):
    well, said = run_tests(folder, PASSES, FAILS)
    assert not well
    assert said.startswith("failed: 1 failed, 1 passed in")


def test_parity_without_tests_could_not_run(folder, alone):
    well, said = run_tests(folder, "import what_is_not_there\n")
    assert not well
    assert said.startswith("could not run, pytest ended with")


STOPPED = "stopped when time was up, no test had failed: 1 passed in"


@pytest.mark.slow
def test_parity_that_is_told_to_stop_has_not_failed(folder, together):
    well, said = run_tests(folder, PASSES, HANGS)
    assert well
    assert said.startswith(STOPPED)
    assert "= 1 passed in" in (folder / "parity.txt").read_text("utf-8")  # there was time for the summary


@pytest.mark.slow
def test_parity_that_is_killed_has_not_failed(folder, alone):
    well, said = run_tests(folder, PASSES, DEAF)
    assert well
    assert said.startswith(STOPPED)


@pytest.mark.slow
def test_parity_that_is_killed_has_failed_where_a_test_had(folder, alone):
    well, said = run_tests(folder, PASSES, FAILS, DEAF)
    assert not well
    assert said.startswith("failed: 1 failed, 1 passed in")


def test_what_is_not_installed_is_named_in_one_line(monkeypatch, capsys):
    found = command.find_spec
    monkeypatch.setattr(command, "find_spec", lambda name: name != "array_api_compat" and found(name))
    monkeypatch.setattr(sys, "argv", ["gpu", "--smoke"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit):
        command.main()
    assert "not installed: pip install array-api-compat, or" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_whatever_happens_a_page_is_written(folder, monkeypatch):
    kernels = folder / "kernels"
    kernels.mkdir()
    (kernels / "test_planted.py").write_text(PASSES, "utf-8")
    monkeypatch.setattr(timing, "times", partial(timing.times, module="planted"))
    monkeypatch.setattr(tests, "parity", partial(tests.parity, tests=str(kernels)))
    monkeypatch.setattr(tests, "GRACE", 4.0)
    monkeypatch.setattr(sys, "path", list(sys.path))
    options = ["--smoke", "--seconds", "50", "--peers", "10", "--parity", "20", "--out", "out"]
    monkeypatch.setattr(sys, "argv", ["gpu", *options])
    assert command.main() == 0
    found = json.loads(Path("out/gpu.json").read_text("utf-8"))
    (row,) = found["rows"]
    assert row["ours fwd"].startswith("stopped after")
    assert row["ours decode"] == row["flash fwd"] == "the process ended with -9"
    assert row["ours top_k"] == "AcceleratorError: an illegal memory access"
    for what in ("ours fwd+bwd", "ours second order", "floor", "copy", "flash fwd+bwd"):
        assert row[what] == vars(TOOK)
    assert found["parity"].startswith("passed: 1 passed")
    assert "flash fwd: the process ended with -9 |" in Path("out/gpu.md").read_text("utf-8")


def test_the_page_of_a_size_is_written_before_the_next_begins(folder, monkeypatch):
    pages = []

    def times(jobs, until, heard, **_):
        for size, what in jobs:
            if size == sizes[1] and not pages:
                pages.append(Path("out/gpu.md").read_text("utf-8"))
            heard(size, what, TOOK)

    sizes = (Size(1, 2, 3, 4), Size(4, 3, 2, 1))
    monkeypatch.setattr(timing, "times", times)
    monkeypatch.setattr(timing, "compile_all", lambda sizes, until: None)
    monkeypatch.setattr("benchmarks.gpu.contenders.SMOKE", sizes)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["gpu", "--smoke", "--peers", "0", "--parity", "0", "--out", "out"])
    assert command.main() == 0
    assert "| B=1 T=2 K=3 C=4 | 2 ms (1 to 3) |" in pages[0]
