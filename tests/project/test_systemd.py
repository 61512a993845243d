"""The units of ops/systemd name commands and settings of the broker, and systemd accepts them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from broker.cli.commands import COMMANDS
from broker.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "ops" / "systemd"
PROGRAM = "/opt/fhir-broker/bin/fhir-broker"
UNITS = ("fhir-broker.service", "fhir-broker@.service")
ANALYZE = shutil.which("systemd-analyze")


def lines(unit: str) -> list[tuple[str, str]]:
    """Name and value of each line."""
    text = (FOLDER / unit).read_text()
    return [(name, value) for name, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)]


def values(unit: str, name: str) -> list[str]:
    return [value for each, value in lines(unit) if each == name]


def test_every_unit_is_looked_at() -> None:
    assert {path.name for path in FOLDER.glob("*.service")} == set(UNITS)


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_starts_commands_and_sets_settings_that_exist(unit: str) -> None:
    [start] = values(unit, "ExecStart")
    program, command = start.split()
    assert program == PROGRAM
    roles = ["api", "match", "dispatch", "mqtt"] if command == "%i" else [command]
    assert set(roles) <= COMMANDS.keys()
    for role in roles:
        variables = dict(value.replace("%i", role).split("=", 1) for value in values(unit, "Environment"))
        assert variables
        settings = Settings.from_environment(variables)
        [state] = values(unit, "StateDirectory")
        folder = Path("/var/lib") / state.replace("%i", role)
        path = settings.high_water_path
        assert path is not None
        assert path.is_relative_to(folder)
    assert all(value in (ROOT / "docs" / "systemd.md").read_text() for value in _environment_files(unit))


def _environment_files(unit: str) -> list[str]:
    return [value.lstrip("-").replace("%i", "match") for value in values(unit, "EnvironmentFile")]


@pytest.mark.parametrize("unit", UNITS)
def test_a_stop_drains_and_an_error_of_the_operator_is_not_repeated(unit: str) -> None:
    drain = Settings().drain.total_seconds()
    assert int(*values(unit, "TimeoutStopSec")) >= drain + 20
    assert values(unit, "KillMode") == ["mixed"], "the embedded store ends after the broker"
    assert values(unit, "RestartPreventExitStatus") == ["2"]
    assert values(unit, "Type") == ["notify"]


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_the_unit_and_finds_it_confined(unit: str, tmp_path: Path) -> None:
    program = tmp_path / "fhir-broker"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (FOLDER / unit).read_text().replace(PROGRAM, str(program))
    name = unit.replace("@", "@match")
    (tmp_path / name).write_text(text)
    checked = subprocess.run(
        [str(ANALYZE), "verify", str(tmp_path / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    exposure = subprocess.run(
        [str(ANALYZE), "security", "--offline=true", "--no-pager", "--threshold=20", str(tmp_path / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert exposure.returncode == 0, exposure.stdout[-500:]
