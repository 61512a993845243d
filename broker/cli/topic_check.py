"""`topics check`: checks the SubscriptionTopic files of a folder, without a broker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.output import JsonOption, WideOption, print_rows
from broker.errors import ConfigurationError
from broker.fhir.search_parameters import SearchParameters
from broker.fhir.topic_elements import topic_element
from broker.fhir.topics import parse_topic
from broker.matching.catalog import Catalog, CheckedFile


@dataclass(frozen=True, slots=True)
class _CheckedRow:
    """The result for one file. `topic` is None if it cannot be loaded."""

    file: str
    topic: str | None
    focus: list[str]
    filters: int
    remarks: list[str]

    @classmethod
    def of(cls, file: CheckedFile) -> "_CheckedRow":
        topic = file.topic
        return cls(
            file=file.path.name,
            topic=topic.canonical if topic else None,
            focus=sorted(topic.focus_types) if topic else [],
            filters=len(topic.filters) if topic else 0,
            remarks=_remarks(file),
        )


def check(
    folder: Annotated[Path, typer.Argument(help="A folder of SubscriptionTopic JSON files.")] = Path(
        "topics"
    ),
    *,
    as_json: JsonOption = False,
    wide: WideOption = False,
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
    rows = [_CheckedRow.of(file) for file in files]
    print_rows(rows, _CheckedRow, "topic file", as_json=as_json, wide=wide)
    raise typer.Exit(1 if any(row.topic is None for row in rows) else 0)


def _remarks(file: CheckedFile) -> list[str]:
    """Each problem as text, such as `error: resourceTrigger[0].queryCriteria: …`; errors first."""
    remarks = []
    for problem in file.problems:
        place = "" if problem.location is None else f"{topic_element(problem.location)}: "
        remarks.append(f"{'error' if problem.is_error else 'warning'}: {place}{problem.text}")
    return remarks
