"""`listen`: a subscriber on the command line, which prints the notifications that the broker sends."""

import asyncio
import time
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from broker.cli import loop
from broker.errors import ConfigurationError
from broker.tasks import sleep_unless
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import Received, SimulatedSubscriber, summary_line

_START_S = 60.0
_RETRY_S = 0.5
_POLL_S = 0.5


def listen(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes any free port.")] = 9000,
    broker: Annotated[
        str | None,
        typer.Option(help="Register a subscription at this FHIR base, e.g. http://127.0.0.1:8080/r4."),
    ] = None,
    topic: Annotated[
        str, typer.Option(help="The topic of the subscription.")
    ] = "http://fhir-broker.org/topics/vital-signs",
    content: Annotated[str, typer.Option(help="empty, id-only or full-resource.")] = "id-only",
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", help="A filter such as patient=Patient/1; may be repeated."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="The URL by which the broker reaches this listener, if not by --host and --port."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print each Bundle as one line of JSON.")] = False,
) -> None:
    """Receive notifications and print each; with --broker, register a subscription first.

    Examples:

        fhir-broker listen --port 9000

        fhir-broker listen --broker http://127.0.0.1:8080/r4 --filter code=http://loinc.org|8867-4
    """

    async def until_stopped(stop: asyncio.Event) -> None:
        console = Console()
        try:
            async with SimulatedSubscriber(host, port) as subscriber:
                received = subscriber.endpoint("listen").received
                url = endpoint or subscriber.url("listen")
                console.print(f"listening on {url}")
                if broker is not None:
                    base = broker.rstrip("/")
                    release = base.rpartition("/")[2]
                    document = subscription(release, topic, url, content=content, filters=filters or [])
                    await _register(base, document, stop)
                    console.print(f"registered for {topic}")
                printed = 0
                while not stop.is_set():
                    await subscriber.wait_for_more(subscriber.endpoint("listen"), printed, _POLL_S)
                    for notification in received[printed:]:
                        _print(console, notification, as_json=as_json)
                    printed = len(received)
        except OSError as error:
            raise ConfigurationError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --host or --port."
            ) from error

    loop.run(until_stopped)


def _print(console: Console, received: Received, *, as_json: bool) -> None:
    if as_json:
        typer.echo(received.body.decode())
    elif received.notification is not None:
        console.print(summary_line(received.notification), highlight=False, soft_wrap=True)


async def _register(base: str, document: dict[str, Any], stop: asyncio.Event) -> None:
    """Retries while the broker does not answer, because it may still be starting."""
    deadline = time.monotonic() + _START_S
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        while not stop.is_set():
            try:
                await register_subscription(client, base, document)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"The broker at {base} does not answer. Start it, or correct --broker."
                    ) from None
                await sleep_unless(stop, _RETRY_S)
            else:
                return
