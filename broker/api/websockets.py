"""The websocket channel: `/ws`, bound by tokens of `$get-ws-binding-token` (R-320..R-327).

A connection may bind several tokens. A client sends `bind-with-token <token>` as text, or JSON `{"type":
"bind-with-token", "payload": {"token": "…", "eventsSinceNumber": 12}}`. With a number, the events from it on
are sent, whether or not they were before.

A message that is refused or not understood is answered with an OperationOutcome and leaves the connection and
its other tokens alone. `{"type": "ping"}`, which browsers send because they have no protocol pings, is
answered with `{"type": "pong"}`.
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect

from broker.api.login_audit import LoginAudit, address_of
from broker.clock import Clock
from broker.delivery.following import Following
from broker.errors import Issue, StoreUnavailable, TooMany
from broker.fhir.outcomes import operation_outcome
from broker.model.audit import Requester
from broker.model.principal import ClientKey
from broker.model.subscription import SubscriptionId, SubscriptionKey
from broker.model.whole_number import whole_number
from broker.services.client_limits import ClientLimits
from broker.services.websocket_tokens import WebsocketTokenService
from broker.store.tokens import Binding
from broker.tasks import end
from broker.telemetry import metrics

MAX_BOUND = 100
MAX_MESSAGE_LENGTH = 4_096
SEND_TIMEOUT_S = 30.0
"""A connection that takes longer for one message is closed. Its events stay in the outbox."""
_POLICY_VIOLATION, _TOO_BIG, _TRY_AGAIN = 1008, 1009, 1013
_PONG = '{"type":"pong"}'
_UNAVAILABLE = "Store unavailable. Reconnect."


@dataclass(frozen=True, slots=True)
class WebsocketParts:
    """What an open websocket uses; the composition root puts it into the application's state as
    `websockets`.
    """

    tokens: WebsocketTokenService
    following: Following
    clock: Clock
    login: LoginAudit
    limits: ClientLimits


@dataclass(frozen=True, slots=True)
class _Command:
    verb: str
    token: str
    since: int | None


def _parse(text: str) -> _Command | None:
    """A message of the client; None for one that is not understood."""
    if text.lstrip().startswith("{"):
        try:
            message = json.loads(text)
            if message["type"] == "ping":
                return _Command("ping", "", None)
            payload = message["payload"]
            since = payload.get("eventsSinceNumber")
            token = str(payload["token"])
            token.encode()  # a lone surrogate is no text
            return _Command(str(message["type"]), token, None if since is None else int(since))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
    parts = text.replace(":", " ", 1).split()
    since = whole_number(parts[2]) if len(parts) == 3 else None
    if len(parts) not in {2, 3} or (len(parts) == 3 and since is None):
        return None
    return _Command(parts[0], parts[1], since)


class _Bound(NamedTuple):
    """A subscription that is sent over the connection, and the token that bound it last."""

    task: asyncio.Task[None]
    token: str


class _Connection:
    """One open websocket and the subscriptions bound to it."""

    def __init__(self, websocket: WebSocket, parts: WebsocketParts) -> None:
        self._websocket = websocket
        self._parts = parts
        self._bound: dict[SubscriptionKey, _Bound] = {}
        self._sending = asyncio.Lock()
        self._clients: set[ClientKey] = set()
        self._counted = contextlib.ExitStack()
        self._address = address_of(websocket.scope)

    async def serve(self) -> None:
        """Reads commands until the connection is closed."""
        try:
            while True:
                text = await self._receive()
                if len(text) > MAX_MESSAGE_LENGTH:
                    reason = f"The message is too long. Send at most {MAX_MESSAGE_LENGTH} characters."
                    await self._websocket.close(_TOO_BIG, reason)
                    return
                await self._obey(_parse(text))
        except WebSocketDisconnect:
            return
        except StoreUnavailable:
            await self._close(_TRY_AGAIN, _UNAVAILABLE)
        finally:
            await end([bound.task for bound in self._bound.values()])
            self._counted.close()
            self._bound.clear()  # each task refers to this connection by the exception that it ended with

    async def _receive(self) -> str:
        """The next message; a binary one is read as text. Raises `WebSocketDisconnect`."""
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000), message.get("reason"))
        text: str | None = message.get("text")
        return message["bytes"].decode(errors="replace") if text is None else text

    async def _obey(self, command: _Command | None) -> None:
        match command:
            case _Command(verb="ping"):
                await self._send(_PONG)
            case _Command(verb="unbind-from-token"):
                await self._unbind(command.token)
            case _Command(verb="bind-with-token"):
                await self._bind(command)
            case _:
                text = "The message is not understood. Send bind-with-token <token>."
                await self._send_outcome(Issue("structure", text))

    async def _bind(self, command: _Command) -> None:
        """Binds the subscriptions of a token, or answers why not."""
        binding = await self._parts.tokens.redeem(command.token)
        if binding is None:
            await self._parts.login.record_failure(self._address, "binding token refused")
            text = "The token is unknown, used or expired. Request a new one by $get-ws-binding-token."
            await self._send_outcome(Issue("security", text))
            return
        self._bound = {key: bound for key, bound in self._bound.items() if not bound.task.done()}
        if len(self._bound) + len(binding.subscriptions) > MAX_BOUND:
            text = f"More than {MAX_BOUND} subscriptions would be bound. Open another connection."
            await self._send_outcome(Issue("too-costly", text))
            return
        if not await self._count_for(binding.reader.client):
            return
        after = None if command.since is None else max(0, command.since - 1)
        for subscription_id in binding.subscriptions:
            key = binding.reader.tenant, subscription_id
            earlier = self._bound.pop(key, None)
            if earlier is not None:  # a renewed token replaces the earlier one
                await end([earlier.task])
            task = asyncio.create_task(
                self._forward(binding, subscription_id, after), name=f"websocket {subscription_id}"
            )
            self._bound[key] = _Bound(task, command.token)

    async def _count_for(self, client: ClientKey) -> bool:
        """Counts the connection as the client's. Where it has too many, sends an outcome and gives False."""
        if client in self._clients:
            return True
        try:
            self._parts.limits.check_connection(client)
        except TooMany as error:
            metrics.limit_refusals.labels(error.limit).inc()
            await self._send_outcome(error.issues[0])
            return False
        self._clients.add(client)
        self._counted.enter_context(self._parts.limits.connection(client))
        return True

    async def _unbind(self, token: str) -> None:
        """Ends what the token bound, unless another one has bound it since."""
        keys = [key for key, bound in self._bound.items() if bound.token == token]
        await end([self._bound.pop(key).task for key in keys])

    async def _forward(self, binding: Binding, subscription_id: SubscriptionId, after: int | None) -> None:
        """Sends notifications until the binding expires or the subscription ends."""
        rest_s = (binding.expires_ms - self._parts.clock.now_ms()) / 1000
        with contextlib.suppress(TimeoutError):
            try:
                async with asyncio.timeout(max(0.0, rest_s)):
                    await self._send_all(binding, subscription_id, after)
            except (WebSocketDisconnect, RuntimeError):  # RuntimeError: closed during a send
                return
            except StoreUnavailable:
                await self._close(_TRY_AGAIN, _UNAVAILABLE)

    async def _send_all(self, binding: Binding, subscription_id: SubscriptionId, after: int | None) -> None:
        reader = binding.reader
        following, key = self._parts.following, (reader.tenant, subscription_id)
        async for streamed in following.follow(
            *key, after, Requester(reader.client_id, self._address), reader
        ):
            try:
                is_sent = await self._send(streamed.body.decode())
            except (WebSocketDisconnect, RuntimeError):
                await following.failed(key, streamed, "the connection was closed")
                raise
            if not is_sent:
                reason = f"the client took no message within {SEND_TIMEOUT_S:g} s"
                await following.failed(key, streamed, reason)
                return

    async def _send_outcome(self, issue: Issue) -> None:
        await self._send(operation_outcome([issue]).decode())

    async def _send(self, text: str) -> bool:
        """Sends one message; False where the client reads too slowly and the connection was closed."""
        async with self._sending:
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._websocket.send_text(text)
            except TimeoutError:
                await self._close(_POLICY_VIOLATION, "The client reads too slowly. Reconnect.")
                return False
        return True

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await self._websocket.close(code, reason)


async def websocket(connection: WebSocket) -> None:
    """The endpoint of every websocket subscription."""
    await connection.accept()
    await _Connection(connection, connection.app.state.websockets).serve()
