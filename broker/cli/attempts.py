"""`subscriptions attempts`: what was sent to the subscriber, when, and what it answered."""

from typing import Annotated, Any

import typer

from broker.cli.broker_client import (
    DEFAULT_BASE,
    BaseOption,
    BrokerClient,
    Parts,
    as_plain,
    groups,
    value,
)
from broker.cli.output import JsonOption, WideOption, cell, console, label, print_json, print_table
from broker.model.wording import count_of

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the Subscription.")]
_MAX_PER_REQUEST = 1_000


def attempts(
    subscription_id: Id,
    attempt: Annotated[
        str, typer.Option(help="Show this one in full, by its id; with what was sent, where that is stored.")
    ] = "",
    outcome: Annotated[
        str,
        typer.Option(help="Only this outcome: failed, delivered, refused, unreachable, gone, interrupted, …"),
    ] = "",
    event: Annotated[str, typer.Option(help="Only attempts to send the event with this number.")] = "",
    since: Annotated[
        str, typer.Option(help="Only attempts from this moment on, such as 2026-03-01T08:00:00Z.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="The number of attempts to list at most.")] = 50,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """List the last attempts to send notifications of a Subscription, the newest first.

    Examples:

        fhir-broker subscriptions attempts ward-3

        fhir-broker subscriptions attempts ward-3 --outcome failed --json

        fhir-broker subscriptions attempts ward-3 --event 17
    """
    with BrokerClient(base, "system/Subscription.r") as broker:
        if attempt:
            _show(broker, subscription_id, attempt, as_json=as_json, wide=wide)
            return
        listed, has_more = _read(broker, subscription_id, limit, outcome=outcome, event=event, since=since)
    plain = [as_plain(each) for each in listed]
    if as_json:
        print_json(plain)
        return
    output = console(wide=wide)
    if plain:
        headers = ("id", "time", "about", "outcome", "took", "error")
        print_table(output, headers, [_row(each) for each in plain])
    output.print(count_of(len(plain), "attempt"))
    if has_more:
        output.print("There are more attempts. Raise --limit to list them.")


def _read(broker: BrokerClient, subscription_id: str, limit: int, **where: str) -> tuple[list[Parts], bool]:
    """Up to `limit` attempts, and whether there are more."""
    listed: list[Parts] = []
    operation, before = f"Subscription/{subscription_id}/$attempts", ""
    while len(listed) < limit:
        count = min(_MAX_PER_REQUEST, limit - len(listed))
        answer = broker.operate(operation, count=count, before=before, **where)
        page: Parts = answer.get("parameter", [])
        listed += groups(page, "attempt")
        before = value(page, "next") or ""
        if not before:
            break
    return listed, bool(before)


def _row(attempt: dict[str, Any]) -> tuple[str, ...]:
    """The cells of an attempt, from the values that `--json` prints."""
    first, last = attempt.get("first-event"), attempt.get("last-event")
    about = attempt["type"]
    if first:
        about = f"event {first}" if first == last else f"events {first} to {last}"
        about += " again" if attempt["sent-again"] else ""
    if attempt["number"] > 1:
        about += f"\nattempt {attempt['number']}"
    outcome = attempt["outcome"] + (f"\n{attempt['status']}" if attempt.get("status") else "")
    took = f"{attempt['duration-ms']} ms"
    return attempt["id"], attempt["time"], about, outcome, took, attempt.get("error") or ""


def _show(broker: BrokerClient, subscription_id: str, attempt_id: str, *, as_json: bool, wide: bool) -> None:
    answer = broker.operate(f"Subscription/{subscription_id}/$attempts", id=attempt_id)
    (found,) = groups(answer.get("parameter", []), "attempt")
    plain = as_plain(found)
    if as_json:
        print_json(plain)
        return
    headers = [f"{each['name']}: {each['value']}" for each in plain.pop("header", ())]
    rows = {**plain, "headers": headers} if headers else plain
    table = [[label(name.replace("-", " ")), cell(each)] for name, each in rows.items()]
    print_table(console(wide=wide), (), table)
