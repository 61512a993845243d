"""`simulate`: a device gateway on the command line."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from broker.cli import loop
from broker.cli.broker_client import check_url, fhir_base
from broker.cli.credentials import auth_for
from broker.clock import SystemClock, to_instant
from broker.model.wording import count_of
from broker.tasks import first_of, sleep_unless
from broker.testing.gateway import SimulatedGateway
from broker.testing.readings import readings

_MAX_REASONS = 5


def current_instants() -> Iterator[str]:
    """The time of each reading: the time at which it is taken from here."""
    clock = SystemClock()
    while True:
        yield to_instant(clock.now_ms())


def _report(result: tuple[int, list[tuple[str, str]]]) -> None:
    accepted, refused = result
    typer.echo(f"{count_of(accepted, 'reading')} accepted, {len(refused)} not accepted")
    for label, reason in refused[:_MAX_REASONS]:
        typer.echo(f"  {label}: {reason}")


def simulate(
    base: Annotated[
        str, typer.Option(help="The URL of the broker, or of its FHIR base /r4 or /r4b, to post to.")
    ] = "http://127.0.0.1:8080",
    rate: Annotated[float, typer.Option(min=0.01, help="Readings per second.")] = 5.0,
    seconds: Annotated[float, typer.Option(min=0, help="How long to send; 0 means until stopped.")] = 0.0,
    patients: Annotated[int, typer.Option(min=1, help="The number of patients.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same values.")] = 1,
) -> None:
    """Post simulated heart rate, blood pressure, SpO2, temperature and glucose readings.

    Exit code 0 if the broker accepted all readings, 1 if it refused some, 130 after Ctrl-C.

    Example:

        fhir-broker simulate --base http://127.0.0.1:8080 --rate 20 --seconds 10
    """
    check_url("--base", base)
    auth = auth_for(fhir_base(base), "system/Observation.c")

    async def until_stopped(stop: asyncio.Event) -> tuple[int, list[tuple[str, str]]]:
        names = tuple(f"demo-{n + 1}" for n in range(patients))
        count = int(rate * seconds) if seconds else None
        async with SimulatedGateway(fhir_base(base), auth=auth) as gateway:
            start = time.monotonic()
            for n, reading in enumerate(itertools.islice(readings(names, seed, current_instants()), count)):
                if await sleep_unless(stop, start + n / rate - time.monotonic()):
                    break
                await first_of(gateway.send(reading.resource, label=reading.kind.name), stop)
            return gateway.accepted, gateway.refused

    _, refused = loop.run(until_stopped, _report)
    raise typer.Exit(1 if refused else 0)
