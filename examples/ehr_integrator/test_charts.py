"""The integrator's test: `pytest --fhir-broker`."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from broker.testing.broker_process import BrokerProcess, free_port
from broker.testing.registration import subscription
from broker.testing.synchronous import GatewayHandle

WAIT_S = 60.0
TOPIC = "http://fhir-broker.org/topics/vital-signs"
SERVE = """
import json, pathlib, sys, uvicorn
from charts import application
folder, base, secrets, port = sys.argv[1:]
uvicorn.run(application(pathlib.Path(folder), base, json.loads(secrets)), port=int(port), log_level="warning")
"""


@contextmanager
def served(folder: Path, base: str, secrets: list[str], port: int) -> Iterator[None]:
    arguments = [str(folder), base, json.dumps(secrets), str(port)]
    process = subprocess.Popen([sys.executable, "-c", SERVE, *arguments], cwd=Path(__file__).parent)
    try:
        until(lambda: chart(port, "nobody") == [])
        yield
    finally:
        process.kill()
        process.wait()


def chart(port: int, patient: str) -> list[float] | None:
    try:
        values: list[float] = httpx.get(f"http://127.0.0.1:{port}/charts/{patient}", trust_env=False).json()
    except httpx.TransportError:
        return None
    return values


def shows(port: int, patient: str, values: list[float]) -> bool:
    """Events of different readings have no order."""
    return sorted(chart(port, patient) or []) == values


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_charts_are_complete_although_the_application_was_down(
    broker: BrokerProcess, gateway: GatewayHandle, tmp_path: Path
) -> None:
    base, port = broker.base("r4"), free_port()
    filters = ["Observation?code=http://loinc.org|8867-4"]
    endpoint = f"http://127.0.0.1:{port}/notifications"
    document = subscription("r4", TOPIC, endpoint, content="full-resource", filters=filters)
    client = httpx.Client(trust_env=False, timeout=WAIT_S)
    registered = client.post(f"{base}/Subscription", json=document | {"status": "off"}).json()
    url = f"{base}/Subscription/{registered['id']}"
    rotated = client.post(f"{url}/$rotate-secret").json()
    secrets = [rotated["parameter"][0]["valueString"]]
    with served(tmp_path, base, secrets, port):
        client.put(url, json=document | {"id": registered["id"], "status": "requested"})
        until(lambda: client.get(url).json()["status"] == "active")
        gateway.send_heart_rates(70, 71, patient="p7")
        until(lambda: shows(port, "p7", [70, 71]))
    gateway.send_heart_rates(72, 73, patient="p7")
    with served(tmp_path, base, secrets, port):
        gateway.send_heart_rates(74, patient="p7")
        until(lambda: shows(port, "p7", [70, 71, 72, 73, 74]))
    client.delete(url)
