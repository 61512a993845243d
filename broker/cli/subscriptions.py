"""`subscriptions`: lists and shows the Subscriptions of a running broker, and sends events again."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from broker.cli.broker_client import DEFAULT_BASE, BaseOption, BrokerClient, progress_bar, value
from broker.cli.output import JsonOption
from broker.errors import ConfigurationError

app = typer.Typer(help="List and show Subscriptions, and send their events again.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the Subscription.")]
_MAX_PER_REQUEST = 10_000
"""The number of events that one `$resend` accepts."""
_COUNTS = ("resent", "expired", "undelivered")


@app.command("list")
def list_(
    status: Annotated[str, typer.Option(help="Only this status: requested, active, error or off.")] = "",
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
) -> None:
    """List the Subscriptions with their status, their number of events, and their errors.

    Examples:

        fhir-broker subscriptions list

        fhir-broker subscriptions list --status error --json
    """
    with BrokerClient(base) as broker:
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
    """The fields of a SubscriptionStatus that the commands show."""
    return {
        "id": status["subscription"]["reference"].rpartition("/")[2],
        "status": status["status"],
        "events": int(status["eventsSinceSubscriptionStart"]),
        "topic": status.get("topic", ""),
        "error": [error["text"] for error in status.get("error", [])],
    }


@app.command()
def show(subscription_id: Id, base: BaseOption = DEFAULT_BASE, *, as_json: JsonOption = False) -> None:
    """Show one Subscription with its status and errors.

    Example:

        fhir-broker subscriptions show ward-3
    """
    with BrokerClient(base) as broker:
        document = broker.get(f"Subscription/{subscription_id}")
        standing = _read_standing(broker, subscription_id)
    if as_json:
        typer.echo(json.dumps({"standing": standing, "document": document}, indent=2, ensure_ascii=False))
        return
    filters = [f"{item['filterParameter']}={item['value']}" for item in document.get("filterBy", [])]
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


def _read_standing(broker: BrokerClient, subscription_id: str) -> dict[str, Any]:
    bundle = broker.get(f"Subscription/{subscription_id}/$status")
    return _standing(bundle["entry"][0]["resource"])


@app.command()
def resend(
    subscription_id: Id,
    first: Annotated[int, typer.Option("--from", min=1, help="The first event number.")],
    last: Annotated[
        int | None, typer.Option("--to", min=1, help="The last event number; the newest if left out.")
    ] = None,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Send events again, with their numbers and in order; also events that were discarded as dead letters.

    They are sent after the notification in progress, and before events that wait for their first delivery.
    Exit code 0 if all events of the range are still stored, 1 if not.

    Examples:

        fhir-broker subscriptions resend ward-3 --from 120

        fhir-broker subscriptions resend ward-3 --from 120 --to 180 --json
    """
    if last is not None and last < first:
        raise ConfigurationError(f"--to {last} is before --from {first}. Give a range in ascending order.")
    with BrokerClient(base) as broker:
        newest = _read_standing(broker, subscription_id)["events"]
        end = newest if last is None else min(last, newest)
        requested = max(0, (newest if last is None else last) - first + 1)
        totals = {"requested": requested, "resent": 0, "expired": 0, "undelivered": 0}
        with progress_bar() as bar:
            task = bar.add_task("events", total=max(0, end - first + 1))
            for low in range(first, end + 1, _MAX_PER_REQUEST):
                high = min(low + _MAX_PER_REQUEST - 1, end)
                counts = broker.operate(
                    f"Subscription/{subscription_id}/$resend", eventsSinceNumber=low, eventsUntilNumber=high
                )
                for name in _COUNTS:
                    totals[name] += value(counts["parameter"], name)
                bar.advance(task, high - low + 1)
    totals["unknown"] = requested - totals["resent"] - totals["expired"] - totals["undelivered"]
    if as_json:
        typer.echo(json.dumps(totals))
    else:
        typer.echo(f"{requested} events requested, {totals['resent']} will be sent again")
        for name, text in (
            ("expired", "are no longer stored"),
            ("undelivered", "wait for their first delivery, which follows in order"),
            ("unknown", f"do not exist: the newest event has number {newest}"),
        ):
            if totals[name]:
                typer.echo(f"{totals[name]} {text}")
    raise typer.Exit(1 if totals["expired"] else 0)
