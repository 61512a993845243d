"""`demo`: a broker, subscribers and a gateway on this machine, shown while they run."""

import asyncio
import contextlib
import ipaddress
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from broker.app import console_link, running
from broker.cli import demo_view, loop
from broker.cli.demo_clients import DemoClients
from broker.cli.demo_run import PLANS, REPLAY_PLANS, DemoRun, Summary
from broker.cli.demo_tour import DemoTour
from broker.model.change import DEFAULT_TENANT
from broker.settings import Settings
from broker.telemetry import logs
from broker.testing.inputs import Input, read_folder
from broker.testing.subscriber import SimulatedSubscriber


def demo(
    seconds: Annotated[float, typer.Option(min=1, help="How long to send readings.")] = 15.0,
    rate: Annotated[float, typer.Option(min=0.1, max=2000, help="Readings per second.")] = 20.0,
    forever: Annotated[bool, typer.Option("--forever", help="Run until Ctrl-C.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--input", help="Send the FHIR JSON files of a folder instead of simulated readings."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the summary, as JSON.")] = False,
    tour: Annotated[
        bool | None,
        typer.Option(
            "--tour/--no-tour",
            help="Keep running after the readings, for the guided tour of the console, until Ctrl-C."
            " Default: on a terminal.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start a broker, subscribers of three FHIR releases and a gateway, and show them.

    The broker has access control: each subscriber and the gateway is a client with a key of its own. The
    subscribers verify the signature of each notification and have fhir.resources read each Bundle. The
    console's address is shown with a login link; it has a guided tour. The data is in a temporary folder,
    which is deleted at the end. Exit code 0 if every expected event was notified in
    a valid Bundle, 1 if not, 130 after Ctrl-C.

    Examples:

        fhir-broker demo

        fhir-broker demo --seconds 60 --rate 200

        fhir-broker demo --tour

        fhir-broker demo --input us-core-examples/
    """
    inputs = read_folder(folder) if folder is not None else None

    def report(summary: Summary) -> None:
        if as_json:
            typer.echo(json.dumps(summary.as_dict()))

    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    stays = not as_json and (is_terminal if tour is None else tour)
    summary = loop.run(
        lambda stop: _demo(stop, seconds, rate, inputs, forever=forever, as_json=as_json, stays=stays),
        report,
    )
    raise typer.Exit(0 if summary.is_complete else 1)


async def _demo(
    stop: asyncio.Event,
    seconds: float,
    rate: float,
    inputs: list[Input] | None,
    *,
    forever: bool,
    as_json: bool,
    stays: bool,
) -> Summary:
    logs.configure("error", json=False)
    console = Console(quiet=as_json)
    with tempfile.TemporaryDirectory(prefix="fhir-broker-demo-") as temporary:
        clients_dir = Path(temporary) / "clients"
        plans = PLANS if inputs is None else REPLAY_PLANS
        clients = DemoClients(clients_dir, [plan.name for plan in plans])
        demo_view.show_clients(console, clients)
        settings = Settings(
            port=0,
            data_dir=Path(temporary) / "data",
            auth="smart",
            clients_dir=clients_dir,
            egress_allow=(ipaddress.ip_network("127.0.0.0/8"),),
        )
        async with (
            contextlib.aclosing(DemoTour()) as tour,
            running(settings, tour=tour) as broker,
            SimulatedSubscriber(validates=True) as subscriber,
        ):
            run = DemoRun(broker.settings.base_url, subscriber, stop, clients)
            await run.register(plans)
            demo_view.show_registrations(console, run)
            tour.begin(run.base_url, subscriber, run.gateway, clients)
            link = await console_link.make_link(broker.settings, broker.store_url, DEFAULT_TENANT)
            demo_view.show_console(console, link)
            with demo_view.live(
                console, run, None if forever or inputs is not None else int(seconds * rate), inputs
            ):
                if inputs is None:
                    await run.simulate(rate, None if forever else int(seconds * rate))
                else:
                    await run.replay(inputs)
                await run.wait_for_events()
            summary = run.summary()
            demo_view.conclude(console, run, summary)
            if stays and not stop.is_set():
                link = await console_link.make_link(broker.settings, broker.store_url, DEFAULT_TENANT)
                demo_view.invite(console, link)
                await stop.wait()
    return summary
