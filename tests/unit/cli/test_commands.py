"""The table of commands: what it says is what the commands say, and it imports none of them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.cli.commands import COMMANDS, load

HEAVY = ("starlette", "fhir", "pydantic", "redis", "httpx", "uvloop", "aiohttp", "structlog", "broker.app")
LIST_MODULES = """
import json, sys
from broker.__main__ import main
sys.argv = ["fhir-broker", *sys.argv[1:]]
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)))
"""


def modules_after(*arguments: str) -> tuple[str, set[str]]:
    """The output of `fhir-broker ARGUMENTS`, and the modules that are imported then."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    *output, modules = done.stdout.splitlines()
    return "\n".join(output), set(json.loads(modules))


@pytest.mark.parametrize(("argument", "says"), [("--version", "fhir-broker "), ("--help", "subscriptions")])
def test_version_and_help_import_no_command(argument: str, says: str) -> None:
    output, modules = modules_after(argument)
    assert says in output
    assert modules.isdisjoint(HEAVY)


def all_commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group with its path."""
    for name, entry in COMMANDS.items():
        command = load(name, entry)
        yield (name,), command
        for child, subcommand in getattr(command, "commands", {}).items():
            yield (name, child), subcommand


ALL = dict(all_commands())


def first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    return paragraph.partition(". ")[0].rstrip(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_is_the_first_sentence_of_the_help(name: str) -> None:
    command = load(name, COMMANDS[name])
    assert COMMANDS[name].summary.rstrip(".") == first_sentence(command.help)


def test_the_table_has_the_commands_of_the_documentation() -> None:
    assert ALL.keys() >= {
        ("serve",),
        ("api",),
        ("match",),
        ("dispatch",),
        ("demo",),
        ("listen",),
        ("simulate",),
    }
    actions = (
        "list",
        "show",
        "retry",
        "activate",
        "pause",
        "delete",
        "send-test",
        "resend",
        "rotate-secret",
        "adopt",
    )
    assert ALL.keys() >= {("subscriptions", action) for action in actions}
    assert ALL.keys() >= {("topics", "list"), ("topics", "show"), ("topics", "check")}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_help_of_every_command_shows_an_example(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "140"})
    assert shown.exit_code == 0
    _, heading, example = shown.output.partition("Example")
    assert heading
    assert f"fhir-broker {' '.join(path)}" in example


def test_every_command_that_shows_values_prints_json_and_wide_tables() -> None:
    showing = [path for path in ALL if path[-1] in {"list", "show", "explain", "check"}]
    assert len(showing) >= 7
    for path in showing:
        options = {option for parameter in ALL[path].params for option in parameter.opts}
        assert {"--json", "--wide"} <= options, path
