"""`config check` and `config show`, and the option `--config` of the commands that read settings."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.cli.commands import COMMANDS, load


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option sets the variable, for this process; it is restored after the test."""
    monkeypatch.setenv("BROKER_CONFIG", "")


def config(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(app, ["config", *arguments], env={"COLUMNS": "300", **environ})


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "broker.toml"
    path.write_text(text)
    return str(path)


def shown(result: Result) -> dict[str, dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return {row["setting"]: row for row in json.loads(result.stdout)}


def test_show_gives_each_setting_with_its_value_and_its_source(tmp_path: Path) -> None:
    file = written(tmp_path, 'port = 9000\nretention = "8d"\n[keep]\nEncounter = "forever"\n')
    rows = shown(config("show", "--json", "--config", file, BROKER_RETENTION="9d"))
    assert len(rows) > 80
    assert rows["BROKER_PORT"] == {"setting": "BROKER_PORT", "value": "9000", "source": file}
    assert (rows["BROKER_RETENTION"]["value"], rows["BROKER_RETENTION"]["source"]) == ("9d", "environment")
    assert rows["BROKER_KEEP"]["value"] == "Encounter=forever"
    assert (rows["BROKER_DRAIN"]["value"], rows["BROKER_DRAIN"]["source"]) == ("10s", "default")
    assert rows["BROKER_BASE_URL"]["value"] == "http://127.0.0.1:9000"
    assert rows["BROKER_REDIS_URL"]["value"] == "unset"


def test_show_masks_secrets(tmp_path: Path) -> None:
    file = written(tmp_path, 'redis_url = "redis://user:s3cret@redis:6379/0"\n')
    for arguments in (["--json"], []):
        result = config("show", *arguments, BROKER_CONFIG=file, BROKER_SMTP_URL="smtp://u:s3cret@mail")
        assert "s3cret" not in result.output
        assert "redis://***@redis:6379/0" in result.output
        assert "smtp://***@mail" in result.output


def test_show_can_leave_the_defaults_out() -> None:
    assert list(shown(config("show", "--changed", "--json", BROKER_PORT="1"))) == ["BROKER_PORT"]


def test_check_says_how_many_settings_come_from_where(tmp_path: Path) -> None:
    file = written(tmp_path, "port = 9000")
    result = config("check", "--config", file, BROKER_HOST="::1", BROKER_DRAIN="1s")
    assert result.exit_code == 0
    assert result.output == (
        f"The configuration is valid: 2 settings from the environment, 1 setting from {file}.\n"
    )


def test_check_lists_every_problem_and_exits_with_2(tmp_path: Path) -> None:
    file = written(tmp_path, "prot = 1\ndrain = 'soon'\n")
    result = config("check", "--json", "--config", file)
    assert result.exit_code == 2
    assert [row["setting"] for row in json.loads(result.stdout)] == ["prot", "drain"]
    assert "Did you mean port?" in config("check", "--config", file).output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('retention = "36h"\nretry_budget = "48h"', "BROKER_RETENTION=36h is too short."),
        ('host = "0.0.0.0"', "would let anyone on the network read and write everything"),
    ],
)
def test_check_finds_settings_that_are_not_valid_together(tmp_path: Path, text: str, says: str) -> None:
    result = config("check", "--config", written(tmp_path, text))
    assert result.exit_code == 2
    assert says in result.output


def test_a_command_works_with_the_settings_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, f"keys_dir = {str(tmp_path / 'keys')!r}")
    made = CliRunner().invoke(app, ["keys", "rotate", "--config", file])
    assert made.exit_code == 0, made.output
    assert list((tmp_path / "keys" / "default").glob("*.pem"))
    assert os.environ["BROKER_CONFIG"] == file, "the workers of serve read the same file"


def test_each_command_that_reads_settings_takes_the_file() -> None:
    folder = Path(__file__).parents[3] / "broker" / "cli"
    for name, entry in COMMANDS.items():
        source = (folder / f"{entry.module}.py").read_text()
        reads = "Settings.from_environment(" in source or entry.reads_settings
        assert entry.reads_settings == reads, name
        command = load(name, entry)
        for each in getattr(command, "commands", {"": command}).values():
            options = [option for parameter in each.params for option in parameter.opts]
            assert ("--config" in options) is reads, name
