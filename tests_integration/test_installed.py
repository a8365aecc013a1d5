"""The four packages as users get them: installed from wheels. `nox -s build` runs this."""

import re
from importlib import import_module
from importlib.metadata import Distribution, distribution
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement

NAMES = ["semicrf-spec", "semicrf-reference", "semicrf-triton", "semicrf-nn"]
BELOW = {
    "semicrf-spec": set(),
    "semicrf-reference": {"semicrf-spec"},
    "semicrf-triton": {"semicrf-spec"},
    "semicrf-nn": {"semicrf-spec", "semicrf-reference", "semicrf-triton"},
}
PACKAGES = Path(__file__).parents[1] / "packages"


def installed_from_wheel(name: str) -> bool:
    """Whether a package's files were copied, not linked to a working tree."""
    try:
        files = distribution(name).files or []
    except ModuleNotFoundError:
        return False
    return any(file.name == "__init__.py" for file in files)


if not all(map(installed_from_wheel, NAMES)):
    pytest.skip("needs the packages installed from wheels: nox -s build", allow_module_level=True)


@pytest.fixture(params=NAMES)
def package(request: pytest.FixtureRequest) -> Distribution:
    return distribution(request.param)


def module_of(package: Distribution) -> str:
    return package.name.replace("-", "_")


def files_of(package: Distribution) -> list[PurePosixPath]:
    return [PurePosixPath(file.as_posix()) for file in package.files or []]


def requirements_of(package: Distribution) -> list[Requirement]:
    return [Requirement(line) for line in package.requires or []]


def test_the_types_are_shipped(package: Distribution) -> None:
    assert PurePosixPath(module_of(package), "py.typed") in files_of(package)


def test_the_licence_is_shipped(package: Distribution) -> None:
    assert package.metadata["License-Expression"] == "Apache-2.0"
    licences = [file for file in package.files or [] if file.name == "LICENSE"]
    assert len(licences) == 1
    assert "Apache License" in licences[0].read_text(encoding="utf-8")


def test_a_wheel_holds_its_module_and_metadata_and_no_tests(package: Distribution) -> None:
    files = files_of(package)
    metadata = f"{module_of(package)}-{package.version}.dist-info"
    # `..` leads from there to the folder of commands.
    assert {file.parts[0] for file in files} - {".."} == {module_of(package), metadata}
    assert not [file for file in files if "tests" in file.parts or "conftest.py" in file.parts]


def test_the_module_is_imported_from_the_wheel(package: Distribution) -> None:
    spec = find_spec(module_of(package))
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin) == Path(str(package.locate_file(module_of(package)))) / "__init__.py"


def test_the_version_is_the_one_in_the_module_and_in_the_changelog(package: Distribution) -> None:
    module = import_module(module_of(package))
    changelog = (PACKAGES / package.name / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest is not None
    assert package.version == module.__version__ == newest[1]


def test_the_readme_is_the_long_description(package: Distribution) -> None:
    readme = (PACKAGES / package.name / "README.md").read_text("utf-8")
    assert package.metadata["Description"].strip() == readme.strip()


def test_requirements_on_the_layers_below_are_bounded_and_met(package: Distribution) -> None:
    below = [found for found in requirements_of(package) if found.name.startswith("semicrf")]
    assert {found.name for found in below} == BELOW[package.name]
    for found in below:
        assert {part.operator for part in found.specifier} == {">=", "<"}
        assert found.specifier.contains(distribution(found.name).version)


def test_other_requirements_stay_open(package: Distribution) -> None:
    for found in requirements_of(package):
        if not found.name.startswith("semicrf"):
            assert {part.operator for part in found.specifier} == {">="}, str(found)


def test_triton_is_asked_for_by_an_extra_only(package: Distribution) -> None:
    for found in requirements_of(package):
        if found.name == "triton":
            assert found.marker is not None
            assert "extra" in str(found.marker)


def test_python_versions_are_said_once(package: Distribution) -> None:
    assert package.metadata["Requires-Python"] == ">=3.11"
    classifiers = package.metadata.get_all("Classifier") or []
    prefix = "Programming Language :: Python :: 3."
    assert [line.removeprefix(prefix) for line in classifiers if line.startswith(prefix)] == [
        "11",
        "12",
        "13",
        "14",
    ]
