"""`simulate`: a device gateway on the command line."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console

from broker.cli import loop
from broker.clock import SystemClock, to_instant
from broker.tasks import sleep_unless
from broker.testing.gateway import SimulatedGateway
from broker.testing.readings import readings

_MAX_REASONS = 5


def current_instants() -> Iterator[str]:
    """The time of each reading: the time at which it is taken from here."""
    clock = SystemClock()
    while True:
        yield to_instant(clock.now_ms())


def simulate(
    base: Annotated[str, typer.Option(help="The FHIR base to post to.")] = "http://127.0.0.1:8080/r4",
    rate: Annotated[float, typer.Option(min=0.01, help="Readings per second.")] = 5.0,
    seconds: Annotated[float, typer.Option(min=0, help="How long to send; 0 means until stopped.")] = 0.0,
    patients: Annotated[int, typer.Option(min=1, help="The number of patients.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same values.")] = 1,
) -> None:
    """Post simulated heart rate, blood pressure, SpO2, temperature and glucose readings.

    Exit code 0 if the broker accepted all readings, 1 if it refused some.

    Example:

        fhir-broker simulate --base http://127.0.0.1:8080/r4 --rate 20 --seconds 10
    """

    async def until_stopped(stop: asyncio.Event) -> tuple[int, list[tuple[str, str]]]:
        names = tuple(f"demo-{n + 1}" for n in range(patients))
        count = int(rate * seconds) if seconds else None
        async with SimulatedGateway(base.rstrip("/")) as gateway:
            start = time.monotonic()
            for n, reading in enumerate(itertools.islice(readings(names, seed, current_instants()), count)):
                if await sleep_unless(stop, start + n / rate - time.monotonic()):
                    break
                await gateway.send(reading.resource, label=reading.kind.name)
            return gateway.accepted, gateway.refused

    accepted, refused = loop.run(until_stopped)
    console = Console()
    console.print(f"{accepted} readings accepted, {len(refused)} not accepted")
    for label, reason in refused[:_MAX_REASONS]:
        console.print(f"  {label}: {reason}", highlight=False)
    raise typer.Exit(1 if refused else 0)
