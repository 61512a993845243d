"""The proxy configurations of docs/tls.md: their structure, and a real nginx and Caddy in front of a broker
where they are installed.
"""

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from broker.receiver.notifications import read_notification
from broker.settings import Settings
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from tests.conftest import StartBroker
from tests.docs.page import Block, steps
from tests.faults.certificates import self_signed
from tests.integration.commands import START_S
from tests.ports import free_port

PAGE = Path(__file__).parents[2] / "docs" / "tls.md"
VITAL_SIGNS = "http://fhir-broker.org/topics/vital-signs"
NGINX, CADDY = shutil.which("nginx"), shutil.which("caddy")


def configuration(language: str) -> str:
    """The only block of the page in that language."""
    [block] = [step for step in steps(PAGE) if isinstance(step, Block) and step.language == language]
    return block.code


@pytest.mark.parametrize("language", ["nginx", "caddyfile"])
def test_every_block_of_a_configuration_is_closed(language: str) -> None:
    depth = 0
    for line in configuration(language).splitlines():
        statement = line.partition("#")[0].strip()
        depth += statement.count("{") - statement.count("}")
        assert depth >= 0, line
        if language == "nginx" and statement:
            assert statement[-1] in "{};", line
    assert depth == 0


def test_the_limit_of_the_body_is_that_of_the_broker() -> None:
    mebibytes = Settings().max_body // 1024**2
    assert f"client_max_body_size {mebibytes}m;" in configuration("nginx")
    assert f"max_size {mebibytes}MiB" in configuration("caddyfile")


def nginx_file(folder: Path, port: int, broker_port: int) -> Path:
    """An nginx.conf around the configuration of the page, with ports and files of the test."""
    server = configuration("nginx").replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    server = server.replace("127.0.0.1:8080", f"127.0.0.1:{broker_port}").replace("/etc/nginx", str(folder))
    folders = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"user root;\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{folders}{server}}}\n"
    )
    return file


def caddy_file(folder: Path, port: int, broker_port: int) -> Path:
    """A Caddyfile with the configuration of the page, and the certificate of the test."""
    site = configuration("caddyfile").replace("broker.example.org {", f"https://localhost:{port} {{")
    site = site.replace("127.0.0.1:8080", f"127.0.0.1:{broker_port}").replace("/etc/caddy", str(folder))
    site = site.replace("    tls {", f"    tls {folder}/broker.pem {folder}/broker.key {{")
    file = folder / "Caddyfile"
    file.write_text(f"{{\nadmin off\nauto_https off\nstorage file_system {folder}/caddy\n}}\n{site}")
    return file


@asynccontextmanager
async def proxy(name: str, folder: Path, port: int, broker_port: int) -> AsyncIterator[None]:
    """A running proxy that accepts connections."""
    for certificate in ("broker", "clients"):
        self_signed(folder / f"{certificate}.pem")
    shutil.copy(folder / "broker.pem", folder / "broker.key")
    if name == "nginx":
        file = nginx_file(folder, port, broker_port)
        command = [str(NGINX), "-c", str(file), "-e", str(folder / "error.log")]
    else:
        command = [str(CADDY), "run", "--config", str(caddy_file(folder, port, broker_port))]
    with (folder / "output.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env=os.environ | {"HOME": str(folder)}
        )
    try:
        async with asyncio.timeout(START_S):
            while True:
                assert process.returncode is None, (folder / "output.log").read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                break
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def client_tls(folder: Path, *, has_certificate: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "broker.pem")
    if has_certificate:
        context.load_cert_chain(folder / "clients.pem")
    return context


def pulled(code: str, system: str) -> dict[str, Any]:
    """A Subscription over a connection that the subscriber opens."""
    document = subscription("r5", VITAL_SIGNS, "")
    document["channelType"] = {"system": system, "code": code}
    del document["endpoint"]
    return document


@pytest.mark.parametrize("name", ["nginx", "caddy"])
async def test_a_proxy_passes_requests_large_bodies_event_streams_and_websockets_on(
    name: str, tmp_path: Path, start_broker: StartBroker
) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"no {name} on PATH")
    port, broker_port = free_port(), free_port()
    base = f"https://localhost:{port}"
    headers = {"Content-Type": "application/fhir+json"}
    async with (
        start_broker(port=broker_port, base_url=base),
        proxy(name, tmp_path, port, broker_port),
        httpx.AsyncClient(
            base_url=base, verify=client_tls(tmp_path), headers=headers, timeout=30, trust_env=False
        ) as client,
    ):
        reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 72)
        large = reading | {"note": [{"text": "x" * 4 * 1024**2}]}
        accepted = await client.post("/r4/Observation", json=large)
        assert accepted.status_code == 201, accepted.text[:500]
        assert accepted.headers["location"].startswith(f"{base}/r4/Observation/")
        assert (await client.get("/metrics")).status_code == 404

        made = await client.post(
            "/r5/Subscription", json=pulled("server-sent-events", "http://fhir-broker.org/channel-types")
        )
        text = ""
        async with asyncio.timeout(START_S), client.stream("GET", stream_of(made)) as stream:
            async for chunk in stream.aiter_text():
                text += chunk
                if "event: event-notification" in text:
                    break
                if text.endswith("\n\n") and "event: handshake" in text:
                    # sent while the stream is open: a proxy that buffers would keep its event
                    await client.post("/r4/Observation", json=reading)

        standard = "http://terminology.hl7.org/CodeSystem/subscription-channel-type"
        made = await client.post("/r5/Subscription", json=pulled("websocket", standard))
        answer = await client.get(f"/r5/Subscription/{made.json()['id']}/$get-ws-binding-token")
        given = {item["name"]: item for item in answer.json()["parameter"]}
        url = given["websocket-url"]["valueUrl"]
        assert url == f"wss://localhost:{port}/ws"
        async with asyncio.timeout(START_S), websockets.connect(url, ssl=client_tls(tmp_path)) as socket:
            await socket.send(f"bind-with-token {given['token']['valueString']}")
            message = await socket.recv()
            assert isinstance(message, str)
            assert read_notification(message.encode()).type == "handshake"

        stranger = httpx.AsyncClient(
            base_url=base, verify=client_tls(tmp_path, has_certificate=False), trust_env=False, timeout=60
        )
        async with stranger:
            try:
                refused = await stranger.get("/r4/metadata")
            except (httpx.TransportError, ssl.SSLError):
                return  # Caddy refuses while TLS is set up
            assert refused.status_code == 400


def stream_of(created: httpx.Response) -> str:
    return f"/r5/Subscription/{created.json()['id']}/$stream"
