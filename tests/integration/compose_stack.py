"""Runs the services of compose.yaml as processes on this machine, without a container engine: on free ports
of loopback, with a folder for each volume.
"""

import asyncio
import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from broker.store.embedded import find_binary
from tests.integration.broker_fixture import until
from tests.integration.commands import BROKER, REPOSITORY, START_S, Command, environment
from tests.ports import free_port

LOOPBACK = "127.0.0.1"


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
            name = service if match[1] in {LOOPBACK, "localhost"} else match[1]
            return f"{LOOPBACK}:{self.port(name, match[2])}"

        text = re.sub(rf"\b({self._services}|127\.0\.0\.1|localhost):(\d+)\b", on_loopback, text)
        text = re.sub(r"(?<=--port=)\d+$", lambda match: str(self.port(service, match[0])), text)
        return text.replace(self._subnet, "127.0.0.0/8").replace("0.0.0.0", LOOPBACK)

    def environment(self, service: str, variables: dict[str, str]) -> dict[str, str]:
        translated = {name: self.translate(service, value) for name, value in variables.items()}
        if "BROKER_PORT" in variables:
            translated["BROKER_PORT"] = str(self.port(service, variables["BROKER_PORT"]))
        inherited = {name: v for name, v in environment().items() if not name.startswith("BROKER_")}
        programs = os.pathsep.join([str(Path(sys.executable).parent), inherited["PATH"]])
        return inherited | {"PATH": programs} | translated


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
            await self.start(dependency)
            if condition == {"condition": "service_completed_successfully"}:
                await self.complete(dependency)
            else:
                assert condition == {"condition": "service_healthy"}, f"{name} waits for {dependency}"
        service = self.services[name]
        env = {
            variable: self._on_volume(name, text)
            for variable, text in self._translation.environment(name, service.get("environment", {})).items()
        }
        log = self._folder / f"{name}.log"
        self.running[name] = self._stack.enter_context(Command(self._command(name), log, env, self._folder))
        if not service.get("healthcheck", {}).get("disable"):

            async def is_healthy() -> bool:
                return self._is_healthy(name, service["healthcheck"].get("test"), env)

            try:
                await until(is_healthy, START_S)
            except TimeoutError:
                pytest.fail(f"{name} is not healthy: {self.running[name].output[-2000:]}")

    async def complete(self, name: str) -> None:
        """Waits until a service that ends by itself has succeeded."""
        process = self.running[name].process
        assert process is not None
        assert await asyncio.to_thread(process.wait, START_S) == 0, self.running[name].output[-2000:]

    def volume(self, name: str) -> Path:
        """The directory that stands for a volume."""
        folder = self._folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def port(self, service: str, port: str) -> int:
        return self._translation.port(service, port)

    def _on_volume(self, name: str, text: str) -> str:
        """The text with the directories of the service's volumes on this machine."""
        for mount in self.services[name].get("volumes", ()):
            volume, target = mount.split(":")[:2]
            text = re.sub(rf"{re.escape(target)}\b", str(self.volume(volume)), text)
        return text

    def _command(self, name: str) -> list[str]:
        command = [self._translation.translate(name, word) for word in self.services[name]["command"]]
        if "entrypoint" in self.services[name]:
            [script] = command
            return [*self.services[name]["entrypoint"], self._on_volume(name, script)]
        if name == "store":
            shell, option, script = command
            script = script.replace("/tmp/", f"{self._folder}/")  # noqa: S108 in the container
            assert "exec valkey-server " in script
            script = script.replace("valkey-server", shlex.quote(find_binary()))
            port = str(self._translation.port("store", "6379"))
            more = ["--port", port, "--bind", LOOPBACK, "--dir", str(self._folder)]
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
        return subprocess.run(asking, capture_output=True, timeout=START_S, check=False).returncode == 0


def probe(port: str = "", config: Path | None = None) -> int:
    """The exit code of the image's health probe for a broker on this port, or on that of its file."""
    options, _, command = last("HEALTHCHECK").partition("CMD ")
    assert "--interval" in options
    [program] = json.loads(command)
    script = REPOSITORY / "scripts" / program
    env = {"BROKER_PORT": port} if config is None else {"BROKER_CONFIG": str(config)}
    return subprocess.run([script], env=env, timeout=START_S, check=False).returncode


_PING = (
    "import socket; s = socket.create_connection(('127.0.0.1', {}), 2); s.send(b'AUTH {}\\r\\nPING\\r\\n'); "
    "assert s.makefile('rb').read(12) == b'+OK\\r\\n+PONG\\r\\n'"
)
