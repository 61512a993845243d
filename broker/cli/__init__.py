"""The command line; one file a command group."""

from typing import Annotated

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
