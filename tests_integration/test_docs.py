"""Every Python example in the documentation runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *ROOT.glob("packages/*/README.md"), *ROOT.glob("docs/*.md")]
EXAMPLES = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in sorted(PAGES)
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S))
]


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


# PyTorch's own compiler still uses what PyTorch deprecates
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("code", EXAMPLES)
def test_the_example_runs(code, capsys):
    exec(compile(code, "example", "exec"), {"__name__": "example"})
