"""`topics`: what can be subscribed to."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from broker.errors import ConfigurationError
from broker.fhir.parameters import Parameters
from broker.fhir.topics import parse_topic
from broker.matching.catalog import Catalog

app = typer.Typer(help="Check and list SubscriptionTopics.", no_args_is_help=True)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A folder of SubscriptionTopic JSON files.")] = Path(
        "topics"
    ),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Validate a folder of topics: structure, triggers, search parameters, duplicates.

    Exit code 0 if every file can be loaded, 1 if not, 2 if there is no such folder.

    Example:

        fhir-broker topics check topics/
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder; give the folder that holds the topic files")
    rows = Catalog(parse_topic, Parameters()).check(folder)
    if not rows:
        raise ConfigurationError(f"{folder} holds no *.json file")
    failed = sum(topic is None for _, topic, _ in rows)
    if as_json:
        typer.echo(
            json.dumps(
                [
                    {"file": path.name, "topic": topic.canonical if topic else None, "remarks": remarks}
                    for path, topic, remarks in rows
                ]
            )
        )
    else:
        table = Table("file", "topic", "focus", "filters", "remarks", title=f"{len(rows)} topic files")
        for path, topic, remarks in rows:
            table.add_row(
                path.name,
                topic.canonical if topic else "[red]not loaded[/]",
                ", ".join(sorted(topic.focus_types)) if topic else "",
                str(len(topic.filters)) if topic else "",
                "\n".join(remarks) or "[green]fine[/]",
            )
        Console().print(table)
    raise typer.Exit(1 if failed else 0)
