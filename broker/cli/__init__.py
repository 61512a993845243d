"""The command line: one module for each command or group of commands. `broker.__main__` calls `main`."""

import os
from typing import Annotated, Any

import typer

from broker import __version__
from broker.cli.commands import CommandGroup
from broker.errors import ConfigurationError

app = typer.Typer(
    name="fhir-broker",
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fhir-broker {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A FHIR Subscription notification broker: device events in, notification Bundles out.

    Examples:

        fhir-broker demo

        fhir-broker serve

        fhir-broker listen --broker http://127.0.0.1:8080
    """


def main() -> int:
    """Runs the command of this process's arguments and returns its exit code, 130 for Ctrl-C.

    Arguments that are not valid raise `ConfigurationError`, so that they are reported as one line like all
    other errors.
    """
    if "_FHIR_BROKER_COMPLETE" in os.environ:  # a shell asks what it can complete
        # no other command needs it
        from broker.cli import completion  # noqa: PLC0415

        completion.prepare()
    try:
        result: Any = app(prog_name="fhir-broker", standalone_mode=False)
    except Exception as error:
        # typer exports no base class of its usage errors; only they have a context and a message
        context, format_message = getattr(error, "ctx", None), getattr(error, "format_message", None)
        if context is None or format_message is None:
            raise
        message: str = format_message().rstrip(".")
        if not message:  # a group without a subcommand has printed its help
            return 2
        raise ConfigurationError(f"{message}. Run `{context.command_path} --help`.") from error
    return result if isinstance(result, int) else 0
