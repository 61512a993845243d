"""Where `simulate` sends its readings: HTTP, the inbox stream, MQTT or standard output."""

import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from broker.cli.broker_client import check_url, fhir_base, root_url, trusted
from broker.cli.credentials import auth_for
from broker.client import AsyncProducer, Message, NotSent, RetryPolicy, reading, resource
from broker.errors import ConfigurationError

_POLICY = RetryPolicy(attempts=20, base_s=0.25, max_s=0.25)
_QUARANTINED = 202


class Target(NamedTuple):
    """The options that say where readings go: `to` is one of observations, readings, inbox, mqtt, stdout."""

    to: str
    base: str
    mqtt: str
    topic: str


@dataclass(slots=True)
class Results:
    """What became of the readings. `is_quiet`: standard output has the readings, so no report goes there."""

    accepted: int = 0
    quarantined: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    is_quiet: bool = False


class Sink(Protocol):
    """Takes readings one after the other."""

    results: Results

    async def send(self, device: str, kind: str, payload: bytes, *, may_fail: bool) -> None:
        """Counts the reading; one that `may_fail` and is refused counts as quarantined."""
        ...


@contextlib.asynccontextmanager
async def open_sink(target: Target) -> AsyncIterator[Sink]:
    """Raises `ConfigurationError` for a target that cannot be used."""
    match target.to:
        case "observations" | "readings":
            check_url("--base", target.base)
            scope = "system/Observation.c" if target.to == "observations" else "system/Observation.cu"
            auth = auth_for(fhir_base(target.base), scope)
            root = root_url(target.base)
            async with AsyncProducer(root, auth=auth, policy=_POLICY, tls=trusted()) as producer:
                release = fhir_base(target.base).rpartition("/")[2]
                yield _Http(producer, release if target.to == "observations" else "")
        case "inbox":
            async with _inbox() as sink:
                yield sink
        case "mqtt":
            async with _mqtt(target) as sink:
                yield sink
        case _:
            yield _StandardOutput()


class _Http:
    """`release` is that of the FHIR base; '' for readings."""

    def __init__(self, producer: AsyncProducer, release: str) -> None:
        self.results = Results()
        self._producer = producer
        self._release = release

    async def send(self, device: str, kind: str, payload: bytes, *, may_fail: bool) -> None:  # noqa: ARG002
        try:
            answer = await self._producer.send(self._message(payload))
        except NotSent as error:
            self.results.refused.append((kind, str(error)))
            return
        if answer.status == _QUARANTINED or (may_fail and not answer.is_accepted):
            self.results.quarantined += 1
        elif answer.is_accepted:
            self.results.accepted += 1
        else:
            self.results.refused.append((kind, answer.reason))

    def _message(self, payload: bytes) -> Message:
        if not self._release:
            return reading(payload)
        try:
            return resource(payload, release=self._release)
        except ValueError:  # a corrupt one
            path = f"{self._release}/Observation"
            return Message("POST", path, "application/fhir+json", payload, uuid.uuid4().hex)


class _StandardOutput:
    def __init__(self) -> None:
        self.results = Results(is_quiet=True)

    async def send(self, device: str, kind: str, payload: bytes, *, may_fail: bool) -> None:  # noqa: ARG002
        sys.stdout.buffer.write(payload.replace(b"\n", b" ") + b"\n")
        sys.stdout.buffer.flush()
        self.results.accepted += 1


@contextlib.asynccontextmanager
async def _inbox() -> AsyncIterator[Sink]:
    # only this target needs the store
    from broker.app import beside_broker  # noqa: PLC0415
    from broker.app.stores import open_store  # noqa: PLC0415
    from broker.settings import Settings  # noqa: PLC0415
    from broker.store import keys  # noqa: PLC0415

    settings = beside_broker(Settings.from_environment(os.environ))
    if settings.redis_url is None:
        raise ConfigurationError(
            f"No broker runs in {settings.data_dir}. Start it, or set BROKER_DATA_DIR or BROKER_REDIS_URL."
        )

    class Inbox:
        def __init__(self) -> None:
            self.results = Results()

        async def send(self, device: str, kind: str, payload: bytes, *, may_fail: bool) -> None:  # noqa: ARG002
            (entry,) = await store.send([("XADD", keys.INBOX, "*", "reading", payload)])
            if isinstance(entry, Exception):
                raise entry
            self.results.accepted += 1

    async with open_store(settings, settings.redis_url) as store:
        yield Inbox()


@contextlib.asynccontextmanager
async def _mqtt(target: Target) -> AsyncIterator[Sink]:
    # only this target needs an MQTT library
    from broker.egress.mqtt import MqttServer, MqttUnreachable  # noqa: PLC0415
    from broker.egress.mqtt_publisher import MqttPublisher  # noqa: PLC0415

    url = urlsplit(target.mqtt)
    if url.scheme not in {"mqtt", "mqtts"} or not url.hostname:
        raise ConfigurationError(f"--mqtt {target.mqtt} is not a URL. Give one like mqtt://127.0.0.1:1883.")
    server = MqttServer(
        url.hostname,
        url.port or (8883 if url.scheme == "mqtts" else 1883),
        f"fhir-broker-simulate-{os.getpid()}",
        tls=trusted() if url.scheme == "mqtts" else None,
        username=unquote(url.username or ""),
        password=unquote(url.password or ""),
    )

    class Mqtt:
        def __init__(self) -> None:
            self.results = Results()

        async def send(self, device: str, kind: str, payload: bytes, *, may_fail: bool) -> None:  # noqa: ARG002
            try:
                await publisher.publish(target.topic.replace("{device}", device), payload)
            except MqttUnreachable as error:
                self.results.refused.append((kind, str(error)))
            else:
                self.results.accepted += 1

    try:
        publisher = await MqttPublisher.open(server)
    except MqttUnreachable as error:
        raise ConfigurationError(f"The MQTT server {server.host}:{server.port}: {error}.") from error
    try:
        yield Mqtt()
    finally:
        await publisher.close()
