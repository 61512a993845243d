"""A wheel runs away from the checkout: topics, value sets, mappings and scripts of the broker are inside."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.integration.commands import REPOSITORY, Command
from tests.ports import free_port

SOURCES = ("broker", "topics", "mappings", "pyproject.toml", "README.md", "LICENSE")
"""What a build reads. A copy of them, so that the checkout gets no `build` folder."""


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(REPOSITORY / name, source / name)
    with zipfile.ZipFile(source / "broker" / "site.zip", "w") as site:  # `make wheel` has the real one built
        site.writestr("index.html", "<h1>Documentation</h1>")
    built = _run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        folder,
        ".",
        cwd=source,
    )
    assert built.returncode == 0, built.stderr
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel. The dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    created = _run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    assert created.returncode == 0, created.stderr
    [packages] = folder.glob("lib/python*/site-packages")
    here = [path for path in sys.path if "site-packages" in path]
    (packages / "dependencies.pth").write_text("\n".join(here) + "\n")
    installing = _run(
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        folder / "bin" / "python",
        "install",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=folder,
    )
    assert installing.returncode == 0, installing.stderr
    return folder / "bin"


def test_the_wheel_has_the_broker_and_its_files_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {
        "broker",
        "-".join(wheel.name.split("-")[:2]) + ".dist-info",
    }
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    packaged = {name for name in names if name.startswith("broker/")}
    files = [path for path in (REPOSITORY / "broker").rglob("*") if path.is_file()]
    for folder in ("topics", "mappings"):
        shipped = [path for path in (REPOSITORY / folder).rglob("*") if path.is_file()]
        files += [REPOSITORY / "broker" / path.relative_to(REPOSITORY) for path in shipped]
    expected = {str(path.relative_to(REPOSITORY)) for path in files if "__pycache__" not in path.parts}
    assert packaged == expected | {"broker/site.zip"}


def test_the_wheel_has_the_documentation(installed: Path, tmp_path: Path) -> None:
    shown = _run(installed / "fhir-broker", "docs", "--extract", tmp_path / "docs", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "docs" / "index.html").read_text() == "<h1>Documentation</h1>"


def test_the_wheel_brings_its_pytest_plugin(installed: Path, tmp_path: Path) -> None:
    shown = _run(installed / "python", "-m", "pytest", "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "--fhir-broker-url" in shown.stdout


def test_the_demo_of_the_wheel_runs_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    done = _run(installed / "fhir-broker", "demo", "--seconds", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    summary = json.loads(done.stdout)
    assert summary["lost"] == 0
    assert summary["notified"] == summary["matched"] > 0
    assert list(tmp_path.iterdir()) == []


async def test_serve_of_the_wheel_has_the_topics_and_their_value_sets(
    installed: Path, tmp_path: Path
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    environment = {"PATH": os.environ["PATH"], "BROKER_PORT": str(port)}
    command = [str(installed / "fhir-broker"), "serve"]
    with Command(command, tmp_path / "serve.log", environment, tmp_path) as serve:
        await serve.until_ready(base)
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
            found = (await client.get("/r5/SubscriptionTopic?_count=100")).json()
        assert await serve.stop() == 0, serve.output
    urls = {entry["resource"]["url"].rpartition("/")[2] for entry in found["entry"]}
    assert urls == {path.stem for path in (REPOSITORY / "topics").glob("*.json")}
    assert (tmp_path / "broker-data").is_dir()
