"""`simulate`: devices and their gateway on the command line."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from broker.cli import loop
from broker.cli.simulation_sinks import Results, Sink, Target, open_sink
from broker.clock import SystemClock
from broker.errors import ConfigurationError
from broker.model.wording import count_of
from broker.tasks import first_of, sleep_unless
from broker.testing.simulation import (
    Disturbances,
    Emission,
    Fault,
    devices,
    disturbed,
    observation_of,
    payload_of,
    samples,
)

_MAX_REASONS = 5


class To(StrEnum):
    """Where the readings go, and as what."""

    OBSERVATIONS = "observations"
    READINGS = "readings"
    INBOX = "inbox"
    MQTT = "mqtt"
    STDOUT = "stdout"


def _report(results: Results) -> None:
    if results.is_quiet:
        return
    counted = [f"{count_of(results.accepted, 'reading')} accepted", f"{len(results.refused)} not accepted"]
    if results.quarantined:
        counted.insert(1, f"{results.quarantined} quarantined")
    typer.echo(", ".join(counted))
    for label, reason in results.refused[:_MAX_REASONS]:
        typer.echo(f"  {label}: {reason}")


def simulate(
    base: Annotated[
        str, typer.Option(help="The URL of the broker, or of its FHIR base /r4 or /r4b, to post to.")
    ] = "http://127.0.0.1:8080",
    to: Annotated[
        To,
        typer.Option(
            help="observations: FHIR resources by HTTP. readings: payloads to POST /readings. inbox: "
            "payloads to the inbox stream of the store. mqtt: payloads to an MQTT server. stdout: NDJSON."
        ),
    ] = To.OBSERVATIONS,
    rate: Annotated[float, typer.Option(min=0.01, help="Readings per second.")] = 5.0,
    seconds: Annotated[float, typer.Option(min=0, help="How long to send; 0 means until stopped.")] = 0.0,
    count: Annotated[
        int, typer.Option(min=0, help="Readings of each device; 0 means as many as --seconds gives.")
    ] = 0,
    patients: Annotated[int, typer.Option(min=1, help="The number of patients; each has one device.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed, start and interval give the same readings.")] = 1,
    start: Annotated[
        str, typer.Option(help="The time of the first readings, such as 2026-03-01T00:00:00Z. Default: now.")
    ] = "",
    interval: Annotated[
        float, typer.Option(min=0, help="Seconds between readings of a device. 0: the pace of sending.")
    ] = 0.0,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="The share that is sent twice.")] = 0.0,
    late: Annotated[float, typer.Option(min=0, max=1, help="The share that is sent late.")] = 0.0,
    corrupt: Annotated[float, typer.Option(min=0, max=1, help="The share that is no reading.")] = 0.0,
    artefacts: Annotated[float, typer.Option(min=0, max=1, help="The share that a movement spoils.")] = 0.0,
    dropouts: Annotated[
        float, typer.Option(min=0, max=1, help="The share that is missing, in runs of five.")
    ] = 0.0,
    drift: Annotated[float, typer.Option(min=0, help="Seconds a day by which device clocks drift.")] = 0.0,
    mqtt: Annotated[
        str, typer.Option(help="The MQTT server, for --to mqtt: mqtt://host:1883 or mqtts://host:8883.")
    ] = "mqtt://127.0.0.1:1883",
    topic: Annotated[str, typer.Option(help="The topic of a device, for --to mqtt.")] = "devices/{device}",
) -> None:
    """Post simulated heart rate, blood pressure, SpO2, respiration, temperature and glucose readings.

    The values follow the time of day, meals and walks. Payloads are those of the example devices of the
    shipped mappings; the broker needs the patients, or BROKER_READING_PATIENTS=create. Exit code 0 if all
    readings were accepted or quarantined, 1 if some were refused, 130 after Ctrl-C.

    Examples:

        fhir-broker simulate --base http://127.0.0.1:8080 --rate 20 --seconds 10

        fhir-broker simulate --to mqtt --mqtt mqtt://127.0.0.1:1883 --patients 50 --count 12 --rate 100
        --duplicates 0.01 --late 0.05 --corrupt 0.01

        fhir-broker simulate --to stdout --start 2026-03-01T00:00:00Z --interval 300 --count 288 --seed 7
    """
    try:
        disturbances = Disturbances(duplicates, late, corrupt)
        first = _start(start)
    except ValueError as error:
        raise ConfigurationError(f"{error}. Correct the options.") from error
    step = timedelta(seconds=interval or patients / rate)
    of = devices(patients, seed, drift_s=drift)
    taken = samples(of, first, step, artefacts=artefacts, dropouts=dropouts, count=count or None)
    text = observation_of if to is To.OBSERVATIONS else payload_of
    emissions = disturbed(taken, text, disturbances, seed)
    limit = int(rate * seconds) if seconds else None

    async def until_stopped(stop: asyncio.Event) -> Results:
        async with open_sink(Target(to.value, base, mqtt, topic)) as sink:
            began = time.monotonic()
            for n, emission in enumerate(islice(emissions, limit)):
                if to is not To.STDOUT and await sleep_unless(stop, began + n / rate - time.monotonic()):
                    break
                await first_of(_send(sink, emission), stop)
                if stop.is_set():
                    break
            return sink.results

    results = loop.run(until_stopped, _report)
    raise typer.Exit(1 if results.refused else 0)


async def _send(sink: Sink, emission: Emission) -> None:
    """A corrupt payload may be refused: it was asked for."""
    device = emission.sample.device
    await sink.send(device.name, str(device.kind), emission.payload, may_fail=emission.fault is Fault.CORRUPT)


def _start(text: str) -> datetime:
    """Raises `ValueError`."""
    if not text:
        return datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"--start {text} has no offset from UTC, such as Z or +01:00")
    return at
