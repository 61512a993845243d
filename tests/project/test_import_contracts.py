"""The import contracts fail for what they don't name: an unknown library, an unknown package, an import
upwards.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = """
[tool.importlinter]
root_package = "sample"
include_external_packages = true
contract_types = ["libraries: scripts.import_contracts.Libraries"]

[[tool.importlinter.contracts]]
name = "layers"
type = "layers"
containers = ["sample"]
exhaustive = true
layers = ["api", "model"]

[[tool.importlinter.contracts]]
name = "libraries"
type = "libraries"
allowed = ["api: starlette", "model:"]
"""


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A package whose imports keep its contracts."""
    for package in ("api", "model"):
        (tmp_path / "sample" / package).mkdir(parents=True)
        (tmp_path / "sample" / package / "__init__.py").touch()
    (tmp_path / "sample" / "__init__.py").touch()
    (tmp_path / "sample" / "api" / "routes.py").write_text("import json\nimport starlette.routing\n")
    (tmp_path / "pyproject.toml").write_text(CONTRACTS)
    return tmp_path


def _lint(folder: Path) -> tuple[int, str]:
    linting = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return linting.returncode, re.sub(r"\x1b\[[\d;]*m", "", linting.stdout)


def test_what_the_contracts_allow_passes(sample: Path) -> None:
    code, text = _lint(sample)
    assert code == 0, text


def test_a_library_that_no_entry_names_fails(sample: Path) -> None:
    (sample / "sample" / "api" / "files.py").write_text("import rich.table\n")
    code, text = _lint(sample)
    assert code == 1, text
    assert "sample.api.files imports rich: the entry of api doesn't allow it" in text


def test_a_library_that_only_another_package_may_import_fails(sample: Path) -> None:
    (sample / "sample" / "model" / "paths.py").write_text("from starlette.routing import Route\n")
    code, text = _lint(sample)
    assert code == 1, text
    assert "sample.model.paths imports starlette: the entry of model doesn't allow it" in text


def test_a_package_that_no_contract_names_fails(sample: Path) -> None:
    (sample / "sample" / "mapping").mkdir()
    (sample / "sample" / "mapping" / "__init__.py").touch()
    code, text = _lint(sample)
    assert code == 1, text
    assert "sample.mapping has no entry" in text


def test_a_package_that_the_layers_do_not_name_fails(sample: Path) -> None:
    (sample / "sample" / "mapping.py").touch()
    contracts = (sample / "pyproject.toml").read_text()
    (sample / "pyproject.toml").write_text(contracts.replace('"model:"', '"model:", "mapping:"'))
    code, text = _lint(sample)
    assert code == 1, text
    assert "not listed as layers:\n\n- sample.mapping" in text


def test_an_import_of_a_package_above_fails(sample: Path) -> None:
    (sample / "sample" / "model" / "paths.py").write_text("from sample.api import routes\n")
    code, text = _lint(sample)
    assert code == 1, text
    assert "sample.model.paths -> sample.api" in text


def test_the_broker_is_checked_by_these_contract_types() -> None:
    contracts = (ROOT / "pyproject.toml").read_text()
    assert 'type = "layers"' in contracts
    assert "exhaustive = true" in contracts
    assert 'type = "libraries"' in contracts
