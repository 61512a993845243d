"""The option `--config` of the commands that read settings; `commands.load` adds it to each of them."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command


def _choose_file(path: Path | None) -> None:
    if path is not None:
        os.environ["BROKER_CONFIG"] = str(path)  # for this process and for the workers of `serve`


def _options(
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="BROKER_CONFIG",
            callback=_choose_file,
            expose_value=False,
            help="A TOML file of settings. BROKER_* variables win over it.",
        ),
    ] = None,
) -> None:
    """Never called: a command takes over the parameter."""


def options() -> list[Any]:
    """The parameter, for a command of typer."""
    declaring = typer.Typer(add_completion=False)
    declaring.command()(_options)
    return list(get_command(declaring).params)
