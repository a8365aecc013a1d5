"""The page of results, from measurements that were made up."""

import importlib.util

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("needs Triton", allow_module_level=True)

from benchmarks.gpu.measure import Spread
from benchmarks.gpu.page import page

ROW = {
    "size": "B=1 T=2 K=3 C=4",
    "ours fwd": Spread(1.0, 2.0, 3.0, 5, 10),
    "ours fwd+bwd": Spread(2.0, 3.0, 4.0, 5, 550),
    "ours second order": Spread(9.0, 9.0, 9.0, 5),
    "ours decode": Spread(1.0, 1.0, 1.0, 5),
    "ours top_k": Spread(4.0, 4.0, 4.0, 5),
    "floor": Spread(0.5, 0.5, 0.5, 5),
    "copy": Spread(0.1, 0.1, 0.1, 5),
    "bytes of emissions": 100,
}


def cells(row):
    return [cell.strip() for cell in page({}, [row]).splitlines()[-1].split("|")[1:-1]]


def test_ratios_are_those_of_the_medians():
    assert cells(ROW)[1] == "2 ms (1 to 3)"
    assert cells(ROW)[8:10] == ["1.5×", "4×"]
    assert cells(ROW)[12:14] == ["0.1×", "5.5×"]


def test_a_peer_that_is_missing_leaves_its_cells_empty():
    assert cells(ROW)[10:] == ["", "", "0.1×", "5.5×", ""]


def test_a_peer_that_is_there_is_compared():
    flash = {"flash fwd": Spread(20.0, 20.0, 20.0, 3), "flash fwd+bwd": Spread(300.0, 300.0, 300.0, 3)}
    assert cells(ROW | flash)[10:12] == ["10×", "100×"]


def test_what_failed_is_said_and_the_rest_stays():
    failed = {"ours fwd": "OutOfMemoryError: too much", "flash fwd": "stopped after 80 s"}
    assert cells(ROW | failed)[1:3] == ["OutOfMemoryError: too much", "3 ms (2 to 4)"]
    assert cells(ROW | failed)[8:] == ["", "", "", "", "", "5.5×", "flash fwd: stopped after 80 s"]
