"""compose.yaml without a container engine: the command of each service runs as a process on this machine."""

import contextlib
import json
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.settings import Settings
from broker.store.embedded import find_binary
from tests.integration.broker_fixture import until
from tests.integration.commands import BROKER, REPOSITORY, Command, environment
from tests.ports import free_port

_LOOPBACK = "127.0.0.1"
_BROKERS = {"api", "match", "dispatch-1", "dispatch-2"}
_PASSWORD = "for-the-demo-only"
_IMAGE_DATA = "/var/lib/broker"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as compose reads it without any variable in the environment."""
    text = (REPOSITORY / "compose.yaml").read_text()
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def dockerfile() -> list[tuple[str, str]]:
    """Instruction and argument of each line of the Dockerfile, continued lines joined."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, rest in lines]


def last(instruction: str) -> str:
    """The argument of the last such instruction, which is the one that applies."""
    return [argument for word, argument in dockerfile() if word == instruction][-1]


class Translation:
    """Rewrites host names and ports of the compose network to free ports on loopback."""

    def __init__(self, compose: dict[str, Any]) -> None:
        self._services = "|".join(compose["services"])
        self._subnet: str = compose["networks"]["default"]["ipam"]["config"][0]["subnet"]
        self._ports: defaultdict[tuple[str, str], int] = defaultdict(free_port)

    def port(self, service: str, port: str) -> int:
        return self._ports[service, port]

    def translate(self, service: str, text: str) -> str:
        """The text of a service of compose.yaml as it applies on this machine."""

        def on_loopback(match: re.Match[str]) -> str:
            name = service if match[1] in {_LOOPBACK, "localhost"} else match[1]
            return f"{_LOOPBACK}:{self.port(name, match[2])}"

        text = re.sub(rf"\b({self._services}|127\.0\.0\.1|localhost):(\d+)\b", on_loopback, text)
        text = re.sub(r"(?<=--port=)\d+$", lambda match: str(self.port(service, match[0])), text)
        return text.replace(self._subnet, "127.0.0.0/8").replace("0.0.0.0", _LOOPBACK)

    def environment(self, service: str, variables: dict[str, str]) -> dict[str, str]:
        translated = {name: self.translate(service, value) for name, value in variables.items()}
        if "BROKER_BASE_URL" in variables:  # it names the published port of the API, for every service
            translated["BROKER_BASE_URL"] = self.translate("api", variables["BROKER_BASE_URL"])
        if "BROKER_PORT" in variables:
            translated["BROKER_PORT"] = str(self.port(service, variables["BROKER_PORT"]))
        inherited = {name: v for name, v in environment().items() if not name.startswith("BROKER_")}
        return inherited | translated


class Stack:
    """The services of compose.yaml, started in the order of their conditions."""

    def __init__(self, compose: dict[str, Any], folder: Path, stack: contextlib.ExitStack) -> None:
        self.services: dict[str, dict[str, Any]] = compose["services"]
        self.running: dict[str, Command] = {}
        self._translation = Translation(compose)
        self._folder = folder
        self._stack = stack

    async def start(self, name: str) -> None:
        """Starts what the service depends on, then the service; returns when its health check passes."""
        if name in self.running:
            return
        for dependency, condition in self.services[name].get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}, (
                f"{name} waits until {dependency} is healthy"
            )
            await self.start(dependency)
        service = self.services[name]
        env = self._translation.environment(name, service.get("environment", {}))
        if "BROKER_HIGH_WATER_FILE" in env:
            env["BROKER_HIGH_WATER_FILE"] = env["BROKER_HIGH_WATER_FILE"].replace(
                _IMAGE_DATA, str(self._folder)
            )
        log = self._folder / f"{name}.log"
        self.running[name] = self._stack.enter_context(Command(self._command(name), log, env, self._folder))
        if not service.get("healthcheck", {}).get("disable"):

            async def is_healthy() -> bool:
                return self._is_healthy(name, service["healthcheck"].get("test"), env)

            try:
                await until(is_healthy, 30)
            except TimeoutError:
                pytest.fail(f"{name} is not healthy: {self.running[name].output[-2000:]}")

    def _command(self, name: str) -> list[str]:
        command = [self._translation.translate(name, word) for word in self.services[name]["command"]]
        if name == "store":
            shell, option, script = command
            script = script.replace("/tmp/", f"{self._folder}/")  # noqa: S108 in the container
            assert "exec valkey-server " in script
            script = script.replace("valkey-server", shlex.quote(find_binary()))
            port = str(self._translation.port("store", "6379"))
            more = ["--port", port, "--bind", _LOOPBACK, "--dir", str(self._folder)]
            return [shell, option, f"{script} {shlex.join(more)}"]
        assert json.loads(last("ENTRYPOINT")) == ["fhir-broker"]
        return [BROKER, *command]

    def _is_healthy(self, name: str, test: list[str] | None, env: dict[str, str]) -> bool:
        if test is None:
            return probe(env["BROKER_PORT"]) == 0
        # the bundled server comes without its command line client
        assert (name, test) == ("store", ["CMD", "valkey-cli", "ping"])
        port = self._translation.port("store", "6379")
        asking = [sys.executable, "-c", _PING.format(port, env["REDISCLI_AUTH"])]
        return subprocess.run(asking, capture_output=True, timeout=10, check=False).returncode == 0


def probe(port: str) -> int:
    """The exit code of the image's health probe for a broker on this port."""
    options, _, command = last("HEALTHCHECK").partition("CMD ")
    assert "--interval" in options
    [program] = json.loads(command)
    script = REPOSITORY / "scripts" / program
    return subprocess.run([script], env={"BROKER_PORT": port}, timeout=10, check=False).returncode


_PING = (
    "import socket; s = socket.create_connection(('127.0.0.1', {}), 2); s.send(b'AUTH {}\\r\\nPING\\r\\n'); "
    "assert s.makefile('rb').read(12) == b'+OK\\r\\n+PONG\\r\\n'"
)


async def test_the_services_of_the_compose_file_deliver_readings_to_the_demo_subscriber(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    with contextlib.ExitStack() as processes:
        stack = Stack(compose, tmp_path, processes)
        for name in stack.services:
            await stack.start(name)
        output = await stack.running["subscriber"].until_output("event-notification #3", timeout_s=20)
        assert "handshake" in output
        assert "Observation/" in output
        assert (tmp_path / "high-water.json").is_file()
        for name in ("gateway", "subscriber", *sorted(_BROKERS)):
            assert await stack.running[name].stop() == 0, f"{name}: {stack.running[name].output[-2000:]}"
        for name in _BROKERS:
            assert re.search(r" (error|warning) ", stack.running[name].output) is None


def test_every_server_has_a_health_check_that_is_cheap(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == _BROKERS | {"store", "subscriber", "gateway"}
    checks = {name: service["healthcheck"] for name, service in services.items()}
    disabled = {name for name, check in checks.items() if check.get("disable")}
    assert disabled == {"gateway", "subscriber"}, "nothing depends on them"
    assert {name for name, check in checks.items() if "test" in check} == {"store"}
    assert json.loads(last("HEALTHCHECK").partition("CMD ")[2]) == ["is-ready"]
    assert ("COPY", "scripts/is-ready /usr/local/bin/is-ready") in dockerfile()
    assert "python" not in (REPOSITORY / "scripts" / "is-ready").read_text()
    assert all("depends_on" in services[name] for name in services.keys() - {"store"})


def test_the_probe_of_a_port_where_nothing_listens_fails() -> None:
    assert probe(str(free_port())) == 1


def test_every_container_has_only_what_it_needs(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"] == ["/tmp"], name  # noqa: S108 in the container
        assert {"mem_limit", "cpus", "pids_limit"} <= service.keys(), name
        assert service["user"] not in {"", "root", "0"}, name
        assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys(), name
    assert last("USER") not in {"", "root", "0"}


def test_every_image_is_pinned_to_a_version(compose: dict[str, Any]) -> None:
    images = {service["image"] for service in compose["services"].values()}
    images |= {argument.split()[0] for word, argument in dockerfile() if word == "FROM"}
    assert len(images) == 3
    assert all(re.search(r":\d+\.\d+\.\d+(-[a-z-]+)?$", image) for image in images), images


def test_a_container_gets_the_time_to_drain(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["stop_grace_period"] == "30s"
        assert "BROKER_DRAIN" not in service["environment"]
    assert Settings().drain < timedelta(seconds=20)


def test_the_high_water_marks_and_the_store_are_on_volumes(compose: dict[str, Any]) -> None:
    match = compose["services"]["match"]
    assert match["environment"]["BROKER_HIGH_WATER_FILE"] == f"{_IMAGE_DATA}/high-water.json"
    assert match["volumes"] == [f"high-water:{_IMAGE_DATA}"]
    assert last("VOLUME") == _IMAGE_DATA
    assert compose["volumes"].keys() == {"store", "high-water"}


def test_the_store_asks_for_the_password_that_the_brokers_have(compose: dict[str, Any]) -> None:
    text = (REPOSITORY / "compose.yaml").read_text()
    assert text.count(_PASSWORD) == text.count(f"${{STORE_PASSWORD:-{_PASSWORD}}}") == 3
    store = compose["services"]["store"]
    assert store["environment"] == {"STORE_PASSWORD": _PASSWORD, "REDISCLI_AUTH": _PASSWORD}
    assert "requirepass $STORE_PASSWORD" in store["command"][-1]
    assert "STORE_PASSWORD" not in store["command"][-1].partition("exec ")[2]


def test_no_build_tool_is_in_the_image() -> None:
    stages = "\n".join(f"{word} {rest}" for word, rest in dockerfile()).split("FROM ")
    assert "pip uninstall --yes setuptools pip" in stages[1]
    assert "pip uninstall --yes --root-user-action=ignore setuptools wheel pip" in stages[2]
    assert not re.search("apt-get|gcc|build-essential|pip install", stages[2])


def test_the_build_gets_every_file_that_it_copies() -> None:
    context = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert context[0] == "*"
    for word, argument in dockerfile():
        if word == "COPY" and not argument.startswith("--from"):
            assert all(f"!{name}" in context for name in argument.split()[:-1]), argument


def test_only_this_host_can_reach_the_published_port(compose: dict[str, Any]) -> None:
    services = compose["services"].items()
    published = {name: service["ports"] for name, service in services if "ports" in service}
    assert published == {"api": ["127.0.0.1:8080:8080"]}


def test_the_store_is_durable(compose: dict[str, Any]) -> None:
    store = compose["services"]["store"]
    flags = store["command"][-1]
    for flag in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert flag in flags
    assert store["volumes"] == ["store:/data"]
    assert "store" in compose["volumes"]


def test_the_environment_of_every_service_is_valid(compose: dict[str, Any]) -> None:
    network = compose["networks"]["default"]["ipam"]["config"][0]["subnet"]
    for name in _BROKERS:
        settings = Settings.from_environment(compose["services"][name]["environment"])
        assert settings.redis_url == f"redis://:{_PASSWORD}@store:6379/0"
        assert settings.base_url == "http://127.0.0.1:8080", "clients on this host use it"
        assert [str(allowed) for allowed in settings.egress_allow] == [network]


def test_the_image_installs_from_the_lock_and_stops_on_sigterm() -> None:
    lines = [rest for word, rest in dockerfile() if word == "RUN"]
    assert any("--require-hashes -r requirements.lock" in line for line in lines)
    assert all("--require-hashes" in line or "--no-deps" in line for line in lines if "pip install" in line)
    assert last("STOPSIGNAL") == "SIGTERM"
