"""docs/mqtt.md: its commands connect a process to an MQTT server, and a message of its topic is a reading."""

import json
import shutil
import tempfile
from pathlib import Path

import httpx
import pytest

from broker.egress.mqtt_publisher import MqttPublisher
from tests.docs.page import Block, steps
from tests.docs.running import PageRunner
from tests.integration.broker_fixture import until
from tests.integration.mosquitto import running_mosquitto
from tests.metrics import read_total
from tests.ports import free_port

PAGE = Path(__file__).parents[2] / "docs" / "mqtt.md"
READING = {
    "kind": "heart-rate-monitor",
    "device": {"system": "http://example.org/devices", "value": "hr-1"},
    "patient": {"system": "http://example.org/patients", "value": "p-1"},
    "readings": [{"time": "2025-03-01T08:00:00Z", "heartRate": 60}],
}


async def test_a_message_of_the_topic_on_the_page_is_a_reading(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    port = free_port()
    async with running_mosquitto(tmp_path) as mosquitto:
        others = {
            "127.0.0.1:1883": f"127.0.0.1:{mosquitto.port}",
            "127.0.0.1:8083": f"127.0.0.1:{port}",
            "BROKER_PORT=8083": f"BROKER_PORT={port}",
        }

        async def send_a_reading() -> None:
            publisher = await MqttPublisher.open(mosquitto.server("gateway"))
            await publisher.publish("ward/7/vitals", json.dumps(READING).encode())
            await publisher.close()
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60
            ) as client:

                async def is_counted() -> bool:
                    name = "broker_mqtt_messages_total"
                    return await read_total(client, name, result="accepted") >= 1

                await until(is_counted)

        with tempfile.TemporaryDirectory(prefix="docs") as folder:
            runner = PageRunner(Path(folder), "127.0.0.1:9", {"reading_patients": "create"}, others)
            await runner.run(PAGE, send_a_reading)


def test_each_block_is_run() -> None:
    assert {step.language for step in steps(PAGE) if isinstance(step, Block)} == {"sh"}
