"""The page of results, from measurements that were made up."""

import importlib.util

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("needs Triton", allow_module_level=True)

from benchmarks.gpu.__main__ import page
from benchmarks.gpu.contenders import SIZES
from benchmarks.gpu.measure import Spread
from benchmarks.gpu.peer import collected

ROW = {
    "size": "B=1 T=2 K=3 C=4",
    "ours fwd": Spread(1.0, 2.0, 3.0, 5),
    "ours fwd+bwd": Spread(2.0, 3.0, 4.0, 5),
    "ours second order": Spread(9.0, 9.0, 9.0, 5),
    "ours decode": Spread(1.0, 1.0, 1.0, 5),
    "ours top_k": Spread(4.0, 4.0, 4.0, 5),
    "floor": Spread(0.5, 0.5, 0.5, 5),
    "copy": Spread(0.1, 0.1, 0.1, 5),
    "bytes of emissions": 100,
    "bytes fwd": 10,
    "bytes fwd+bwd": 550,
}


def cells(row):
    return [cell.strip() for cell in page({}, [row]).splitlines()[-1].split("|")[1:-1]]


def test_ratios_are_those_of_the_medians():
    assert cells(ROW)[1] == "2 ms (1 to 3)"
    assert cells(ROW)[8:10] == ["1.5×", "4×"]
    assert cells(ROW)[12:14] == ["0.1×", "5.5×"]


def test_a_peer_that_is_missing_is_said_to_be():
    assert cells(ROW | {"flash": "ModuleNotFoundError"})[10:] == [
        "",
        "",
        "0.1×",
        "5.5×",
        "ModuleNotFoundError",
    ]


def test_a_peer_that_is_there_is_compared():
    flash = {"flash fwd": Spread(20.0, 20.0, 20.0, 3), "flash fwd+bwd": Spread(300.0, 300.0, 300.0, 3)}
    assert cells(ROW | flash)[10:12] == ["10×", "100×"]


def test_a_peer_that_was_stopped_keeps_what_it_had_said():
    size, other = "B=32 T=500 K=30 C=39", "B=16 T=512 K=1 C=9"
    time = {"lower": 1.0, "median": 2.0, "upper": 3.0, "repeats": 3}
    found = collected(SIZES, [[other, "fwd", None], [other, "fwd", time], [size, "fwd", None]], "stopped")
    assert found[other] == {"flash": "", "flash fwd": Spread(**time)}
    assert found[size] == {"flash": "fwd: stopped"}
    assert found["B=64 T=1000 K=100 C=24"] == {"flash": "not reached: stopped"}


def test_an_error_of_a_peer_is_said():
    size = "B=32 T=500 K=30 C=39"
    assert collected(SIZES, [[size, "error", "OutOfMemoryError: too much"]], "stopped")[size] == {
        "flash": "OutOfMemoryError: too much"
    }
