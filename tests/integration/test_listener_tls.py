"""The listener speaks TLS: real handshakes, client certificates, and renewed files, with connections that
stay open meanwhile.
"""

import asyncio
import re
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets

from broker.app import Role, Running
from broker.app.tls import listener_tls
from broker.settings import Settings
from tests.conftest import StartBroker
from tests.faults.certificates import self_signed
from tests.integration.broker_fixture import until
from tests.integration.commands import START_S, Command, environment, run
from tests.ports import free_port
from tests.spawning import run_broker

REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def trusting(*authorities: Path, client: Path | None = None) -> ssl.SSLContext:
    """A client's context, with its own certificate if it has one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for authority in authorities:
        context.load_verify_locations(authority)
    if client is not None:
        context.load_cert_chain(client)
    return context


class Connection:
    """An open connection to the broker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def certificate(self) -> bytes:
        """What the broker showed."""
        shown: bytes = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return shown

    async def status(self) -> int:
        """The status of a request; the connection stays open. Raises what the connection raises."""
        async with asyncio.timeout(START_S):
            self._writer.write(REQUEST)
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
            await self._reader.readexactly(int(length[1]) if length else 0)
            return int(head.split(" ")[1])

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            return  # the broker had refused it


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext, name: str = "localhost") -> AsyncIterator[Connection]:
    async with asyncio.timeout(START_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    connection = Connection(reader, writer)
    try:
        yield connection
    finally:
        await connection.close()


async def is_served(port: int, context: ssl.SSLContext) -> bool:
    """Whether a new connection gets an answer. With TLS 1.3 a client certificate is refused after the
    client's side of the handshake.
    """
    try:
        async with connected(port, context) as connection:
            return await connection.status() == 200
    except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
        return False


@asynccontextmanager
async def tls_broker(start_broker: StartBroker, **files: object) -> AsyncIterator[tuple[Running, int]]:
    async with start_broker(frozenset({Role.API}), base_url="", **files) as broker:
        yield broker, broker.settings.port


def replace_file(file: Path, name: str) -> None:
    """Renews a certificate as tools do: a new file takes the place of the old one."""
    self_signed(file.with_name(name)).replace(file)


async def test_requests_and_websockets_are_served_over_tls_from_version_1_2_on(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    file = self_signed(tmp_path / "broker.pem")
    async with tls_broker(start_broker, tls_cert=file) as (broker, port):
        assert broker.settings.base_url == f"https://127.0.0.1:{port}"
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = trusting(file)
            context.minimum_version = context.maximum_version = version
            assert await is_served(port, context)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(file)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        assert not await is_served(port, old)
        tls = listener_tls(broker.settings)
        assert tls is not None
        assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2
        async with websockets.connect(f"wss://localhost:{port}/ws", ssl=trusting(file), proxy=None) as socket:
            await socket.send("bind-with-token: unknown")
            assert await socket.recv()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        assert b"200" not in await reader.read(100), "plain HTTP gets no answer"
        writer.close()


async def test_a_renewed_certificate_is_shown_to_new_connections_and_open_ones_go_on(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    file, key = tmp_path / "broker.pem", tmp_path / "broker.key"
    shutil.copy(self_signed(file), key)
    async with tls_broker(start_broker, tls_cert=file, tls_key=key) as (broker, port):
        first = trusting(file)
        async with connected(port, first) as connection:
            assert await connection.status() == 200
            file.write_text("not a certificate")
            await broker.reload()
            assert await is_served(port, first), "a broken file leaves the previous one in use"
            replace_file(file, "renewed.pem")
            await broker.reload()
            assert await is_served(port, first), "so does a certificate without its key"
            shutil.copy(file, key)
            await broker.reload()
            async with connected(port, trusting(file)) as renewed:
                assert await renewed.status() == 200
                assert renewed.certificate != connection.certificate
            assert not await is_served(port, first)
            assert await connection.status() == 200, "the open connection goes on"


async def test_clients_need_a_certificate_of_the_authorities_as_they_are_now(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    file, gateway, other = (self_signed(tmp_path / f"{name}.pem") for name in ("broker", "gateway", "other"))
    authorities = tmp_path / "authorities.pem"
    shutil.copy(gateway, authorities)
    async with tls_broker(start_broker, tls_cert=file, tls_client_ca=authorities) as (broker, port):
        accepted, refused = trusting(file, client=gateway), trusting(file, client=other)
        assert await is_served(port, accepted)
        assert not await is_served(port, refused)
        assert not await is_served(port, trusting(file))
        async with connected(port, accepted) as connection:
            assert await connection.status() == 200
            other.with_name("copy.pem").write_bytes(other.read_bytes())
            other.with_name("copy.pem").replace(authorities)
            await broker.reload()
            assert await is_served(port, refused), "it is accepted now"
            assert not await is_served(port, accepted), "and the other one is not"
            assert await connection.status() == 200


async def test_client_certificates_may_be_optional(start_broker: StartBroker, tmp_path: Path) -> None:
    file, gateway, other = (self_signed(tmp_path / f"{name}.pem") for name in ("broker", "gateway", "other"))
    files = {"tls_cert": file, "tls_client_ca": gateway, "tls_client_auth": "optional"}
    async with tls_broker(start_broker, **files) as (_, port):
        assert await is_served(port, trusting(file))
        assert await is_served(port, trusting(file, client=gateway))
        assert not await is_served(port, trusting(file, client=other))


async def test_every_worker_takes_a_renewed_certificate_by_itself(tmp_path: Path) -> None:
    file, port = self_signed(tmp_path / "broker.pem"), free_port()
    settings = {"port": str(port), "data_dir": str(tmp_path / "data"), "tls_cert": str(file)}
    with Command.of_broker(tmp_path, "serve", "--workers", "2", **settings) as serve:
        await serve.until_output("ready", times=2)
        first = trusting(file)
        assert await is_served(port, first)
        replace_file(file, "renewed.pem")
        renewed = trusting(file)

        async def all_show_it() -> bool:
            return all([await is_served(port, renewed) for _ in range(10)])

        await until(all_show_it)
        await serve.until_output("TLS files read again", times=2)
        assert f"base_url=https://127.0.0.1:{port}" in serve.output
        command = ("subscriptions", "list", "--base", f"https://localhost:{port}")
        trusts = environment() | {"SSL_CERT_FILE": str(file)}
        listed = await asyncio.to_thread(run_broker, *command, env=trusts, timeout_s=START_S)
        assert listed.returncode == 0, listed.stderr
        assert (await asyncio.to_thread(run, *command)).returncode == 2, "the authority is private"
        assert await serve.stop() == 0


def test_files_that_cannot_be_used_are_reported_in_one_line(tmp_path: Path) -> None:
    file, other = self_signed(tmp_path / "broker.pem"), self_signed(tmp_path / "other.pem")
    missing = str(tmp_path / "missing.pem")
    for settings, problem in (
        ({"tls_cert": missing}, "BROKER_TLS_CERT"),
        ({"tls_cert": str(file), "tls_key": str(other)}, "BROKER_TLS_KEY"),
        ({"tls_cert": str(file), "tls_client_ca": missing}, "BROKER_TLS_CLIENT_CA"),
        ({"tls_key": str(file)}, "BROKER_TLS_KEY needs BROKER_TLS_CERT"),
    ):
        refused = run("serve", port="0", data_dir=str(tmp_path / "data"), **settings)
        assert refused.returncode == 2, refused.stderr
        assert problem in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_the_base_url_is_https_with_a_certificate() -> None:
    assert Settings(tls_cert=Path("x.pem")).base_url == "https://127.0.0.1:8080"
    assert Settings(tls_cert=Path("x.pem"), base_url="https://b.example/").base_url == "https://b.example"
    assert Settings().base_url == "http://127.0.0.1:8080"
