"""`simulate`: a device gateway on the command line."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console

from broker.cli import loop
from broker.clock import to_instant
from broker.tasks import sleep_unless
from broker.testing.gateway import SimulatedGateway
from broker.testing.readings import readings


def times() -> Iterator[str]:
    """The time of each reading: now."""
    while True:
        yield to_instant(time.time_ns() // 1_000_000)


def simulate(
    base: Annotated[str, typer.Option(help="The FHIR base to post to.")] = "http://127.0.0.1:8080/r4",
    rate: Annotated[float, typer.Option(min=0.01, help="Readings a second.")] = 5.0,
    seconds: Annotated[float, typer.Option(min=0, help="How long; 0 means until stopped.")] = 0.0,
    patients: Annotated[int, typer.Option(min=1, help="How many patients.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same values.")] = 1,
) -> None:
    """Post simulated heart rate, blood pressure, SpO2, temperature and glucose readings.

    Example:

        fhir-broker simulate --base http://127.0.0.1:8080/r4 --rate 20 --seconds 10
    """

    async def until_stopped(stop: asyncio.Event) -> tuple[int, list[tuple[str, str]]]:
        names = tuple(f"demo-{n + 1}" for n in range(patients))
        count = int(rate * seconds) if seconds else None
        async with SimulatedGateway(base.rstrip("/")) as gateway:
            start = time.monotonic()
            for n, reading in enumerate(itertools.islice(readings(names, seed, times()), count)):
                if await sleep_unless(stop, start + n / rate - time.monotonic()):
                    break
                await gateway.send(reading.resource, label=reading.kind.name)
            return gateway.accepted, gateway.refused

    accepted, refused = loop.run(until_stopped)
    console = Console()
    console.print(f"{accepted} readings accepted, {len(refused)} not")
    for label, reason in refused[:5]:
        console.print(f"  {label}: {reason}", highlight=False)
    raise typer.Exit(1 if refused else 0)
