"""`listen`: a subscriber on the command line, which prints the notifications that the broker sends, and may
pass them on to an application.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Annotated, NamedTuple

import httpx
import typer

from broker.cli import loop
from broker.cli.broker_client import check_url, fhir_base, trusted
from broker.cli.credentials import auth_for
from broker.cli.forwarding import Forwarder
from broker.cli.listener_subscription import ListenerSubscription
from broker.errors import ConfigurationError
from broker.tasks import end, work_until
from broker.testing.subscriber import Endpoint, Received, SimulatedSubscriber, summary_line

_POLL_S = 0.5
_TIMEOUT_S = 10.0
_PATH = "listen"


class _Options(NamedTuple):
    host: str
    port: int
    base: str | None
    topic: str
    content: str
    filters: list[str]
    endpoint: str | None
    forward_to: str | None
    keep: bool
    verify: bool
    as_json: bool
    auth: httpx.Auth | None


def listen(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 takes any free port.")
    ] = 9000,
    broker: Annotated[
        str | None,
        typer.Option(help="Register a subscription at this broker (R4), or at this FHIR base of it."),
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
    forward_to: Annotated[
        str | None,
        typer.Option(help="Post each notification to this URL; its answer is returned to the broker."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the subscription: its events wait for the next run.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="With --broker: have it sign the notifications, and refuse what is not signed."
        ),
    ] = False,
    scope: Annotated[
        str,
        typer.Option(
            help="With --client-id: the scopes to request, with one to read what the topic is about."
        ),
    ] = "system/Subscription.cruds system/Observation.r",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print each Bundle as one line of JSON.")] = False,
) -> None:
    """Receive notifications, print each, and forward them if asked.

    Each Bundle is read by the models of fhir.resources; what they refuse is reported below it. With
    --broker, it registers a subscription first and deletes it at the end. Exit code 0 after SIGTERM, 130
    after Ctrl-C, 2 if it cannot listen, register or be reached by the broker.

    Examples:

        fhir-broker listen --port 9000

        fhir-broker listen --broker http://127.0.0.1:8080 --filter 'code=http://loinc.org|8867-4'

        fhir-broker listen --broker http://127.0.0.1:8080 --verify

        fhir-broker listen --broker http://127.0.0.1:8080 --forward-to http://127.0.0.1:3000/fhir-events
    """
    for option, url in (("--broker", broker), ("--endpoint", endpoint), ("--forward-to", forward_to)):
        check_url(option, url)
    if verify and broker is None:
        raise ConfigurationError("--verify needs --broker: the secret is that of the subscription there.")
    base = fhir_base(broker) if broker is not None else None
    auth = None if base is None else auth_for(base, scope)
    options = _Options(
        host, port, base, topic, content, filters or [], endpoint, forward_to, keep, verify, as_json, auth
    )
    loop.run(functools.partial(_run, options))


async def _run(options: _Options, stop: asyncio.Event) -> None:
    async with (
        httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, verify=trusted()) as client,
        _listening(options) as subscriber,
    ):
        if options.forward_to is not None:
            forwarder = Forwarder(client, options.forward_to, functools.partial(_say, options))
            subscriber.endpoint(_PATH).answer = forwarder
        subscriber.endpoint(_PATH).awaits_signature = options.verify
        url = options.endpoint or subscriber.url(_PATH)
        _say(options, f"listening on {url}")
        printing = asyncio.create_task(_print_all(options, subscriber))
        try:
            if options.base is None:
                await stop.wait()
            else:
                registration = ListenerSubscription(
                    client,
                    options.base,
                    options.topic,
                    url,
                    options.content,
                    options.filters,
                    auth=options.auth,
                )
                await _subscribe(options, registration, subscriber.endpoint(_PATH), options.base, stop)
        finally:
            await end([printing])


@contextlib.asynccontextmanager
async def _listening(options: _Options) -> AsyncIterator[SimulatedSubscriber]:
    subscriber = SimulatedSubscriber(options.host, options.port, validates=True)
    try:
        await subscriber.__aenter__()
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {options.host}:{options.port}: {error.strerror}. "
            "Choose another --host or --port."
        ) from error
    try:
        yield subscriber
    finally:
        await subscriber.__aexit__(None, None, None)


async def _subscribe(
    options: _Options,
    registration: ListenerSubscription,
    endpoint: Endpoint,
    base: str,
    stop: asyncio.Event,
) -> None:
    """Registers, waits for `stop`, and deletes what was registered, whatever ends the wait."""
    try:
        await work_until(stop, _register(options, registration, endpoint, base))
        await stop.wait()
    except httpx.TransportError as error:
        raise ConfigurationError(
            f"The broker at {base} does not answer ({error}). Start it again."
        ) from error
    finally:
        if registration.may_exist and not options.keep:
            await _delete(options, registration)


async def _register(
    options: _Options, registration: ListenerSubscription, endpoint: Endpoint, base: str
) -> None:
    await registration.register(is_signed=options.verify)
    if options.verify:
        endpoint.secrets = [await registration.sign()]
        _say(options, "the broker made a secret; what is not signed with it is refused from now on")
        await registration.request()
    _say(options, f"Subscription/{registration.id} is requested at {base}; the broker contacts this listener")
    for abandoned in await registration.delete_abandoned():
        _say(options, f"deleted the subscription of an earlier listener at {abandoned}")
    await registration.until_active()
    _say(options, f"registered for {options.topic}: Subscription/{registration.id} is active")


async def _delete(options: _Options, registration: ListenerSubscription) -> None:
    name = f"Subscription/{registration.id}" if registration.id else "the subscription"
    problem = await registration.delete()
    _say(options, f"deleted {name}" if not problem else f"{name} may remain: {problem}")


async def _print_all(options: _Options, subscriber: SimulatedSubscriber) -> None:
    endpoint = subscriber.endpoint(_PATH)
    printed = 0
    while True:
        await subscriber.wait_for_more(endpoint, printed, _POLL_S)
        for notification in endpoint.received[printed:]:
            _print(options, notification)
            for finding in notification.findings:
                _say(options, f"not a valid Bundle of its release: {finding}")
        printed = len(endpoint.received)


def _print(options: _Options, received: Received) -> None:
    if received.problem:
        _say(options, f"refused with {received.answered}, not verified: {received.problem}")
    elif options.as_json:
        typer.echo(" ".join(received.body.decode().splitlines()))
    elif received.notification is not None:
        verified = " (signature verified)" if options.verify else ""
        answer = "" if received.answered == 200 else f" (answered {received.answered})"
        typer.echo(summary_line(received.notification) + verified + answer)
    else:
        typer.echo(f"a request without a notification, {len(received.body)} bytes")


def _say(options: _Options, text: str) -> None:
    """What the listener does: on standard error where standard output has JSON."""
    typer.echo(text, err=options.as_json)
