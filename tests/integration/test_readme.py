"""The commands of the README work."""

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Any

import httpx

from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.commands import Command, run
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS: list[str] = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def words(part: str) -> list[str]:
    """The only command of the README that contains `part`, as words."""
    [line] = [line for line in COMMANDS if part in line]
    return shlex.split(line)


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for line in COMMANDS if line.startswith("make ")}
    assert {"demo", "test"} <= named <= targets


def test_every_command_is_tested_here_or_is_a_make_target() -> None:
    tested = (
        "make ",
        "demo --input",
        "fhir-broker serve",
        "listen --broker",
        "simulate --base",
        "curl ",
        '"',
        "  ",
    )
    for line in COMMANDS:
        assert any(part in line for part in tested), line


def test_the_demo_accepts_a_folder_of_fhir_files() -> None:
    command = words("demo --input")
    done = run(*command[1:-1], str(ROOT / "tests" / "fhir" / "examples" / "r4"), "--json")
    assert done.returncode == 0, done.stderr


async def test_serve_listen_simulate_and_the_curl_command_work_together(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"

    def local(command: list[str], *more: str) -> Command:
        arguments = [word.replace("http://127.0.0.1:8080", base) for word in command[1:]]
        return Command.of_broker(tmp_path, *arguments, *more, port=str(port), data_dir=str(tmp_path / "data"))

    with local(["fhir-broker", "serve"]) as serve:
        await serve.until_ready(base)
        with local(words("listen --broker"), "--port", str(free_port())) as listener:
            await listener.until_output("handshake")
            with local([*words("simulate --base")[:-1], "2"]) as gateway:
                await listener.until_output("event-notification")
                assert gateway.process is not None
                assert await asyncio.to_thread(gateway.process.wait, 20) == 0
        by_hand = hand_written()
        by_hand["endpoint"] = subscriber.url("listen")
        async with httpx.AsyncClient(trust_env=False) as client:
            headers = {"Content-Type": "application/fhir+json"}
            accepted = await client.post(f"{base}/r5/Subscription", json=by_hand, headers=headers)
        assert accepted.json()["status"] == "requested"
        assert await subscriber.wait_until(lambda: bool(subscriber.endpoint("listen").of_type("handshake")))


def hand_written() -> dict[str, Any]:
    """The Subscription of the curl command."""
    [body] = re.findall(r"-d '(\{.*?\})'", README, re.DOTALL)
    subscription: dict[str, Any] = json.loads(body)
    return subscription
