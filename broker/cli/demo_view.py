"""Shows a demo in the terminal: the subscriptions and a progress bar, and at the end one Bundle and the
totals.
"""

import contextlib
import json
from collections.abc import Iterator

from rich.console import Console, Group
from rich.json import JSON
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from broker.cli.demo_clients import DemoClients
from broker.cli.demo_run import DemoRun, Summary
from broker.testing.inputs import Input


def show_clients(console: Console, clients: DemoClients) -> None:
    """Prints what was prepared before the broker starts."""
    names = ", ".join(clients.names)
    console.print(f"Made {len(clients.names)} keys and registered {len(clients.names)} clients: {names}.")


def show_registrations(console: Console, run: DemoRun) -> None:
    """Prints what the subscribers have done once their subscriptions are active and signed."""
    count = len(run.rows)
    console.print(
        f"{count} subscribers got access tokens with their keys and registered their subscriptions."
    )
    console.print(
        f"The broker made {count} signing secrets. Subscribers refuse what is not signed with theirs."
    )


def show_console(console: Console, link: str) -> None:
    """Prints where the console is, once it can be used."""
    console.print("The console has a guided tour. Log in by this link; it works once, within ten minutes:")
    console.print(link, soft_wrap=True, highlight=False)


def invite(console: Console, link: str) -> None:
    """Prints what is left to do after the readings, with a new link."""
    console.print("The broker keeps running for the guided tour of its console, until Ctrl-C. Log in by:")
    console.print(link, soft_wrap=True, highlight=False)


class _View:
    """Renders the current state of the run at each refresh."""

    def __init__(self, run: DemoRun, total: int | None) -> None:
        self._run = run
        self._progress = Progress(
            TextColumn("sent"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            expand=True,
        )
        self._task = self._progress.add_task("sent", total=total)

    def __rich__(self) -> Group:
        self._progress.update(self._task, completed=self._run.sent)
        return Group(_table(self._run), self._progress)


def _table(run: DemoRun) -> Table:
    table = Table(title=f"Subscriptions at {run.base_url}", expand=True)
    for name in ("FHIR", "topic", "filter", "content", "status"):
        table.add_column(name, overflow="fold")
    for name in ("last event", "expected", "received"):
        table.add_column(name, justify="right")
    for row in run.rows:
        last = row.endpoint.last
        table.add_row(
            row.plan.release.upper(),
            row.plan.topic,
            row.plan.description,
            row.plan.content,
            "active" if last is not None else "requested",
            str(row.endpoint.numbers[-1]) if row.endpoint.numbers else "–",
            str(row.expected),
            str(len(row.endpoint.numbers)),
        )
    return table


@contextlib.contextmanager
def live(console: Console, run: DemoRun, total: int | None, inputs: list[Input] | None) -> Iterator[None]:
    """Shows the run until the block ends. Without a terminal, only the last state is printed."""
    with Live(
        _View(run, len(inputs) if inputs is not None else total), console=console, refresh_per_second=8
    ):
        yield


def conclude(console: Console, run: DemoRun, summary: Summary) -> None:
    """Prints one Bundle as an example, then the totals."""
    samples = [
        request.body
        for row in run.rows
        for request in row.endpoint.received
        if request.notification is not None and request.notification.type == "event-notification"
    ]
    if samples:
        shortest = min(samples[:50], key=len)
        console.print(
            Panel(JSON(json.dumps(json.loads(shortest))), title="A notification Bundle", expand=True)
        )
    table = Table(title="Summary", show_header=False)
    table.add_row("changes accepted", str(summary.accepted))
    table.add_row("events expected", str(summary.matched))
    table.add_row("events notified", str(summary.notified))
    table.add_row("lost", str(summary.lost), style="red" if summary.lost else "green")
    table.add_row("unexpected", str(summary.unexpected))
    table.add_row("duplicates", str(summary.duplicates))
    table.add_row("out of order", str(summary.out_of_order))
    table.add_row("invalid Bundles", str(summary.invalid))
    table.add_row("signatures verified", str(summary.signed))
    table.add_row("latency p50 / p99", f"{summary.latency_p50_ms:g} ms / {summary.latency_p99_ms:g} ms")
    console.print(table)
    for reason in summary.reasons:
        console.print(f"[red]refused[/] {reason}", highlight=False)
    for finding in summary.findings:
        console.print(f"[red]invalid[/] {finding}", highlight=False)
    if summary.is_complete:
        console.print(
            "[green]Every expected event was notified, and the subscribers verified the signature of each "
            "notification of events.[/]"
        )
    else:
        console.print(
            "[red]Not every change was accepted and notified as expected; see the summary above.[/]"
        )
