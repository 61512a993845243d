"""`explain`: asks a running broker why a resource would, or would not, be notified to a subscription."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from broker.errors import ConfigurationError

_JSON = "application/fhir+json"
_TIMEOUT_S = 30.0
_REFERENCE = re.compile(r"[A-Z][A-Za-z]*/[A-Za-z0-9.-]{1,64}(/_history/\d+)?")
_MARKS = {
    "passed": "[green]✓[/]",
    "failed": "[red]✗[/]",
    "error": "[red]✗ error[/]",
    "not-evaluated": "[dim]–[/]",
}


def explain(
    subscription: Annotated[str, typer.Argument(help="The id of the Subscription.")],
    resource: Annotated[
        str, typer.Argument(help="A file with the resource, or Type/id of a stored one (Type/id/_history/n).")
    ],
    previous: Annotated[
        Path | None, typer.Option(help="A file with the state before; makes it an update.")
    ] = None,
    interaction: Annotated[
        str | None, typer.Option(help="create, update or delete; by default what sending it now would be.")
    ] = None,
    base: Annotated[str, typer.Option(help="The FHIR base to ask.")] = "http://127.0.0.1:8080/r4",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the broker's answer as JSON.")] = False,
) -> None:
    """Tell why a change would, or would not, reach a subscription: trigger by trigger, filter by filter.

    Exit code 0 if it would be notified, 1 if not, 2 if that can't be told.

    Examples:

        fhir-broker explain 2f6c reading.json --base http://127.0.0.1:8080/r4

        fhir-broker explain 2f6c Observation/17 --json
    """
    answer = _asked(base.rstrip("/"), subscription, _question(resource, previous, interaction))
    parts = answer.get("parameter", [])
    if as_json:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        _show(parts)
    raise typer.Exit(0 if _value(parts, "verdict") is True else 1)


def _question(resource: str, previous: Path | None, interaction: str | None) -> str:
    """The operation's Parameters, as JSON."""
    if not Path(resource).is_file() and _REFERENCE.fullmatch(resource):
        question = [json.dumps({"name": "reference", "valueString": resource})]
    else:
        question = [f'{{"name": "resource", "resource": {_file(Path(resource))}}}']
    if previous is not None:
        question.append(f'{{"name": "previous", "resource": {_file(previous)}}}')
    if interaction is not None:
        question.append(json.dumps({"name": "interaction", "valueCode": interaction}))
    return f'{{"resourceType": "Parameters", "parameter": [{", ".join(question)}]}}'


def _file(path: Path) -> str:
    """The JSON as it is written: parsed and printed again, 2.00 would become 2.0."""
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from error
    return text


def _asked(base: str, subscription: str, question: str) -> dict[str, Any]:
    """The Parameters the broker answers. Raises `ConfigurationError` with its reason if it refuses."""
    headers = {"Content-Type": _JSON, "Accept": _JSON}
    url = f"{base}/Subscription/{subscription}/$explain"
    try:
        response = httpx.post(
            url, content=question.encode(), headers=headers, timeout=_TIMEOUT_S, trust_env=False
        )
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"the broker at {base} does not answer: {error}") from error
    try:
        answer: dict[str, Any] = response.json()
        if response.status_code == 200 and answer.get("resourceType") == "Parameters":
            return answer
        reason = "; ".join(issue["diagnostics"] for issue in answer["issue"])
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = response.text[:200]
    raise ConfigurationError(f"{base} refused ({response.status_code}): {reason}")


_Parts = Sequence[Mapping[str, Any]]


def _value(parts: _Parts, name: str) -> Any:
    """The value of the first part of that name; None without one."""
    for part in parts:
        if part["name"] == name:
            return next((value for key, value in part.items() if key.startswith("value")), None)
    return None


def _groups(parts: _Parts, name: str) -> list[_Parts]:
    return [part.get("part", []) for part in parts if part["name"] == name]


def _found(parts: _Parts) -> str:
    return "\n".join(str(part["valueString"]) for part in parts if part["name"] == "found")


def _show(parts: _Parts) -> None:
    console = Console()
    table = Table("", "asked")
    for name in ("wanted", "found", "outcome"):
        table.add_column(name, overflow="fold")
    for mark, *cells in _rows(parts):
        table.add_row(mark, *(escape(cell) for cell in cells))
    console.print(table)
    for line in (*_lines(parts), str(_value(parts, "reason"))):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _rows(parts: _Parts) -> Iterator[tuple[str, str, str, str, str]]:
    for trigger in _groups(parts, "trigger"):
        yield _row(trigger, str(_value(trigger, "element")), str(_value(trigger, "resource")))
        for name in ("previous", "current", "fhirPath"):
            for criteria in _groups(trigger, name):
                terms = _groups(criteria, "term")
                yield _row(criteria, f"  {name}", "" if terms else str(_value(criteria, "criteria") or ""))
                yield from (_term(term, "    ") for term in terms)
    yield from (_term(one, "filter ") for one in _groups(parts, "filter"))


def _term(parts: _Parts, before: str) -> tuple[str, str, str, str, str]:
    name, _, wanted = str(_value(parts, "criteria")).partition("=")
    return _row(parts, before + name, wanted, _found(parts))


def _row(parts: _Parts, asked: str, wanted: str, found: str = "") -> tuple[str, str, str, str, str]:
    reason = str(_value(parts, "reason") or "")
    if found:  # the column beside says what was found
        reason = reason.partition(": found")[0]
    return _MARKS.get(str(_value(parts, "outcome")), ""), asked, wanted, found, reason


def _lines(parts: _Parts) -> Iterator[str]:
    for one in _groups(parts, "subscription"):
        since = _value(one, "counting-since")
        counting = f"counting since {since}" if _value(one, "counting") and since else "not counting"
        yield f"subscription {_value(one, 'id')}: {_value(one, 'status')}, {counting}, {_value(one, 'events')} events, {_value(one, 'delivered')} delivered"
    for one in _groups(parts, "delivery"):
        if _value(one, "state") == "waiting":
            following = _value(one, "next-attempt")
            error = f", last error: {_value(one, 'error')}" if _value(one, "error") else ""
            again = f", next at {following}" if following else ""
            yield f"delivery: {_value(one, 'attempts')} failed attempts{error}{again}"
