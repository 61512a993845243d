"""One websocket connection, without a network and a store."""

import asyncio
import gc
import itertools
import weakref
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from broker.api import websockets
from broker.api.websockets import WebsocketParts
from broker.clock import SystemClock
from broker.model.principal import OPEN_PRINCIPAL
from broker.model.subscription import SubscriptionId
from broker.services.client_limits import ClientLimits
from broker.store.tokens import Binding


class Tokens:
    """Redeems every token, each for another subscription."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    async def redeem(self, _token: str) -> Binding:
        ids = (SubscriptionId(f"s{next(self._numbers)}"),)
        return Binding(OPEN_PRINCIPAL, ids, SystemClock().now_ms() + 60_000)


class Following:
    """Follows subscriptions without events, which end at once if `ends`. `has_followed` is set with each."""

    def __init__(self, *, ends: bool) -> None:
        self.has_followed = asyncio.Event()
        self._ends = ends

    async def follow(self, *_: object) -> AsyncIterator[Any]:
        self.has_followed.set()
        if not self._ends:
            await asyncio.Event().wait()
        nothing: tuple[Any, ...] = ()
        for notification in nothing:
            yield notification


class Socket:
    """Binds one token after the other, each when the one before is followed; then it disconnects."""

    def __init__(self, followed: asyncio.Event, tokens: int) -> None:
        self._followed = followed
        self._commands = [f"bind-with-token t{number}" for number in range(tokens)]
        self._has_bound = False
        self.sent: list[str] = []
        self.scope: dict[str, Any] = {}

    async def receive(self) -> dict[str, Any]:
        if self._has_bound:
            await self._followed.wait()
            self._followed.clear()
        if not self._commands:
            return {"type": "websocket.disconnect", "code": 1000}
        self._has_bound = True
        return {"type": "websocket.receive", "text": self._commands.pop()}

    async def send_text(self, text: str) -> None:
        self.sent.append(text)


class OneNotification(Following):
    """Sends one notification, and keeps why it could not be sent."""

    def __init__(self) -> None:
        super().__init__(ends=True)
        self.failures: list[str] = []

    async def follow(self, *_: object) -> AsyncIterator[Any]:
        self.has_followed.set()
        yield SimpleNamespace(body=b"{}")

    async def failed(self, _key: object, _streamed: object, reason: str) -> None:
        self.failures.append(reason)


def connection(socket: Socket, following: Following) -> websockets._Connection:
    limits = ClientLimits(request_rate=0, max_connections=0, limits_open=False)
    parts = WebsocketParts(
        cast("Any", Tokens()), cast("Any", following), SystemClock(), cast("Any", None), limits
    )
    return websockets._Connection(cast("WebSocket", socket), parts)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_a_closed_connection_is_freed_without_the_garbage_collector() -> None:
    following = Following(ends=False)
    closed = connection(Socket(following.has_followed, tokens=1), following)
    await closed.serve()
    left = weakref.ref(closed)
    del closed
    assert left() is None


async def test_subscriptions_that_ended_do_not_count_against_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websockets, "MAX_BOUND", 1)
    following = Following(ends=True)
    socket = Socket(following.has_followed, tokens=3)
    await connection(socket, following).serve()
    assert socket.sent == []


async def test_more_subscriptions_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websockets, "MAX_BOUND", 1)
    following = Following(ends=False)
    socket = Socket(following.has_followed, tokens=2)

    async def disconnect_after_the_refusal(text: str) -> None:
        socket.sent.append(text)
        following.has_followed.set()

    monkeypatch.setattr(socket, "send_text", disconnect_after_the_refusal)
    await connection(socket, following).serve()
    assert len(socket.sent) == 1
    assert "too-costly" in socket.sent[0]


async def test_a_notification_that_the_connection_does_not_take_is_recorded_as_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    following = OneNotification()
    socket = Socket(following.has_followed, tokens=1)

    async def closed(_text: str) -> None:
        raise WebSocketDisconnect(1006)

    monkeypatch.setattr(socket, "send_text", closed)
    open_connection = connection(socket, following)
    await open_connection._forward(await Tokens().redeem("t"), SubscriptionId("s"), None)
    assert following.failures == ["the connection was closed"]
