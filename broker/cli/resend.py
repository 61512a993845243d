"""`subscriptions resend`: has a range of events sent again."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from broker.cli.broker_client import DEFAULT_BASE, BaseOption, BrokerClient, progress_bar, value
from broker.cli.output import JsonOption, print_json
from broker.cli.subscription_values import Delivery
from broker.errors import ConfigurationError
from broker.model.wording import are, count_of

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the Subscription.")]
_MAX_PER_REQUEST = 10_000
"""The number of events that one `$resend` accepts."""
_COUNTS = ("resent", "expired", "undelivered")


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
    with BrokerClient(base, "system/Subscription.ru") as broker:
        newest = Delivery.read(broker, subscription_id).events
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
        print_json(totals)
    else:
        for line in _lines(totals, newest):
            typer.echo(line)
    raise typer.Exit(1 if totals["expired"] else 0)


def _lines(totals: Mapping[str, int], newest: int) -> Iterator[str]:
    """The counts in sentences; those of zero are left out after the first."""
    yield f"{count_of(totals['requested'], 'event')} requested, {totals['resent']} will be sent again"
    if expired := totals["expired"]:
        yield f"{count_of(expired, 'event')} {are(expired)} no longer stored"
    if undelivered := totals["undelivered"]:
        verb = "waits" if undelivered == 1 else "wait"
        yield f"{count_of(undelivered, 'event')} {verb} for the first delivery, which follows in order"
    if unknown := totals["unknown"]:
        verb = "does" if unknown == 1 else "do"
        yield f"{count_of(unknown, 'event')} {verb} not exist: the newest has number {newest}"
