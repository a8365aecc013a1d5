"""Every development task: `nox --list` names them, CONTRIBUTING.md says when to run which.

Sessions run on the interpreter that runs nox; `--force-python 3.13` picks another.
"""

import re
import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

ROOT = Path(__file__).parent
CONSTRAINTS = ROOT / "constraints.txt"
PACKAGES = ("spec", "reference", "triton", "nn")
WORKSPACE = [
    argument
    for package, extras in zip(PACKAGES, ("[torch,testing]", "", "", "[plot]"), strict=True)
    for argument in ("--editable", f"packages/semicrf-{package}{extras}")
]
DEMO = ("music21", "matplotlib", "rich")
TRITONS = ("3.6.0", "3.9.0")  # the oldest that is supported, and the newest
PEERS = ("flash-semicrf==0.2.0", "torch-struct==0.5", "pytorch-crf==0.7.2")


def environment(session: nox.Session, *requirements: str) -> None:
    """Install what a session needs, always within constraints.txt."""
    session.install("--constraint", str(CONSTRAINTS), *requirements)


@nox.session
def demo(session: nox.Session) -> None:
    """Train, evaluate and draw chord segmentation of Bach chorales."""
    environment(session, *WORKSPACE, *DEMO)
    session.run("python", "-m", "benchmarks.chorales", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run every package's tests and the integration tests."""
    environment(session, *WORKSPACE, *DEMO, "pytest")
    session.run("pytest", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Draw new examples for every test that draws its own; nox -s tests draws the same each time."""
    environment(session, *WORKSPACE, *DEMO, "pytest")
    session.run("pytest", "-m", "hypothesis", "--hypothesis-profile=fresh", *session.posargs)


@nox.session
def parity(session: nox.Session) -> None:
    """Check the chain of trust: enumeration, eager, compiled, triton, nn."""
    environment(session, *WORKSPACE, "pytest")
    session.run("pytest", "-m", "parity", "packages", "tests_integration", *session.posargs)


@nox.session
@nox.parametrize("triton", TRITONS)
def kernels(session: nox.Session, triton: str) -> None:
    """Run the GPU kernels, interpreted where there is no GPU, and compile them ahead of time for several."""
    environment(session, *WORKSPACE, f"triton=={triton}", "pytest", "pytest-xdist", "rich")
    interpret = {} if shutil.which("nvidia-smi") else {"TRITON_INTERPRET": "1"}
    options = ["--numprocesses", "auto"]
    if triton == TRITONS[0]:  # its interpreter makes scalars of arrays, which NumPy 2.4 forbids
        session.install("--no-deps", "numpy<2.4")
        options += ["-W", "ignore:Conversion of an array:DeprecationWarning"]
    tests = ROOT / "packages" / "semicrf-triton" / "tests"
    session.run("pytest", *options, str(tests / "kernels"), *session.posargs, env=interpret)
    session.run("pytest", str(tests / "test_launches.py"), "benchmarks/kernels", "benchmarks/gpu")
    session.run("python", "-m", "benchmarks.kernels")
    smoke = ["--smoke", "--parity", "0", "--out", str(Path(session.create_tmp()) / "gpu")]
    session.run("python", "-m", "benchmarks.gpu", *smoke, env=interpret)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff."""
    environment(session, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of all packages with mypy, strictly, for the oldest and newest Python."""
    environment(session, *WORKSPACE, "mypy")
    for version in ("3.11", "3.14"):
        session.run("mypy", "--python-version", version, *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build wheels and sdists, and try the wheels and README's first example by themselves."""
    environment(session, "build", "hatchling", "virtualenv")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for package in PACKAGES:
        session.run("pyproject-build", "--no-isolation", "--outdir", str(dist), f"packages/semicrf-{package}")

    elsewhere = Path(session.create_tmp()).resolve()
    session.run("virtualenv", "--clear", str(elsewhere / "empty"))
    python = str(elsewhere / "empty" / Path(session.bin).name / "python")
    pip = (python, "-m", "pip")
    install = (*pip, "install", "--constraint", str(CONSTRAINTS))
    session.run(*install, *map(str, sorted(dist.glob("*.whl"))), external=True)
    session.run(*pip, "check", external=True)

    example = elsewhere / "example.py"
    example.write_text(first_example(ROOT / "README.md"), encoding="utf-8")
    with session.chdir(elsewhere):
        session.run(python, str(example), external=True)

    session.run(*install, "pytest", external=True)
    # conftest.py asks for Hypothesis, which users of the wheels need not have
    test = ("-m", "pytest", "--noconftest", "tests_integration/test_installed.py")
    session.run(python, *test, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into site/, warnings being errors."""
    environment(session, "mkdocs-material", "mkdocstrings-python", "ruff")
    session.run("mkdocs", "build", "--strict")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the asv suite once on the newest commit, or whatever asv command is given."""
    environment(session, "asv", "virtualenv")
    session.run("asv", "machine", "--yes")
    session.run("asv", *(session.posargs or ("run", "--quick", "--show-stderr")))


@nox.session
def peers(session: nox.Session) -> None:
    """Measure speed and memory beside other libraries, and alone; `-- --quick` in a minute."""
    environment(session, *WORKSPACE, "rich")
    for peer in PEERS:  # one that cannot be had is reported as missing, and the rest is measured
        session.install("--no-deps", peer, success_codes=[0, 1])
    session.run("python", "-m", "benchmarks.peers", *session.posargs)


@nox.session
def semirings(session: nox.Session) -> None:
    """Measure time and memory of the scans over edge tensors; `-- --quick` in seconds."""
    environment(session, *WORKSPACE, "rich")
    session.run("python", "-m", "benchmarks.semirings", *session.posargs)


def first_example(page: Path) -> str:
    """The first Python block of a Markdown page."""
    block = re.search(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    if block is None:
        raise ValueError(f"{page} has no Python example")
    return block[1]
