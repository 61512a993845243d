"""The websocket channel: `/ws`, bound with tokens of `$get-ws-binding-token` (R-320..R-327).

A connection may bind several tokens. Wire form: `bind-with-token <token>` as text, or JSON
`{"type": "bind-with-token", "payload": {"token": "…", "eventsSinceNumber": 12}}`; with a number, events from it on are sent (again).
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from broker.api.services import Services
from broker.errors import StoreUnavailable
from broker.fhir.release import adapter
from broker.model.change import Tenant
from broker.model.subscription import SubscriptionId
from broker.store.tokens import Binding
from broker.tasks import end

_log = structlog.get_logger(__name__)
MAX_BOUND = 100
MAX_MESSAGE = 4_096
SEND_S = 30.0
"""A connection that takes this long to take one message is closed: what it misses stays in its outbox."""
_POLICY, _TOO_BIG, _UNUSABLE, _AGAIN = 1008, 1009, 1003, 1013


@dataclass(frozen=True, slots=True)
class _Command:
    verb: str
    token: str
    since: int | None


def _parse(text: str) -> _Command | None:
    """A message of the client; None for what is not understood."""
    if text.lstrip().startswith("{"):
        try:
            message = json.loads(text)
            payload = message["payload"]
            since = payload.get("eventsSinceNumber")
            return _Command(
                str(message["type"]), str(payload["token"]), None if since is None else int(since)
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
    parts = text.replace(":", " ", 1).split()
    if len(parts) not in {2, 3} or (len(parts) == 3 and not parts[2].isdigit()):
        return None
    return _Command(parts[0], parts[1], int(parts[2]) if len(parts) == 3 else None)


class _Connection:
    """One open websocket and the subscriptions bound to it."""

    def __init__(self, websocket: WebSocket, services: Services) -> None:
        self._websocket = websocket
        self._services = services
        self._bound: dict[tuple[Tenant, SubscriptionId], asyncio.Task[None]] = {}
        self._by_token: dict[str, Binding] = {}
        self._sending = asyncio.Lock()

    async def serve(self) -> None:
        try:
            while True:
                text = await self._websocket.receive_text()
                if len(text) > MAX_MESSAGE:
                    await self._websocket.close(_TOO_BIG, "the message is too long")
                    return
                command = _parse(text)
                if command is None or command.verb not in {"bind-with-token", "unbind-from-token"}:
                    await self._websocket.close(_UNUSABLE, "send bind-with-token <token>")
                    return
                if command.verb == "unbind-from-token":
                    await self._unbind(command.token)
                elif not await self._bind(command):
                    return
        except (WebSocketDisconnect, KeyError):  # Starlette raises KeyError for a binary message
            return
        except StoreUnavailable:
            await self._close(_AGAIN, "the store is away; connect again")
        finally:
            await end(self._bound.values())

    async def _bind(self, command: _Command) -> bool:
        binding = await self._services.tokens.redeem(command.token)
        if binding is None:
            await self._websocket.close(_POLICY, "the token is unknown, used or expired; get a new one")
            return False
        if len(self._bound) + len(binding.subscriptions) > MAX_BOUND:
            await self._websocket.close(_POLICY, f"at most {MAX_BOUND} subscriptions a connection")
            return False
        self._by_token[command.token] = binding
        after = None if command.since is None else max(0, command.since - 1)
        for one in binding.subscriptions:
            earlier = self._bound.pop((binding.tenant, one), None)
            if earlier is not None:  # a renewed token takes over
                await end([earlier])
            task = asyncio.create_task(self._forward(binding, one, after), name=f"websocket {one}")
            self._bound[binding.tenant, one] = task
        return True

    async def _unbind(self, token: str) -> None:
        binding = self._by_token.pop(token, None)
        for one in binding.subscriptions if binding else ():
            task = self._bound.pop((binding.tenant, one), None) if binding else None
            if task is not None:
                await end([task])

    async def _forward(self, binding: Binding, one: SubscriptionId, after: int | None) -> None:
        """Sends until the binding expires or the subscription ends."""
        left_s = (binding.expires_ms - self._services.clock.now_ms()) / 1000
        with contextlib.suppress(TimeoutError):
            try:
                async with asyncio.timeout(max(0.0, left_s)):
                    await self._send_all(binding.tenant, one, after)
            except (WebSocketDisconnect, RuntimeError):  # RuntimeError: closed while it was sent
                return
            except StoreUnavailable:
                await self._close(_AGAIN, "the store is away; connect again")

    async def _send_all(self, tenant: Tenant, one: SubscriptionId, after: int | None) -> None:
        services = self._services
        async for notification in services.following.follow(tenant, one, after):
            base = f"{services.base_url}/{notification.release}"
            body = adapter(notification.release).render_notification(notification, base=base)
            async with self._sending:
                try:
                    async with asyncio.timeout(SEND_S):
                        await self._websocket.send_text(body.decode())
                except TimeoutError:
                    await self._close(_POLICY, "messages are not taken")
                    return

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await self._websocket.close(code, reason)


async def websocket(connection: WebSocket) -> None:
    """The endpoint of every websocket subscription."""
    await connection.accept()
    await _Connection(connection, connection.app.state.services).serve()
