"""Opens what records spans, if the settings name a collector for them."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import ip_network

from broker import __version__
from broker.app.channels import egress_client
from broker.app.roles import Role
from broker.egress.addresses import Allowance, check_form
from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.tasks import SupervisedTask
from broker.telemetry import tracing
from broker.telemetry.tracing import RecordedSpan, SpanQueue, Tracer

EVERYWHERE = Allowance((ip_network("0.0.0.0/0"), ip_network("::/0")))
"""No subscriber chooses the address of the collector: the operator does."""


@contextlib.asynccontextmanager
async def open_tracer(settings: Settings, roles: frozenset[Role]) -> AsyncIterator[Tracer]:
    """The tracer, usable until the way out; what it recorded is sent before that. Raises
    `ConfigurationError`.
    """
    if settings.traces_url is None:
        yield tracing.OFF
        return
    headers = check_traces(settings)
    encode = _encoder(settings, roles)
    # most brokers record no spans
    from broker.workers.trace_exporter import TraceExporter  # noqa: PLC0415

    queue, closed = SpanQueue(), asyncio.Event()
    async with egress_client(settings, allowance=EVERYWHERE) as egress:
        exporter = TraceExporter(queue, encode, egress.post, settings.traces_url, headers, closed)
        task = SupervisedTask("traces", exporter.run, closed)
        try:
            yield Tracer(settings.traces_ratio, queue.put)
        finally:
            closed.set()
            await asyncio.wait([task.task])


def check_traces(settings: Settings) -> tuple[tuple[str, str], ...]:
    """The headers for the collector. Raises `ConfigurationError` for a URL or a file that cannot be used."""
    if settings.traces_url and (problems := check_form(settings.traces_url)):
        raise ConfigurationError(f"BROKER_TRACES_URL can't be used: {problems[0]}.")
    path = settings.traces_headers_file
    if path is None:
        return ()
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"BROKER_TRACES_HEADERS_FILE={path} cannot be read. Name a text file."
        ) from error
    return tuple(_header(line, n) for n, line in enumerate(lines, 1) if line)


def _header(line: str, number: int) -> tuple[str, str]:
    """The error names the line by its number: it may have a secret."""
    name, colon, value = line.partition(":")
    if not colon or not name.strip() or not value.strip() or not line.isascii():
        raise ConfigurationError(
            f"Line {number} of BROKER_TRACES_HEADERS_FILE is no header. Write Name: value."
        )
    return name.strip(), value.strip()


def _encoder(settings: Settings, roles: frozenset[Role]) -> Callable[[Sequence[RecordedSpan]], bytes]:
    # most brokers record no spans, and need not wait for OpenTelemetry
    from broker.telemetry.otlp import OtlpEncoder  # noqa: PLC0415

    resource = {
        "service.name": settings.traces_service,
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        "fhir_broker.roles": " ".join(sorted(roles)),
    }
    return OtlpEncoder(resource, __version__).encode
