"""`dead-letters`: lists, shows, redrives and discards the dead letters of a running broker."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from broker.cli.broker_client import (
    DEFAULT_BASE,
    BaseOption,
    BrokerClient,
    Parts,
    as_plain,
    groups,
    progress_bar,
    value,
)
from broker.cli.output import JsonOption, WideOption, cell, console, label, print_json, print_table
from broker.errors import ConfigurationError
from broker.model.wording import count_of

app = typer.Typer(
    help="List, show, redrive and discard changes, events and inbox entries that could not be processed.\n\n"
    "Example:\n\n    fhir-broker dead-letters list",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
Ids = Annotated[list[str] | None, typer.Argument(help="Ids of dead letters, as `list` shows them.")]
KindOption = Annotated[str, typer.Option("--kind", help="Only this kind: change, event, inbox or reading.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", help="Only readings with this reason, such as unknown-unit.")
]
SubscriptionOption = Annotated[
    str, typer.Option("--subscription", help="Only events of the Subscription with this id.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All dead letters.")]
_MAX_PER_REQUEST = 1_000


@app.command("list")
def list_(
    kind: KindOption = "",
    subscription: SubscriptionOption = "",
    reason: ReasonOption = "",
    limit: Annotated[int, typer.Option(min=1, help="The number of dead letters to list at most.")] = 100,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """List dead letters: changes that could not be matched, events that could not be rendered, refused inbox
    entries, quarantined readings.

    Examples:

        fhir-broker dead-letters list

        fhir-broker dead-letters list --kind event --subscription ward-3 --json
    """
    with BrokerClient(base, "system/Subscription.r") as broker:
        dead_letters, has_more = _read(broker, limit, kind=kind, subscription=subscription, reason=reason)
    plain = [as_plain(dead_letter) for dead_letter in dead_letters]
    if as_json:
        print_json(plain)
        return
    output = console(wide=wide)
    if plain:
        print_table(output, ("id", "since", "about", "state", "reason"), [_row(each) for each in plain])
    output.print(count_of(len(plain), "dead letter"))
    if has_more:
        output.print("There are more dead letters. Raise --limit to list them.")


def _read(broker: BrokerClient, limit: int, **where: str) -> tuple[list[Parts], bool]:
    """Up to `limit` dead letters, and whether there are more."""
    dead_letters: list[Parts] = []
    after = ""
    while len(dead_letters) < limit:
        count = min(_MAX_PER_REQUEST, limit - len(dead_letters))
        page: Parts = broker.operate("$dead-letters", count=count, after=after, **where).get("parameter", [])
        dead_letters += groups(page, "dead-letter")
        after = value(page, "next") or ""
        if not after:
            break
    return dead_letters, bool(after)


def _row(dead_letter: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    """The cells of a dead letter, from the values that `--json` prints."""
    about = dead_letter.get("reference") or (
        "a reading" if dead_letter["kind"] == "reading" else "an inbox entry"
    )
    if dead_letter.get("subscription"):
        about += f"\nevent {dead_letter['event-number']} of {dead_letter['subscription']}"
    state = "redriving" if dead_letter.get("redriving") else "waiting"
    if not dead_letter.get("stored"):
        state = "no longer stored"
    return dead_letter["id"], dead_letter["time"], about, state, dead_letter.get("reason") or ""


@app.command()
def show(
    dead_letter_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a dead letter.")],
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Show one dead letter with all its details; for an inbox entry or a reading, also what the gateway sent;
    for an event that a FHIR server refused, also its OperationOutcome.

    Example:

        fhir-broker dead-letters show event-ward-3-17
    """
    with BrokerClient(base, "system/Subscription.r") as broker:
        response = broker.operate("$dead-letters", id=dead_letter_id)
    (dead_letter,) = groups(response.get("parameter", []), "dead-letter")
    plain = as_plain(dead_letter)
    if as_json:
        print_json(plain)
        return
    fields, outcome = plain.pop("field", []), plain.pop("outcome", None)
    rows = [(label(name), cell(content)) for name, content in plain.items()]
    rows += [(field["name"], cell(field.get("value"))) for field in fields]
    if outcome is not None:
        rows.append((label("outcome"), json.dumps(outcome, indent=2, ensure_ascii=False)))
    print_table(console(wide=wide), (), rows)


@app.command()
def redrive(
    ids: Ids = None,
    kind: KindOption = "",
    subscription: SubscriptionOption = "",
    reason: ReasonOption = "",
    every: AllOption = False,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Process dead letters again, after their cause has been corrected.

    A change is matched again and reaches the subscriptions it matches. An event is sent under its number.
    The dead letter is deleted when this succeeds. Exit code 0 if all selected ones are redriven, 1 if not.

    Examples:

        fhir-broker dead-letters redrive event-ward-3-17

        fhir-broker dead-letters redrive --subscription ward-3

        fhir-broker dead-letters redrive --kind reading --reason unknown-unit
    """
    totals, problems = {"redriven": 0, "refused": 0}, []
    for response in _apply(
        "$redrive-dead-letters", base, ids, every=every, kind=kind, subscription=subscription, reason=reason
    ):
        for name in totals:
            totals[name] += value(response, name)
        problems += [as_plain(problem) for problem in groups(response, "problem")]
    if as_json:
        print_json(totals | {"problem": problems})
    else:
        typer.echo(f"{totals['redriven']} redriven, {totals['refused']} refused")
        for problem in problems:
            typer.echo(f"{problem['id']}: {problem['reason']}")
    raise typer.Exit(1 if totals["refused"] else 0)


@app.command()
def discard(
    ids: Ids = None,
    kind: KindOption = "",
    subscription: SubscriptionOption = "",
    reason: ReasonOption = "",
    every: AllOption = False,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Delete dead letters for good: what they hold is never processed.

    Examples:

        fhir-broker dead-letters discard change-3-1700000000000-0

        fhir-broker dead-letters discard --kind inbox
    """
    discarded = 0
    for response in _apply(
        "$discard-dead-letters", base, ids, every=every, kind=kind, subscription=subscription, reason=reason
    ):
        discarded += value(response, "discarded")
    if as_json:
        print_json({"discarded": discarded})
    else:
        typer.echo(f"{discarded} discarded")


def _apply(operation: str, base: str, ids: list[str] | None, *, every: bool, **where: str) -> Iterator[Parts]:
    """One response after the other, until the operation was applied to the whole selection."""
    ids = ids or []
    if bool(ids) + any(where.values()) + every != 1:
        raise ConfigurationError(
            "The selection of dead letters is missing or ambiguous. "
            "Give their ids, or --kind, --subscription and --reason, or --all."
        )
    selection: dict[str, Any] = where | {"all": "true" if every else ""}
    with BrokerClient(base, "system/Subscription.r") as broker, progress_bar() as bar:
        task = bar.add_task("dead letters", total=len(ids) or None)
        for start in range(0, len(ids), _MAX_PER_REQUEST):
            batch = ids[start : start + _MAX_PER_REQUEST]
            yield broker.operate(operation, id=batch).get("parameter", [])
            bar.advance(task, len(batch))
        after = ""
        while not ids:
            response: Parts = broker.operate(operation, after=after, **selection).get("parameter", [])
            yield response
            names = ("redriven", "refused", "discarded")
            bar.advance(task, sum(value(response, name) or 0 for name in names))
            after = value(response, "next") or ""
            if not after:
                return
