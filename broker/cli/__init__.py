"""The command line: one module for each command or group of commands. `broker.__main__` calls `main`."""

from typing import Annotated, Any

import typer

from broker import __version__
from broker.cli import (
    dead_letters,
    demo,
    explain,
    listen,
    migrate,
    processes,
    simulate,
    subscriptions,
    topics,
)
from broker.errors import ConfigurationError

app = typer.Typer(
    name="fhir-broker",
    help="A FHIR Subscription notification broker: device events in, notification Bundles out.",
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
    pass


app.command("serve")(processes.serve)
app.command("api")(processes.api)
app.command("match")(processes.match)
app.command("dispatch")(processes.dispatch)
app.command("demo")(demo.demo)
app.command("explain")(explain.explain)
app.command("listen")(listen.listen)
app.command("migrate")(migrate.migrate)
app.command("simulate")(simulate.simulate)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(subscriptions.app, name="subscriptions")
app.add_typer(topics.app, name="topics")


def main() -> int:
    """Runs the command of this process's arguments and returns its exit code.

    Arguments that are not valid raise `ConfigurationError`, so that they are reported as one line like all
    other errors.
    """
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
