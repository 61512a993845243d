"""The MQTT source with a real Mosquitto: both versions, TLS, restarts, shared subscriptions, client ids."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from broker.clock import SystemClock
from broker.egress.mqtt import MqttConnection, MqttServer, MqttUnreachable, Receive
from broker.egress.mqtt_publisher import MqttPublisher
from broker.errors import StoreUnavailable
from broker.ingest.readings.values import RawReading, ReadingResult, ReadingStatus
from broker.sources.mqtt import MqttSource
from broker.sources.mqtt_topics import TopicRule, TopicRules
from tests.faults.certificates import self_signed
from tests.integration.broker_fixture import until
from tests.integration.mosquitto import Mosquitto, running_mosquitto

RULES = TopicRules([TopicRule("ward/+")])


class Intake:
    """Keeps what it admits, unless the store is away."""

    def __init__(self) -> None:
        self.admitted: list[bytes] = []
        self.keys: list[str] = []
        self.traces: list[str] = []
        self.is_away = False
        self.attempts = 0

    async def admit(self, readings: Sequence[RawReading]) -> Sequence[ReadingResult]:
        self.attempts += 1
        if self.is_away:
            raise StoreUnavailable("away")
        self.admitted += [reading.content for reading in readings]
        self.keys += [reading.key for reading in readings]
        self.traces += [reading.trace for reading in readings]
        return [ReadingResult(ReadingStatus.ACCEPTED) for _ in readings]

    async def has(self, count: int) -> bool:
        return len(set(self.admitted)) >= count


@contextlib.asynccontextmanager
async def reading(server: MqttServer, intake: Intake, rules: TopicRules = RULES) -> AsyncIterator[MqttSource]:
    """A source, connected."""
    stop = asyncio.Event()

    async def connect(topics: Sequence[tuple[str, int]], receive: Receive) -> MqttConnection:
        return await MqttConnection.open(server, topics, receive)

    async def is_connected() -> bool:
        return source.state() == "ok"

    source = MqttSource(connect, rules, intake, SystemClock(), stop, retry_s=0.02)
    task = asyncio.create_task(source.run())
    try:
        await until(is_connected)
        yield source
    finally:
        stop.set()
        await task


async def publish(server: MqttServer, *numbers: int, topic: str = "ward/7") -> None:
    """Publishes each until the server has it."""
    publisher = await MqttPublisher.open(server)
    for n in numbers:
        await publisher.publish(topic, b"%d" % n)
    await publisher.close()


def numbers(*values: int) -> list[bytes]:
    return [b"%d" % n for n in values]


@pytest.mark.parametrize("version", [5, 4])
async def test_a_message_that_was_not_settled_is_delivered_again(tmp_path: Path, version: int) -> None:
    async with running_mosquitto(tmp_path) as mosquitto:
        server = mosquitto.server("source", version=version)
        intake = Intake()
        intake.is_away = True
        async with reading(server, intake):
            await publish(mosquitto.server("publisher", version=version), *range(10))

            async def was_tried() -> bool:
                return intake.attempts > 0

            await until(was_tried)
        assert intake.admitted == []
        await publish(mosquitto.server("publisher", version=version), 10, 11)  # nobody is connected
        intake.is_away = False
        async with reading(server, intake):
            await until(lambda: intake.has(12))
        assert intake.admitted == numbers(*range(12))

        async def has_read_everything() -> bool:
            return mosquitto.log.count("Received DISCONNECT from source") == 2

        await until(has_read_everything)  # a connection that comes sooner makes it forget acknowledgements
        async with reading(server, intake):  # everything was acknowledged
            await publish(mosquitto.server("publisher", version=version), 12)
            await until(lambda: intake.has(13))
        assert intake.admitted == numbers(*range(13))


@pytest.mark.parametrize("version", [5, 4])
async def test_a_source_connects_again_after_the_server_was_killed_and_restarted(
    tmp_path: Path, version: int
) -> None:
    async with running_mosquitto(tmp_path) as mosquitto:
        intake = Intake()
        async with reading(mosquitto.server("source", version=version), intake) as source:
            await publish(mosquitto.server("publisher"), *range(5))
            await until(lambda: intake.has(5))
            mosquitto.kill()

            async def is_reported() -> bool:
                return source.state() != "ok"

            async def is_connected() -> bool:
                return source.state() == "ok"

            await until(is_reported)
            await mosquitto.start()
            await until(is_connected)  # the server has forgotten who wanted what
            await publish(mosquitto.server("publisher"), *range(5, 10))
            await until(lambda: intake.has(10))
            mosquitto.stop()
            await until(is_reported)
            await mosquitto.start()
            await publish(mosquitto.server("publisher"), *range(10, 15))
            await until(lambda: intake.has(15))
        assert sorted(set(intake.admitted), key=int) == numbers(*range(15))


async def test_the_key_and_the_trace_of_a_publisher_arrive_with_its_message(tmp_path: Path) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with running_mosquitto(tmp_path) as mosquitto:
        intake = Intake()
        async with reading(mosquitto.server("source"), intake):
            publisher = await MqttPublisher.open(mosquitto.server("publisher"))
            await publisher.publish("ward/7", b"{}", key="monitor-7/4712", traceparent=trace)
            await publisher.publish("ward/7", b"0", key="monitor-7/4713", traceparent="malformed")
            await publisher.close()
            await until(lambda: intake.has(2))
        assert intake.keys == ["mqtt:monitor-7/4712", "mqtt:monitor-7/4713"]
        assert intake.traces == [trace, ""]


async def test_the_processes_of_a_shared_subscription_share_the_messages(tmp_path: Path) -> None:
    rules = TopicRules([TopicRule("$share/brokers/ward/+")])
    async with running_mosquitto(tmp_path) as mosquitto:
        first, second = Intake(), Intake()

        async def have_all() -> bool:
            return len(first.admitted) + len(second.admitted) >= 40

        async with (
            reading(mosquitto.server("source-1"), first, rules),
            reading(mosquitto.server("source-2"), second, rules),
        ):
            await publish(mosquitto.server("publisher"), *range(40))
            await until(have_all)
        assert sorted(first.admitted + second.admitted, key=int) == numbers(*range(40))
        assert first.admitted
        assert second.admitted


async def test_a_second_process_with_the_same_client_id_is_reported(tmp_path: Path) -> None:
    async with running_mosquitto(tmp_path) as mosquitto:

        async def receive(_message: object) -> bool:
            return True

        first = await MqttConnection.open(mosquitto.server("source"), RULES.subscriptions, receive)
        second = await MqttConnection.open(mosquitto.server("source"), RULES.subscriptions, receive)
        async with asyncio.timeout(30):
            await first.lost.wait()
        assert "another process has the same client id" in first.reason
        await first.close()
        await second.close()


@pytest.mark.parametrize("version", [5, 4])
async def test_a_server_that_refuses_the_password_says_so(tmp_path: Path, version: int) -> None:
    async with running_mosquitto(tmp_path, "allow_anonymous false") as mosquitto:
        with pytest.raises(MqttUnreachable, match=r"does not authorize|is wrong"):
            await MqttPublisher.open(mosquitto.server("source", version=version))


async def test_nobody_listening_is_reported(tmp_path: Path) -> None:
    mosquitto = Mosquitto(tmp_path)
    with pytest.raises(MqttUnreachable):
        await MqttPublisher.open(mosquitto.server("source"))


async def test_tls_with_client_certificates(tmp_path: Path) -> None:
    own, client = self_signed(tmp_path / "server.pem"), self_signed(tmp_path / "client.pem")
    async with running_mosquitto(
        tmp_path,
        "allow_anonymous true",
        f"certfile {own}",
        f"keyfile {own}",
        f"cafile {client}",
        "require_certificate true",
    ) as mosquitto:
        context = ssl.create_default_context(cafile=own)
        without = MqttServer("127.0.0.1", mosquitto.port, "source", tls=context)
        with pytest.raises(MqttUnreachable):
            await MqttPublisher.open(without)
        with pytest.raises(MqttUnreachable, match="certificate of the server is not valid"):
            await MqttPublisher.open(
                MqttServer("127.0.0.1", mosquitto.port, "source", tls=ssl.create_default_context())
            )
        trusted = ssl.create_default_context(cafile=own)
        trusted.load_cert_chain(client)
        server = MqttServer("127.0.0.1", mosquitto.port, "source", tls=trusted)
        publisher = MqttServer("127.0.0.1", mosquitto.port, "publisher", tls=trusted)
        intake = Intake()
        async with reading(server, intake):
            await publish(publisher, *range(5))
            await until(lambda: intake.has(5))
        assert intake.admitted == numbers(*range(5))
