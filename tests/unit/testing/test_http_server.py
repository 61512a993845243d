"""A server that is stopped leaves no connection open, whenever the client connected."""

import asyncio
import socket

import pytest

from broker.testing.subscriber import SimulatedSubscriber


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_was_just_accepted_is_closed_too(turns: int) -> None:
    """`turns` of the event loop lie between the connection and the stop."""
    with socket.socket() as client:
        client.settimeout(60)
        async with SimulatedSubscriber() as subscriber:
            host, _, port = subscriber.url("").removeprefix("http://").rstrip("/").partition(":")
            client.connect((host, int(port)))
            for _ in range(turns):
                await asyncio.sleep(0)
        try:
            received = await asyncio.to_thread(client.recv, 1)
        except ConnectionResetError:
            received = b""
    assert received == b""
