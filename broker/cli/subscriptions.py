"""`subscriptions`: how the Subscriptions of a running broker are doing, and events sent to them once more."""

import json
import re
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from broker.cli.broker_client import BASE, AsJson, Base, Broker, progress
from broker.errors import ConfigurationError

app = typer.Typer(help="List and show Subscriptions, and replay their events.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="The id of the Subscription.")]
_AT_ONCE = 10_000
"""So many events a `$resend`."""
_COUNTS = {
    "sent": re.compile(r"(\d+) events? will be sent again"),
    "gone": re.compile(r"(\d+) events? of the range (?:is|are) no longer stored"),
    "waiting": re.compile(r"(\d+) events? of the range not delivered yet"),
}


@app.command("list")
def list_(
    status: Annotated[
        str, typer.Option(help="Only those of a status: requested, active, error or off.")
    ] = "",
    base: Base = BASE,
    *,
    as_json: AsJson = False,
) -> None:
    """List the Subscriptions with their status, how many events each has had, and what is wrong.

    Examples:

        fhir-broker subscriptions list

        fhir-broker subscriptions list --status error --json
    """
    with Broker(base) as broker:
        bundle = broker.operate("Subscription/$status", status=status)
    rows = [_standing(entry["resource"]) for entry in bundle.get("entry", [])]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table("id", "status", "events", "topic", "error", title=f"{len(rows)} subscriptions")
    for row in rows:
        cells = (row["id"], row["status"], str(row["events"]), row["topic"], "\n".join(row["error"]))
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)


def _standing(status: dict[str, Any]) -> dict[str, Any]:
    """What a SubscriptionStatus says."""
    return {
        "id": status["subscription"]["reference"].rpartition("/")[2],
        "status": status["status"],
        "events": int(status["eventsSinceSubscriptionStart"]),
        "topic": status.get("topic", ""),
        "error": [error["text"] for error in status.get("error", [])],
    }


@app.command()
def show(one: Id, base: Base = BASE, *, as_json: AsJson = False) -> None:
    """Show one Subscription and how it is doing.

    Example:

        fhir-broker subscriptions show ward-3
    """
    with Broker(base) as broker:
        document = broker.get(f"Subscription/{one}")
        standing = _of(broker, one)
    if as_json:
        typer.echo(json.dumps({"standing": standing, "document": document}, indent=2, ensure_ascii=False))
        return
    filters = [f"{given['filterParameter']}={given['value']}" for given in document.get("filterBy", [])]
    table = Table("", "", show_header=False)
    for name, text in (
        ("id", standing["id"]),
        ("status", standing["status"]),
        ("events", str(standing["events"])),
        ("error", "\n".join(standing["error"])),
        ("topic", document["topic"]),
        ("filters", "\n".join(filters)),
        ("channel", document["channelType"]["code"]),
        ("endpoint", document.get("endpoint", "")),
        ("content", document.get("content", "")),
    ):
        table.add_row(name, escape(text))
    Console().print(table)


def _of(broker: Broker, one: str) -> dict[str, Any]:
    return _standing(broker.get(f"Subscription/{one}/$status")["entry"][0]["resource"])


@app.command()
def replay(
    one: Id,
    first: Annotated[int, typer.Option("--from", min=1, help="The first event number.")],
    last: Annotated[
        int | None, typer.Option("--to", min=1, help="The last event number; by default the newest.")
    ] = None,
    base: Base = BASE,
    *,
    as_json: AsJson = False,
) -> None:
    """Send events once more, under their numbers and in their order, also those that were passed over.

    What is under way is finished first; what waits comes after them, in its order. Exit code 1 if some are no longer kept.

    Examples:

        fhir-broker subscriptions replay ward-3 --from 120

        fhir-broker subscriptions replay ward-3 --from 120 --to 180 --json
    """
    if last is not None and last < first:
        raise ConfigurationError(f"--to {last} is before --from {first}")
    with Broker(base) as broker:
        newest = _of(broker, one)["events"]
        until = newest if last is None else min(last, newest)
        total = {
            "asked": max(0, (until if last is None else last) - first + 1),
            "sent": 0,
            "gone": 0,
            "waiting": 0,
        }
        with progress() as bar:
            task = bar.add_task("events", total=max(0, until - first + 1))
            for low in range(first, until + 1, _AT_ONCE):
                high = min(low + _AT_ONCE - 1, until)
                outcome = broker.operate(
                    f"Subscription/{one}/$resend", eventsSinceNumber=low, eventsUntilNumber=high
                )
                for name, count in _counted(outcome).items():
                    total[name] += count
                bar.advance(task, high - low + 1)
    total["unknown"] = total["asked"] - total["sent"] - total["gone"] - total["waiting"]
    if as_json:
        typer.echo(json.dumps(total))
    else:
        typer.echo(f"{total['asked']} events asked for, {total['sent']} go out again")
        for name, text in (
            ("gone", "are no longer stored"),
            ("waiting", "wait for their first delivery and keep their turn"),
            ("unknown", f"have no event yet: the newest is number {newest}"),
        ):
            if total[name]:
                typer.echo(f"{total[name]} {text}")
    raise typer.Exit(1 if total["gone"] else 0)


def _counted(outcome: dict[str, Any]) -> dict[str, int]:
    found = {}
    for issue in outcome["issue"]:
        for name, pattern in _COUNTS.items():
            if match := pattern.match(issue["diagnostics"]):
                found[name] = int(match[1])
    return found
