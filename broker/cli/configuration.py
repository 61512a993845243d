"""`config`: checks and shows the settings, and says where each is from."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.output import JsonOption, WideOption, print_rows
from broker.errors import ConfigurationError
from broker.model.wording import count_of
from broker.settings import Settings
from broker.settings.written import ENVIRONMENT, Configuration, Problem, masked, variable

app = typer.Typer(
    help="Check and show the settings, from the environment and from a TOML file.\n\n"
    "Example:\n\n    fhir-broker config show --config broker.toml",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A setting: its variable, its value as it is written, and `default`, `environment` or the path of the
    file.
    """

    setting: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """A setting that is not valid."""

    setting: str
    source: str
    problem: str


@app.command()
def check(as_json: JsonOption = False, wide: WideOption = False) -> None:
    """Check the settings, and report every one that is not valid.

    `serve` and the other commands end at the first problem; this one lists all. It opens no file but that of
    the settings and connects to nothing: `fhir-broker doctor` checks what the settings name.

    Exit code 0 if every setting is valid, 2 if not.

    Examples:

        fhir-broker config check

        fhir-broker config check --config /etc/fhir-broker/broker.toml
    """
    configuration = Settings.configuration(os.environ)
    problems = configuration.problems or _problems_together(configuration)
    if problems or as_json:
        rows = [ProblemRow(*problem) for problem in problems]
        print_rows(rows, ProblemRow, "problem", as_json=as_json, wide=wide)
    else:
        typer.echo(f"The configuration is valid: {_sources(configuration)}.")
    if problems:
        raise typer.Exit(2)


@app.command()
def show(
    is_changed: Annotated[bool, typer.Option("--changed", help="Show only what is not the default.")] = False,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Show the value of every setting, and whether it is the default, of the environment or of the file.

    Passwords in URLs are shown as ***.

    Examples:

        fhir-broker config show

        BROKER_CONFIG=broker.toml fhir-broker config show --changed --json
    """
    settings = Settings.from_environment(os.environ)
    rows = _rows(settings, Settings.configuration(os.environ))
    shown = [row for row in rows if row.source != _DEFAULT or not is_changed]
    print_rows(shown, SettingRow, "setting", as_json=as_json, wide=wide)


def _problems_together(configuration: Configuration) -> list[Problem]:
    """What is valid alone and not together."""
    try:
        Settings(**configuration.values).refuse_open()
    except ConfigurationError as error:
        return [Problem("", "", str(error))]
    return []


def _sources(configuration: Configuration) -> str:
    sources = [written.source for name, written in configuration.written.items() if name != "config"]
    counts = [
        f"{count_of(sources.count(source), 'setting')} from {_place(source)}"
        for source in dict.fromkeys(sources)
    ]
    return ", ".join(counts) or "every setting has its default"


def _place(source: str) -> str:
    return "the environment" if source == ENVIRONMENT else source


def _rows(settings: Settings, configuration: Configuration) -> Iterator[SettingRow]:
    defaults = {each.variable: each.default for each in Settings.describe()}
    for setting in fields(settings):
        name = variable(setting.name)
        if written := configuration.written.get(setting.name):
            is_secret = not setting.repr
            yield SettingRow(name, masked(written.text) if is_secret else written.text, written.source)
        else:
            yield SettingRow(name, _default(getattr(settings, setting.name), defaults[name]), _DEFAULT)


def _default(value: Any, documented: str) -> str:
    """A default that depends on other settings or on the folder is shown as it is here."""
    return str(value) if documented and isinstance(value, str | Path) else documented or "unset"
