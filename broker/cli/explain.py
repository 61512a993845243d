"""`explain`: shows why a running broker would, or would not, notify a subscription of a change."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from broker.cli.broker_client import (
    DEFAULT_BASE,
    HEADERS,
    TIMEOUT_S,
    JsonOption,
    Parts,
    groups,
    request,
    value,
)
from broker.errors import ConfigurationError

_REFERENCE = re.compile(r"[A-Z][A-Za-z]*/[A-Za-z0-9.-]{1,64}(/_history/\d+)?")
_MARKS = {
    "passed": "[green]✓[/]",
    "failed": "[red]✗[/]",
    "error": "[red]✗ error[/]",
    "not-evaluated": "[dim]–[/]",
}
_Row = tuple[str, str, str, str, str]
"""Mark, criterion, wanted, found, outcome."""


def explain(
    subscription: Annotated[str, typer.Argument(help="The id of the Subscription.")],
    resource: Annotated[
        str,
        typer.Argument(help="A file with the resource, or a stored one as Type/id or Type/id/_history/n."),
    ],
    previous: Annotated[
        Path | None, typer.Option(help="A file with the previous state; the change is then an update.")
    ] = None,
    interaction: Annotated[
        str | None,
        typer.Option(help="create, update or delete. Default: what sending the resource now would be."),
    ] = None,
    base: Annotated[
        str, typer.Option(help="The FHIR base; its release is that of the resource.")
    ] = f"{DEFAULT_BASE}/r4",
    *,
    as_json: JsonOption = False,
) -> None:
    """Show why a change would, or would not, be notified to a subscription: each trigger and each filter.

    Exit code 0 if it would be notified, 1 if not, 2 if the broker cannot tell.

    Examples:

        fhir-broker explain 2f6c reading.json --base http://127.0.0.1:8080/r4

        fhir-broker explain 2f6c Observation/17 --json
    """
    with httpx.Client(headers=HEADERS, timeout=TIMEOUT_S, trust_env=False) as client:
        url = f"{base.rstrip('/')}/Subscription/{subscription}/$explain"
        response = request(client, "POST", url, content=_input(resource, previous, interaction).encode())
    parts: Parts = response.get("parameter", [])
    if as_json:
        typer.echo(json.dumps(response, indent=2, ensure_ascii=False))
    else:
        _show(parts)
    raise typer.Exit(0 if value(parts, "verdict") is True else 1)


def _input(resource: str, previous: Path | None, interaction: str | None) -> str:
    """The input of the operation, a Parameters resource, as JSON text."""
    if not Path(resource).is_file() and _REFERENCE.fullmatch(resource):
        parameters = [json.dumps({"name": "reference", "valueString": resource})]
    else:
        parameters = [f'{{"name": "resource", "resource": {_read(Path(resource))}}}']
    if previous is not None:
        parameters.append(f'{{"name": "previous", "resource": {_read(previous)}}}')
    if interaction is not None:
        parameters.append(json.dumps({"name": "interaction", "valueCode": interaction}))
    return f'{{"resourceType": "Parameters", "parameter": [{", ".join(parameters)}]}}'


def _read(path: Path) -> str:
    """The JSON text of a file, unchanged: decimals such as 2.00 keep their digits."""
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read {path}: {error.strerror}. Give a file, or the reference of a stored resource."
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"{path} is not JSON ({error}). Give a file with one FHIR resource."
        ) from error
    return text


def _found_values(parts: Parts) -> str:
    return "\n".join(str(part["valueString"]) for part in parts if part["name"] == "found")


def _show(parts: Parts) -> None:
    console = Console()
    table = Table("", "criterion")
    for name in ("wanted", "found", "outcome"):
        table.add_column(name, overflow="fold")
    for mark, *cells in _rows(parts):
        table.add_row(mark, *(escape(cell) for cell in cells))
    console.print(table)
    for line in (*_lines(parts), str(value(parts, "reason"))):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _rows(parts: Parts) -> Iterator[_Row]:
    for trigger in groups(parts, "trigger"):
        yield _row(trigger, str(value(trigger, "element")), str(value(trigger, "resource")))
        for name in ("previous", "current", "fhirPath"):
            for criteria in groups(trigger, name):
                terms = groups(criteria, "term")
                yield _row(criteria, f"  {name}", "" if terms else str(value(criteria, "criteria") or ""))
                yield from (_term(term, "    ") for term in terms)
    yield from (_term(term, "filter ") for term in groups(parts, "filter"))


def _term(parts: Parts, prefix: str) -> _Row:
    name, _, wanted = str(value(parts, "criteria")).partition("=")
    return _row(parts, prefix + name, wanted, _found_values(parts))


def _row(parts: Parts, criterion: str, wanted: str, found: str = "") -> _Row:
    reason = str(value(parts, "reason") or "")
    if found:  # the column `found` has the rest
        reason = reason.partition(": found")[0]
    return _MARKS.get(str(value(parts, "outcome")), ""), criterion, wanted, found, reason


def _lines(parts: Parts) -> Iterator[str]:
    for subscription in groups(parts, "subscription"):
        since = value(subscription, "counting-since")
        counting = f"counting since {since}" if value(subscription, "counting") and since else "not counting"
        yield (
            f"subscription {value(subscription, 'id')}: {value(subscription, 'status')}, {counting}, "
            f"{value(subscription, 'events')} events, {value(subscription, 'delivered')} delivered"
        )
    for delivery in groups(parts, "delivery"):
        if value(delivery, "state") == "waiting":
            next_attempt = value(delivery, "next-attempt")
            error = f", last error: {value(delivery, 'error')}" if value(delivery, "error") else ""
            due = f", next attempt at {next_attempt}" if next_attempt else ""
            yield f"delivery: {value(delivery, 'attempts')} failed attempts{error}{due}"
