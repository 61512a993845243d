"""`fhir-broker mqtt` beside a broker: killed before and after its writes, two processes, bad payloads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.egress.mqtt_publisher import MqttPublisher
from tests.integration.broker_fixture import until
from tests.integration.commands import Command, run
from tests.integration.mosquitto import Mosquitto, running_mosquitto
from tests.integration.reading_fixture import dead_letters
from tests.ports import free_port
from tests.readings.counting import event_count, observations, subscribe

FIRST = {
    "kind": "heart-rate-monitor",
    "device": {"system": "http://example.org/devices", "value": "hr-1"},
    "patient": {"system": "http://example.org/patients", "value": "p-1"},
}


def payload(minute: int) -> bytes:
    readings = [{"time": f"2025-03-01T08:{minute:02}:00Z", "heartRate": 60 + minute}]
    return json.dumps(FIRST | {"readings": readings}).encode()


class Brokers:
    """`serve` and any number of `mqtt` processes on its store."""

    def __init__(self, folder: Path, mosquitto: Mosquitto) -> None:
        self._folder = folder
        (folder / "topics.toml").write_text('[[topic]]\nfilter = "$share/brokers/devices/+"\n')
        self.base = f"http://127.0.0.1:{free_port()}"
        self._shared = {
            "base_url": self.base,
            "data_dir": str(folder / "data"),
            "reading_patients": "create",
        }
        self._mqtt_url = f"mqtt://127.0.0.1:{mosquitto.port}"
        self.serve = Command.of_broker(folder, "serve", port=self.base.rpartition(":")[2], **self._shared)

    def mqtt(self, client_id: str = "source", **settings: str) -> tuple[Command, str]:
        """A process, not started, and its URL."""
        port = str(free_port())
        process = Command.of_broker(
            self._folder,
            "mqtt",
            port=port,
            mqtt_url=self._mqtt_url,
            mqtt_topics=str(self._folder / "topics.toml"),
            mqtt_client_id=client_id,
            **self._shared,
            **settings,
        )
        return process, f"http://127.0.0.1:{port}"

    async def metrics(self, name: str, base: str = "") -> dict[str, int]:
        """The values of a metric by its labels."""
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            lines = (await client.get(f"{base or self.base}/metrics")).text.splitlines()
        rows = (line.rpartition(" ") for line in lines if line.startswith(f"{name}{{"))
        return {labels.removeprefix(name): int(float(value)) for labels, _, value in rows}


async def rates(base: str, subscription_id: str) -> list[int]:
    """The heart rates of the Observations of all events, in order; an event that was repeated shows twice."""
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:
        events = await event_count(client, subscription_id)
        names = await observations(client, subscription_id, events)
        assert len(names) == events
        found = [(await client.get(f"/r4/{name}")).json() for name in names]
    return sorted(int(each["valueQuantity"]["value"]) for each in found)


async def publish(mosquitto: Mosquitto, payloads: Sequence[bytes]) -> None:
    publisher = await MqttPublisher.open(mosquitto.server("gateway"))
    for each in payloads:
        await publisher.publish("devices/hr-1", each)
    await publisher.close()


@pytest.mark.parametrize("failpoint", ["readings.before-commit:kill@2", "readings.after-commit:kill@2"])
async def test_a_process_that_is_killed_around_its_write_loses_and_repeats_nothing(
    tmp_path: Path, failpoint: str
) -> None:
    async with running_mosquitto(tmp_path) as mosquitto:
        brokers = Brokers(tmp_path, mosquitto)
        with brokers.serve:
            await brokers.serve.until_ready(brokers.base)
            readings = await subscribe(brokers.base)
            doomed, url = brokers.mqtt(failpoint=failpoint)
            with doomed:
                await doomed.until_ready(url)
                await publish(mosquitto, [payload(n) for n in range(5)])

                async def has_ended() -> bool:
                    assert doomed.process is not None
                    if (
                        doomed.process.poll() is None
                    ):  # all came in one batch: another one brings it to its end
                        await publish(mosquitto, [payload(5)])
                    return doomed.process.poll() is not None

                await until(has_ended)
            second, url = brokers.mqtt()
            with second:
                await second.until_ready(url)
                await publish(mosquitto, [payload(n) for n in range(5, 10)])

                async def all_are_there() -> bool:
                    return len(await rates(brokers.base, readings)) >= 10

                await until(all_are_there)
                assert await rates(brokers.base, readings) == [60 + n for n in range(10)]


async def test_a_reading_that_the_policy_refuses_is_quarantined(tmp_path: Path) -> None:
    async with running_mosquitto(tmp_path) as mosquitto:
        brokers = Brokers(tmp_path, mosquitto)
        source, url = brokers.mqtt(reading_devices="refuse")
        with brokers.serve:
            await brokers.serve.until_ready(brokers.base)
            with source:
                await source.until_ready(url)
                await publish(mosquitto, [payload(1)])

                async def is_settled() -> bool:
                    return bool(await brokers.metrics("broker_mqtt_messages_total", url))

                await until(is_settled)
                counts = await brokers.metrics("broker_mqtt_messages_total", url)
            async with httpx.AsyncClient(base_url=brokers.base, trust_env=False, timeout=30) as client:
                (letter,) = await dead_letters(client, kind="reading")
    assert counts == {'{result="quarantined"}': 1}
    assert letter["reason"].startswith("refused-identity: ")


async def test_a_bad_payload_is_quarantined_and_stops_nothing(tmp_path: Path) -> None:
    async with running_mosquitto(tmp_path) as mosquitto:
        brokers = Brokers(tmp_path, mosquitto)
        source, url = brokers.mqtt()
        with brokers.serve:
            await brokers.serve.until_ready(brokers.base)
            with source:
                await source.until_ready(url)
                bad = [b"\xff\x00", b"{", b'{"kind": "nobody-knows"}', b"7"]
                await publish(mosquitto, [*bad, payload(1)])

                async def all_are_there() -> bool:
                    counts = await brokers.metrics("broker_mqtt_messages_total", url)
                    return counts == {'{result="accepted"}': 1, '{result="quarantined"}': 4}

                await until(all_are_there)
                waiting = await brokers.metrics("broker_dead_letters")
                assert waiting['{kind="reading"}'] == 4
                assert (await readiness(f"{url}/readyz"))["parts"]["mqtt server"] == "ok"
                mosquitto.kill()

                async def is_reported() -> bool:
                    parts = (await readiness(f"{url}/readyz"))["parts"]
                    return bool(parts["mqtt server"] != "ok")

                await until(is_reported)
                assert await source.stop() == 0
        assert "nobody-knows" not in source.output


async def readiness(url: str) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        document: dict[str, Any] = (await client.get(url)).json()
        return document


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "BROKER_REDIS_URL"),
        ({"redis_url": "redis://127.0.0.1:1", "mqtt_url": "http://x"}, "mqtt:// or mqtts://"),
    ],
)
def test_a_process_that_cannot_start_says_what_to_set(
    tmp_path: Path, settings: dict[str, str], text: str
) -> None:
    ended = run("mqtt", data_dir=str(tmp_path), **settings)
    assert ended.returncode == 2
    assert text in ended.stderr
    assert ended.stderr.count("\n") == 1
