"""The example projects: their own tests, run by `pytest --fhir-broker` in a copy of them."""

import shutil
from pathlib import Path

from tests.integration.nested_pytest import run_pytest
from tests.spawning import ROOT

EXAMPLES = ROOT / "examples"


def test_each_example_passes_its_own_tests(tmp_path: Path) -> None:
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    result = run_pytest(folder, "--fhir-broker", "-v")
    assert result.returncode == 0, result.stdout + result.stderr
    projects = [path.name for path in EXAMPLES.iterdir() if (path / "README.md").exists()]
    assert len(projects) >= 2
    for project in projects:
        assert f"{project}/test_" in result.stdout, f"{project} has no test"
