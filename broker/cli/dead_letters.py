"""`dead-letters`: what could not be done, and what to do about it, of a running broker."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from broker.cli.broker_client import BASE, AsJson, Base, Broker, Parts, groups, plain, progress, value
from broker.errors import ConfigurationError

app = typer.Typer(
    help="List, show, retry and skip what could not be matched, rendered or taken in.", no_args_is_help=True
)
Ids = Annotated[list[str] | None, typer.Argument(help="Ids of letters, as `list` shows them.")]
OfKind = Annotated[str, typer.Option("--kind", help="Only change, event or inbox.")]
Subscription = Annotated[str, typer.Option(help="Only events of this Subscription.")]
All = Annotated[bool, typer.Option("--all", help="Every letter there is.")]


@app.command("list")
def list_(
    kind: OfKind = "",
    subscription: Subscription = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    base: Base = BASE,
    *,
    as_json: AsJson = False,
) -> None:
    """List what was set aside: changes that broke the matcher, events that can't be rendered, refused inbox entries.

    Examples:

        fhir-broker dead-letters list

        fhir-broker dead-letters list --kind event --subscription ward-3 --json
    """
    with Broker(base) as broker:
        letters, more = _listed(broker, kind, subscription, limit)
    if as_json:
        typer.echo(json.dumps([plain(one) for one in letters], indent=2, ensure_ascii=False))
        return
    table = Table("id", "set aside", "about", "state", "reason", title=f"{len(letters)} dead letters")
    for one in letters:
        table.add_row(*(escape(str(cell)) for cell in _row(one)))
    console = Console()
    console.print(table)
    if more:
        console.print("There are more: raise --limit.")


def _listed(broker: Broker, kind: str, subscription: str, limit: int) -> tuple[list[Parts], bool]:
    letters: list[Parts] = []
    after = ""
    while len(letters) < limit:
        count = min(1_000, limit - len(letters))
        answer = broker.operate(
            "$dead-letters", kind=kind, subscription=subscription, count=count, after=after
        ).get("parameter", [])
        letters += groups(answer, "dead-letter")
        after = value(answer, "next") or ""
        if not after:
            break
    return letters, bool(after)


def _row(letter: Parts) -> tuple[str, str, str, str, str]:
    about = value(letter, "reference") or "an inbox entry"
    if value(letter, "subscription"):
        about += f"\nevent {value(letter, 'event-number')} of {value(letter, 'subscription')}"
    state = "is being redriven" if value(letter, "redriving") else "waits"
    if not value(letter, "stored"):
        state = "no longer stored"
    return value(letter, "id"), value(letter, "time"), about, state, value(letter, "reason") or ""


@app.command()
def show(
    letter: Annotated[str, typer.Argument(help="The id of a letter.")],
    base: Base = BASE,
    *,
    as_json: AsJson = False,
) -> None:
    """Show one letter in full; of an inbox entry, what the gateway wrote.

    Example:

        fhir-broker dead-letters show event-ward-3-17
    """
    with Broker(base) as broker:
        answer = broker.operate("$dead-letters", id=letter)
    (parts,) = groups(answer["parameter"], "dead-letter")
    if as_json:
        typer.echo(json.dumps(plain(parts), indent=2, ensure_ascii=False))
        return
    fields = [(value(field, "name"), value(field, "value") or "") for field in groups(parts, "field")]
    table = Table("", "", show_header=False)
    for name, text in [(part["name"], value([part], part["name"])) for part in parts if "part" not in part]:
        table.add_row(name, escape(str(text).lower() if isinstance(text, bool) else str(text)))
    for name, text in fields:
        table.add_row(escape(name), escape(text))
    Console().print(table)


@app.command()
def retry(
    letters: Ids = None,
    kind: OfKind = "",
    subscription: Subscription = "",
    every: All = False,
    base: Base = BASE,
    *,
    as_json: AsJson = False,
) -> None:
    """Have letters done after all, once their cause is mended. A letter is gone when it was.

    A change is matched again and reaches the subscriptions it matches; an event goes out under its number. Exit code 0 if all
    that were meant are on their way, 1 if some can't be retried.

    Examples:

        fhir-broker dead-letters retry event-ward-3-17

        fhir-broker dead-letters retry --subscription ward-3
    """
    total, problems = {"redriven": 0, "refused": 0}, []
    for answer in _worked_off(base, "$redrive-dead-letters", letters, kind, subscription, every=every):
        for name in total:
            total[name] += value(answer, name)
        problems += [plain(one) for one in groups(answer, "problem")]
    if as_json:
        typer.echo(json.dumps(total | {"problem": problems}, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"{total['redriven']} redriven, {total['refused']} refused")
        for one in problems:
            typer.echo(f"{one['id']}: {one['reason']}")
    raise typer.Exit(1 if total["refused"] else 0)


@app.command()
def skip(
    letters: Ids = None,
    kind: OfKind = "",
    subscription: Subscription = "",
    every: All = False,
    base: Base = BASE,
    *,
    as_json: AsJson = False,
) -> None:
    """Forget letters: what they hold will not be done.

    Examples:

        fhir-broker dead-letters skip change-3-1700000000000-0

        fhir-broker dead-letters skip --kind inbox
    """
    skipped = 0
    for answer in _worked_off(base, "$discard-dead-letters", letters, kind, subscription, every=every):
        skipped += value(answer, "discarded")
    typer.echo(json.dumps({"discarded": skipped}) if as_json else f"{skipped} discarded")


def _worked_off(
    base: str, operation: str, letters: list[str] | None, kind: str, subscription: str, *, every: bool
) -> Iterator[Parts]:
    """The answers to one request after the other, until nothing is left of what was chosen."""
    ids = letters or []
    if bool(ids) + bool(kind or subscription) + every != 1:
        raise ConfigurationError(
            "name letters by id, or choose them by --kind and --subscription, or say --all"
        )
    given: dict[str, Any] = {"kind": kind, "subscription": subscription, "all": "true" if every else ""}
    with Broker(base) as broker, progress() as bar:
        task = bar.add_task("letters", total=len(ids) or None)
        if ids:
            for start in range(0, len(ids), 1_000):
                some = ids[start : start + 1_000]
                yield broker.operate(operation, id=some)["parameter"]
                bar.advance(task, len(some))
            return
        after = ""
        while True:
            answer: Parts = broker.operate(operation, after=after, **given)["parameter"]
            yield answer
            bar.advance(task, sum(value(answer, name) or 0 for name in ("redriven", "refused", "discarded")))
            after = value(answer, "next") or ""
            if not after:
                return
