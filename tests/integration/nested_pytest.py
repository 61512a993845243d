"""Starts pytest as a project of somebody else does that has the broker's plugin."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from tests.spawning import ROOT

_TIMEOUT_S = 240
# a clone that is not installed has no entry point; a second registration would be refused
_IS_INSTALLED = bool(entry_points(group="pytest11", name="fhir-broker"))
PLUGIN = [] if _IS_INSTALLED else ["-p", "broker.testing.pytest_plugin"]


def run_pytest(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the tests in a folder, which gets a configuration of its own: pytest looks for one further up."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "BROKER_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=own | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
