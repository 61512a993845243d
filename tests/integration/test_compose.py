"""compose.yaml without a container engine: the command of each service runs as a process on this machine."""

import asyncio
import contextlib
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from broker.settings import Settings
from tests.integration.broker_fixture import until, until_ready
from tests.integration.commands import REPOSITORY
from tests.integration.compose_stack import LOOPBACK, Stack, dockerfile, last, probe
from tests.ports import free_port

_BROKERS = {"api", "match", "dispatch-1", "dispatch-2"}
_CLIENTS = {"subscriber", "gateway"}
_PASSWORD = "for-the-demo-only"
_IMAGE_DATA = "/var/lib/broker"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as compose reads it without any variable in the environment."""
    text = (REPOSITORY / "compose.yaml").read_text()
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


async def test_the_services_of_the_compose_file_deliver_readings_to_the_demo_subscriber(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    with contextlib.ExitStack() as processes:
        stack = Stack(compose, tmp_path, processes)
        for name in stack.services:
            await stack.start(name)
        subscriber = stack.running["subscriber"]
        output = await subscriber.until_output("event-notification #3", timeout_s=60)
        arrived = [line for line in output.splitlines() if re.search("handshake|event-notification", line)]
        assert "handshake" in arrived[0]
        assert "Observation/" in output
        assert all(line.endswith("(signature verified)") for line in arrived), output

        async def are_marks_saved() -> bool:
            return (stack.volume("high-water") / "high-water.json").is_file()

        await until(are_marks_saved)
        await _nobody_else_is_let_in(stack)
        await subscriber.until_output("refused with 401, not verified: the header webhook-id is missing")
        # nothing is sent to a subscriber that has stopped; it deletes its Subscription through the API
        for name in ("gateway", "match", "dispatch-1", "dispatch-2", "subscriber", "api"):
            assert await stack.running[name].stop() == 0, f"{name}: {stack.running[name].output[-2000:]}"
        for name in _BROKERS:
            assert re.search(r" (error|warning) ", stack.running[name].output) is None


async def _nobody_else_is_let_in(stack: Stack) -> None:
    api, endpoint = (
        f"http://{LOOPBACK}:{stack.port(name, port)}"
        for name, port in (("api", "8080"), ("subscriber", "9000"))
    )
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        await until_ready(client, f"{api}/readyz")
        assert (await client.get(f"{api}/r4/Observation")).status_code == 401
        forged = {"resourceType": "Bundle", "type": "history"}
        assert (await client.post(f"{endpoint}/listen", json=forged)).status_code == 401


async def test_keys_are_made_once_even_if_the_first_start_was_interrupted(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    def content() -> dict[str, bytes]:
        files = (path for path in (tmp_path / "volumes").rglob("*") if path.is_file())
        return {str(path.relative_to(tmp_path / "volumes")): path.read_bytes() for path in files}

    async def make() -> dict[str, bytes]:
        with contextlib.ExitStack() as processes:
            stack = Stack(compose, tmp_path, processes)
            await stack.start("keys")
            await stack.complete("keys")
        return content()

    left = {"gateway-key/key.pem": b"a key that was not registered", "broker-keys/clients/gateway.json": b""}
    for name, text in left.items():
        path = tmp_path / "volumes" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(text)
    made = await make()
    assert made.keys() == {
        "broker-keys/key-ring.json",
        "broker-keys/clients/gateway.json",
        "broker-keys/clients/subscriber.json",
        "gateway-key/key.pem",
        "subscriber-key/key.pem",
    }
    assert all(made[name] != text for name, text in left.items())
    files = [tmp_path / "volumes" / name for name in made]
    assert {path.stat().st_mode & 0o077 for path in files} == {0}, "only the owner can read them"
    assert await make() == made, "a second start changes nothing"


def test_a_container_has_only_the_keys_that_it_needs(compose: dict[str, Any]) -> None:
    services = compose["services"]
    keys = {
        name: [each for each in service.get("volumes", ()) if "/keys/" in each]
        for name, service in services.items()
    }
    assert keys.pop("keys") == [
        "broker-keys:/keys/broker",
        "gateway-key:/keys/gateway",
        "subscriber-key:/keys/subscriber",
    ]
    assert keys == {
        "store": [],
        **{name: ["broker-keys:/keys/broker:ro"] for name in _BROKERS},
        **{name: [f"{name}-key:/keys/{name}:ro"] for name in _CLIENTS},
    }
    assert all("BROKER_REDIS_URL" not in services[name]["environment"] for name in {"keys", *_CLIENTS})
    made = next(rest for word, rest in dockerfile() if word == "RUN" and "useradd" in rest)
    assert (
        "install --directory --owner=broker --mode=0700 /keys/broker /keys/gateway /keys/subscriber" in made
    )


def test_every_server_has_a_health_check_that_is_cheap(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == _BROKERS | _CLIENTS | {"store", "keys"}
    checks = {name: service["healthcheck"] for name, service in services.items()}
    disabled = {name for name, check in checks.items() if check.get("disable")}
    assert disabled == {*_CLIENTS, "keys"}, "nothing waits until they are healthy"
    assert {name for name, check in checks.items() if "test" in check} == {"store"}
    assert json.loads(last("HEALTHCHECK").partition("CMD ")[2]) == ["is-ready"]
    assert ("COPY", "scripts/is-ready /usr/local/bin/is-ready") in dockerfile()
    assert "python" not in (REPOSITORY / "scripts" / "is-ready").read_text()
    assert all("depends_on" in services[name] for name in services.keys() - {"store", "keys"})


def test_the_probe_of_a_port_where_nothing_listens_fails() -> None:
    assert probe(str(free_port())) == 1


async def test_the_probe_finds_the_port_in_a_file_of_settings(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async def is_found() -> bool:
        return await asyncio.to_thread(probe, config=file) == 0

    async with await asyncio.start_server(answer, LOOPBACK, 0) as server:
        file.write_text(f'host = "0.0.0.0"\nport = {server.sockets[0].getsockname()[1]}\n')
        await until(is_found)  # a probe waits two seconds for its answer, and is repeated


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
    assert f"high-water:{_IMAGE_DATA}" in match["volumes"]
    assert last("VOLUME") == _IMAGE_DATA
    assert {"store", "high-water"} <= compose["volumes"].keys()


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
        assert settings.base_url == "http://api:8080", "the clients get tokens for this name"
        assert settings.auth == "smart"
        assert not settings.allow_open
        assert [str(allowed) for allowed in settings.egress_allow] == [network]


def test_the_image_installs_from_the_lock_and_stops_on_sigterm() -> None:
    lines = [rest for word, rest in dockerfile() if word == "RUN"]
    assert any("--require-hashes -r requirements.lock" in line for line in lines)
    assert all("--require-hashes" in line or "--no-deps" in line for line in lines if "pip install" in line)
    assert last("STOPSIGNAL") == "SIGTERM"
