"""`topics`: checks the SubscriptionTopic files of a folder."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from broker.errors import ConfigurationError
from broker.fhir.search_parameters import SearchParameters
from broker.fhir.topic_elements import topic_element
from broker.fhir.topics import parse_topic
from broker.matching.catalog import Catalog, CheckedFile

app = typer.Typer(help="Check SubscriptionTopic files.", no_args_is_help=True)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A folder of SubscriptionTopic JSON files.")] = Path(
        "topics"
    ),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Check the topic files of a folder: structure, triggers, search parameters, duplicates.

    Exit code 0 if every file can be loaded, 1 if not, 2 if there is no file to check.

    Example:

        fhir-broker topics check topics/
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder. Give the folder that contains the topic files.")
    files = Catalog(parse_topic, SearchParameters()).check(folder)
    if not files:
        raise ConfigurationError(
            f"{folder} contains no *.json file. Give the folder that contains the topic files."
        )
    failed = sum(file.topic is None for file in files)
    if as_json:
        typer.echo(
            json.dumps(
                [
                    {
                        "file": file.path.name,
                        "topic": file.topic.canonical if file.topic else None,
                        "remarks": _remarks(file),
                    }
                    for file in files
                ]
            )
        )
    else:
        table = Table("file", "topic", "focus", "filters", "remarks", title=f"{len(files)} topic files")
        for file in files:
            topic = file.topic
            table.add_row(
                file.path.name,
                topic.canonical if topic else "[red]not loaded[/]",
                ", ".join(sorted(topic.focus_types)) if topic else "",
                str(len(topic.filters)) if topic else "",
                "\n".join(_remarks(file)) or "[green]ok[/]",
            )
        Console().print(table)
    raise typer.Exit(1 if failed else 0)


def _remarks(file: CheckedFile) -> list[str]:
    """Each problem as text, such as `error: resourceTrigger[0].queryCriteria: …`; errors first."""
    remarks = []
    for problem in file.problems:
        place = "" if problem.location is None else f"{topic_element(problem.location)}: "
        remarks.append(f"{'error' if problem.is_error else 'warning'}: {place}{problem.text}")
    return remarks
