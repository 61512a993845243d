"""Completion of commands in a shell: its script calls `fhir-broker`, which answers without the server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.cli.commands import COMMANDS
from tests.unit.cli.test_commands import HEAVY, LIST_MODULES

PROGRAMS = str(Path(sys.executable).parent)
COMPLETE_IN_BASH = """
source <(fhir-broker completion bash)
for line in "$@"; do
    IFS=' ' read -ra COMP_WORDS <<< "${line}"
    [[ $line == *' ' ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _fhir_broker_completion fhir-broker
    echo "${COMPREPLY[*]}"
done
"""


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if "BROKER_" not in name}
    return inherited | {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"} | variables


def output(*command: str, **variables: str) -> str:
    done = subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, timeout=240, check=True
    )
    return done.stdout


def test_bash_completes_commands_subcommands_options_and_arguments() -> None:
    lines = (
        "fhir-broker subscr",
        "fhir-broker topics ",
        "fhir-broker migrate --con",
        "fhir-broker completion f",
    )
    assert output("bash", "-c", COMPLETE_IN_BASH, "bash", *lines).splitlines() == [
        "subscriptions",
        "list show check try",
        "--config",
        "fish",
    ]


@pytest.mark.parametrize(
    ("shell", "variables"),
    [
        ("bash", {"COMP_WORDS": "fhir-broker ", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "fhir-broker "}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "fhir-broker ", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_a_shell_is_told_every_command_and_no_part_of_the_server_is_imported(
    shell: str, variables: dict[str, str]
) -> None:
    """The variables are those that the script of the shell sets."""
    script = CliRunner().invoke(app, ["completion", shell]).output
    assert all(name in script for name in (*variables, f"_FHIR_BROKER_COMPLETE=complete_{shell}"))
    complete = {"_FHIR_BROKER_COMPLETE": f"complete_{shell}"}
    *answer, modules = output(sys.executable, "-c", LIST_MODULES, **variables, **complete).splitlines()
    assert [name for name in COMMANDS if name not in "\n".join(answer)] == []
    assert set(json.loads(modules)).isdisjoint(set(HEAVY) - {"pydantic"}), "typer itself imports pydantic"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_valid_in_its_shell(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(CliRunner().invoke(app, ["completion", shell]).output)
    output(shell, "-n", str(script))


def test_another_shell_is_refused() -> None:
    assert CliRunner().invoke(app, ["completion", "tcsh"]).exit_code == 2
