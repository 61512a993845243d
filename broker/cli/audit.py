"""`audit`: lists, exports and verifies the audit trail of a running broker."""

from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Self

import typer

from broker.cli.broker_client import (
    DEFAULT_BASE,
    BaseOption,
    BrokerClient,
    progress_bar,
    value,
)
from broker.cli.output import JsonOption, WideOption, print_json, print_rows

app = typer.Typer(
    help="List, export and verify the audit trail.\n\nExample:\n\n    fhir-broker audit list",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
FromOption = Annotated[str, typer.Option("--from", help="The first date or instant, such as 2026-03-01.")]
ToOption = Annotated[str, typer.Option("--to", help="The last date or instant; a day counts as a whole.")]


_SCOPE = "system/AuditEvent.rs"


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One AuditEvent of R4, as a row of the list."""

    id: str
    time: str
    agent: str
    address: str
    action: str
    outcome: str
    detail: str
    about: list[str]

    @classmethod
    def of(cls, event: dict[str, Any]) -> Self:
        agent = event["agent"][0]
        return cls(
            event["id"],
            event["recorded"],
            agent["who"]["identifier"]["value"],
            agent.get("network", {}).get("address", ""),
            event["subtype"][0]["display"],
            {"0": "success", "4": "failure", "8": "serious failure"}[event["outcome"]],
            event.get("outcomeDesc", ""),
            [entity["what"]["reference"] for entity in event.get("entity", ())],
        )


@app.command("list")
def list_(
    start: FromOption = "",
    end: ToOption = "",
    patient: Annotated[str, typer.Option("--patient", help="Only about this patient: Patient/id.")] = "",
    agent: Annotated[str, typer.Option("--agent", help="Only of this client.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="The number of entries to list at most.")] = 100,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """List entries of the audit trail, the newest first.

    Examples:

        fhir-broker audit list --patient Patient/ana --from 2026-03-01

        fhir-broker audit list --agent gateway --limit 20 --json
    """
    dates = [f"{prefix}{date}" for prefix, date in (("ge", start), ("le", end)) if date]
    with BrokerClient(base, _SCOPE) as broker:
        events = broker.search_many("AuditEvent", "r4", patient=[patient], agent=[agent], date=dates)
        rows = [AuditRow.of(event) for event in islice(events, limit)]
    print_rows(rows, AuditRow, "entry", as_json=as_json, wide=wide, plural="entries")


@app.command()
def export(
    start: FromOption = "",
    end: ToOption = "",
    base: BaseOption = DEFAULT_BASE,
) -> None:
    """Write the entries of a period to standard output, the oldest first: one AuditEvent a line (NDJSON).

    The base decides the FHIR release of the AuditEvents.

    Examples:

        fhir-broker audit export --from 2026-03-01 --to 2026-03-31 > march.ndjson

        fhir-broker audit export --base http://127.0.0.1:8080/r5
    """
    with BrokerClient(base, _SCOPE) as broker, progress_bar() as bar:
        task = bar.add_task("entries", total=None)
        for line in broker.lines("AuditEvent/$export-trail", {"from": start, "to": end}):
            typer.echo(line)
            bar.advance(task)


@app.command()
def verify(
    recorded: Annotated[
        list[str] | None,
        typer.Option("--head", help="A head that was stored elsewhere, as number:digest. May be repeated."),
    ] = None,
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Verify that no entry of the audit trail was altered, removed or exchanged.

    Prints the head of the trail; store it elsewhere and give it as --head the next time, so that a trail
    that was cut or written again is found too. Exit code 1 with the first bad entry.

    Examples:

        fhir-broker audit verify

        fhir-broker audit verify --head 4711:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """
    with BrokerClient(base, _SCOPE) as broker, progress_bar() as bar:
        task = bar.add_task("entries", total=None)
        query: dict[str, Any] = {"recorded": recorded or []}
        while True:
            parts = broker.get_with("AuditEvent/$verify-trail", query).get("parameter", [])
            reached, head = value(parts, "reached"), value(parts, "head")
            bar.update(task, completed=int(reached.partition(":")[0]), total=int(head.partition(":")[0]))
            if value(parts, "complete"):
                break
            query["after"] = reached
    number, problem = value(parts, "problem-at"), value(parts, "problem")
    if as_json:
        print_json({"first": value(parts, "first"), "head": head, "bad-entry": number, "problem": problem})
    elif problem:
        typer.echo(f"entry {number}: {problem}")
    else:
        typer.echo(f"entries {value(parts, 'first')} to {head.partition(':')[0]} are as they were written")
        typer.echo(f"head {head}")
    raise typer.Exit(1 if problem else 0)
