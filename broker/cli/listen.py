"""`listen`: a subscriber on the command line, to see what the broker sends."""

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
from broker.testing.subscriber import SimulatedSubscriber, summary_line

_BOOT_S = 60.0


def listen(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 9000,
    broker: Annotated[
        str | None,
        typer.Option(help="Register a subscription at this FHIR base, e.g. http://127.0.0.1:8080/r4."),
    ] = None,
    topic: Annotated[
        str, typer.Option(help="The topic to register for.")
    ] = "http://fhir-broker.org/topics/vital-signs",
    content: Annotated[str, typer.Option(help="empty, id-only or full-resource.")] = "id-only",
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", help="A filter such as patient=Patient/1; may be repeated."),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="How the broker reaches this listener, if not by host and port.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print each Bundle as one line of JSON.")] = False,
) -> None:
    """Receive notifications and print each; with --broker, register for them first.

    Examples:

        fhir-broker listen --port 9000

        fhir-broker listen --broker http://127.0.0.1:8080/r4 --filter code=http://loinc.org|8867-4
    """

    async def until_stopped(stop: asyncio.Event) -> None:
        console = Console()
        try:
            async with SimulatedSubscriber(host, port) as subscriber:
                mine = subscriber.endpoint("listen")
                url = endpoint or subscriber.url("listen")
                console.print(f"listening on {url}")
                if broker is not None:
                    document = subscription(
                        broker.rstrip("/").rpartition("/")[2],
                        topic,
                        url,
                        content=content,
                        filters=filters or [],
                    )
                    await _register(broker.rstrip("/"), document, stop)
                    console.print(f"registered for {topic}")
                shown = 0
                while not stop.is_set():
                    await subscriber.wait_for_more(mine, shown, 0.5)
                    for received in mine.received[shown:]:
                        shown += 1
                        if as_json:
                            typer.echo(received.body.decode())
                        elif received.notification is not None:
                            console.print(
                                summary_line(received.notification), highlight=False, soft_wrap=True
                            )
        except OSError as error:
            raise ConfigurationError(f"{host}:{port} can't be listened on: {error.strerror}") from error

    loop.run(until_stopped)


async def _register(base: str, document: dict[str, Any], stop: asyncio.Event) -> None:
    """Waits for a broker that is still starting."""
    deadline = time.monotonic() + _BOOT_S
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        while not stop.is_set():
            try:
                await register_subscription(client, base, document)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise ConfigurationError(f"the broker at {base} does not answer") from None
                await sleep_unless(stop, 0.5)
            else:
                return
