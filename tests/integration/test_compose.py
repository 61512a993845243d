"""compose.yaml without a container engine: each service's command, with its environment, as a local process."""

import contextlib
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from broker.store.embedded import find_binary
from tests.integration.shell import BROKER, answers, clean_environment, free_port, process, wait_until

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
BROKERS = ("api", "match", "dispatch-1", "dispatch-2")
PEOPLE = ("subscriber", "gateway")


def test_the_services_are_those_of_a_broker_that_is_spread_out() -> None:
    assert set(SERVICES) == {"store", *BROKERS, *PEOPLE}
    command = " ".join(SERVICES["store"]["command"])
    assert "--appendonly yes" in command
    assert "noeviction" in command


def test_every_service_that_lasts_has_a_health_check() -> None:
    for name in ("store", *BROKERS, "subscriber"):
        assert "test" in SERVICES[name]["healthcheck"], name


def test_only_the_api_is_published_and_only_on_this_host() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8080:8080"]}


def test_the_image_runs_as_an_ordinary_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users[-1:] == ["broker"]
    assert any("--require-hashes" in line for line in lines)
    assert SERVICES["store"]["user"] != "root"


class Network:
    """Where each service is found on this machine."""

    def __init__(self) -> None:
        self.ports = {name: free_port() for name in SERVICES}

    def local(self, text: str, service: str) -> str:
        """A setting or argument, its names and ports as they are here."""
        text = re.sub(
            r"(store|api|subscriber):(6379|8080|9000)", lambda m: f"127.0.0.1:{self.ports[m[1]]}", text
        )
        text = text.replace("0.0.0.0", "127.0.0.1").replace("172.30.0.0/24", "127.0.0.0/8")
        return re.sub(r"\b(8080|9000)\b(?!:)", str(self.ports[service]), text) if ":" not in text else text

    def environment(self, service: str) -> dict[str, str]:
        given: dict[str, str] = SERVICES[service].get("environment", {})
        return clean_environment(**{key: self.local(str(value), service) for key, value in given.items()})

    def command(self, service: str) -> list[str]:
        command = SERVICES[service]["command"]
        words = shlex.split(command) if isinstance(command, str) else command
        if service == "store":
            return [find_binary(), *words[1:], "--port", str(self.ports["store"])]
        return [*BROKER, *(self.local(word, service) for word in words)]


def test_the_services_together_bring_a_notification_to_the_subscriber(tmp_path: Path) -> None:
    network = Network()
    with contextlib.ExitStack() as stack:
        store = [*network.command("store"), "--dir", str(tmp_path)]
        stack.enter_context(process(store, clean_environment())).line_with("Ready to accept connections")
        for name in BROKERS:
            stack.enter_context(process(network.command(name), network.environment(name)))
        for name in BROKERS:
            url = f"http://127.0.0.1:{network.ports[name]}/readyz"
            wait_until(lambda url=url: answers(url), f"{name} is ready")
        subscriber = stack.enter_context(
            process(network.command("subscriber"), network.environment("subscriber"))
        )
        subscriber.line_with("handshake")
        stack.enter_context(process(network.command("gateway"), network.environment("gateway")))
        assert "Observation/" in subscriber.line_with("event-notification")
