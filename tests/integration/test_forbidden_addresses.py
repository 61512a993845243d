"""Forbidden addresses as endpoints, in every spelling that has got past a guard somewhere: no connection.

Python's audit hook sees each connection that this process attempts, whatever library asks for it; a canary
listens at the addresses of this machine.
"""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from broker.egress.addresses import Allowance
from broker.egress.client import EgressClient
from broker.egress.http import HttpFailure
from broker.testing.registration import subscription
from tests.conftest import StartBroker
from tests.integration.raw_endpoint import Names, answering, listening, post

TOPIC = "http://fhir-broker.org/topics/vital-signs"
NOWHERE = Allowance((ip_network("198.51.100.0/24"),))
"""Plain http may be used, to a network that nothing here is in: http URLs come as far as https ones."""
HOSTS = (
    # this machine
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "127.0.0.1.", "2130706433", "0x7f000001",
    "0x7f.0.0.1", "0x7f.1", "017700000001", "0177.0.0.1", "0177.1", "0177.0.0.0x1", "127.0.0.0x1",
    "00127.0.0.1",
    "127.000.000.001", "127.0.0.01", "0x7F000001", "0x00007f000001", "127%2e0%2e0%2e1", "%31%32%37.0.0.1",
    "１２７.0.0.1", "127。0。0。1", "127．0．0．1", "①②⑦.⓪.⓪.①",
    "localhost", "LOCALHOST", "localhost.", "LocalHost.",
    "0", "0.0.0.0", "0.0.0.0.", "0x0", "00", "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::1]", "[::0001]", "[::]",
    "[0:0:0:0:0:0:0:0]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::FFFF:7F00:0001]", "[::127.0.0.1]", "[::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:7f00:0001::1]", "[2001:0:7f00:1::80ff:fffe]",
    "[::1%25lo]",
    "[::1%lo]", "[fe80::1%25lo]",
    # metadata services of clouds
    "169.254.169.254", "169.254.169.254.", "2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "025177524776",
    "0251.0376.0251.0376", "169.254.43518", "169.16689662", "169.254.169.0376", "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]", "[::169.254.169.254]", "[64:ff9b::169.254.169.254]", "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]", "[fd00:ec2::254]", "[fe80::a9fe:a9fe]", "169.254.170.2", "100.100.100.200",
    "192.0.0.192", "１６９.254.169.254",
    # private, shared and link-local networks, multicast, broadcast, reserved
    "10.0.0.1", "10.1", "012.0.0.1", "167772161", "0xa000001", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "192.168.1", "0300.0250.0.1", "3232235521", "100.64.0.1", "169.254.0.1", "198.18.0.1", "192.0.2.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "[fc00::1]", "[fd00::1]",
    "[fe80::1]", "[fec0::1]", "[ff02::1]", "[ff05::1:3]", "[2001:db8::1]", "[100::1]", "[::ffff:10.0.0.1]",
    "[::ffff:192.168.0.1]", "[64:ff9b::10.0.0.1]", "[2002:a00:1::1]",
    # what different parsers read differently
    "user@127.0.0.1", "ehr.example@127.0.0.1", "ehr.example:443@127.0.0.1", "127.0.0.1\\@ehr.example",
    "ehr.example\\@127.0.0.1", "127.0.0.1#@ehr.example", "127.0.0.1?@ehr.example", "ehr.example#@127.0.0.1",
    "[::1]@ehr.example", "127.0.0.1\t", " 127.0.0.1", "127.0.0.1\r\n", "127.0.0.1%00.ehr.example",
    "127.0.0.1%0d%0aX:", "127.0.0.1;ehr.example", "127.0.0.1,ehr.example", "[127.0.0.1]", "[v1.7f000001]",
)  # fmt: skip


class Connections:
    """The addresses to which this process tried to connect while one is recorded."""

    def __init__(self) -> None:
        self._recorded: list[Any] | None = None
        sys.addaudithook(self._see)  # a hook stays until the process ends

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and self._recorded is not None:
            self._recorded.append(arguments[1])

    @contextmanager
    def recorded(self) -> Iterator[list[Any]]:
        found: list[Any] = []
        self._recorded = found
        try:
            yield found
        finally:
            self._recorded = None


CONNECTIONS = Connections()


@asynccontextmanager
async def canary() -> AsyncIterator[tuple[int, list[str]]]:
    """A port that notes each connection to it, at every address of this machine."""
    heard: list[str] = []

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(str(writer.get_extra_info("sockname")))
        writer.close()

    server = await asyncio.start_server(note, "0.0.0.0", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


def test_there_are_at_least_ninety_spellings() -> None:
    assert len(set(HOSTS)) == len(HOSTS) >= 90


async def test_the_hook_and_the_canary_see_a_connection() -> None:
    async with canary() as (port, heard):
        with CONNECTIONS.recorded() as tried:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        async with asyncio.timeout(60):
            while not heard:  # noqa: ASYNC110 the canary runs in the same loop
                await asyncio.sleep(0.01)
    assert tried == [("127.0.0.1", port)]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_forbidden_address_is_not_connected_to_in_any_spelling(scheme: str) -> None:
    async with canary() as (port, heard), EgressClient(NOWHERE) as client:
        with CONNECTIONS.recorded() as tried:
            for host in HOSTS:
                answer = await post(client, f"{scheme}://{host}:{port}/hook")
                assert isinstance(answer, HttpFailure), host
    assert heard == []
    # a resolver asks its name server on port 53
    assert [address for address in tried if not (isinstance(address, tuple) and address[1] == 53)] == []


async def test_no_registration_leads_to_a_forbidden_address(start_broker: StartBroker) -> None:
    async with (
        canary() as (port, heard),
        start_broker(egress_allow=NOWHERE.networks) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, trust_env=False, timeout=30) as client,
    ):
        own = {urlsplit(broker.settings.base_url).port}
        registered = []
        with CONNECTIONS.recorded() as tried:
            # plain http is refused to any address but those of BROKER_EGRESS_ALLOW: https shows the judgement
            for scheme, host in itertools.product(("http", "https"), HOSTS):
                document = subscription("r4", TOPIC, f"{scheme}://{host}:{port}/hook")
                answer = await client.post("/r4/Subscription", json=document)
                assert answer.status_code in {201, 400, 422}, (scheme, host, answer.text)
                if answer.status_code == 201:
                    registered.append(f"/r4/Subscription/{answer.json()['id']}")
            async with asyncio.timeout(60):
                for path in registered:
                    while (await client.get(path)).json()["status"] == "requested":  # noqa: ASYNC110 HTTP
                        await asyncio.sleep(0.02)
        statuses = {(await client.get(path)).json()["status"] for path in registered}
    assert statuses == {"error"}
    assert len(registered) < 2 * len(HOSTS) / 5, "addresses are refused at registration; names at the lookup"
    assert heard == []
    assert not [each for each in tried if isinstance(each, tuple) and each[1] == port and port not in own]


@pytest.mark.parametrize("inner", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_a_name_that_is_bound_to_another_address_between_lookups_is_not_followed(inner: str) -> None:
    names = Names(["198.51.100.7"], [inner], [inner, "127.0.0.1"])
    async with canary() as (port, heard), EgressClient(NOWHERE, resolve=names) as client:
        with CONNECTIONS.recorded() as tried:
            for _ in range(3):
                answer = await post(client, f"http://rebound.example:{port}/", timeout_s=0.2)
                assert isinstance(answer, HttpFailure)
    assert heard == []
    assert {address[0] for address in tried} <= {"198.51.100.7"}


async def test_a_redirect_to_a_forbidden_address_is_not_followed() -> None:
    here = Allowance((ip_network("127.0.0.1/32"),))
    target = b"http://169.254.169.254/latest/meta-data/"
    moved = b"HTTP/1.1 307 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % target
    async with listening(answering(moved)) as port, EgressClient(here) as client:
        with CONNECTIONS.recorded() as tried:
            answer = await post(client, f"http://127.0.0.1:{port}/")
    assert not isinstance(answer, HttpFailure)
    assert answer.status == 307
    assert tried == [("127.0.0.1", port)]
