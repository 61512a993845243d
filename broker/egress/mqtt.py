"""One connection to an MQTT server, over gmqtt. gmqtt's errors and log lines end here.

A message is acknowledged after its receiver has returned True, and never otherwise: the server delivers it
again on the next connection. A connection that was lost is not opened again; the caller opens another one, so
that an acknowledgement can never reach a connection on which its packet number stands for another message.

No address rule applies: the operator configures the server (decision 275).
"""

import asyncio
import contextlib
import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import gmqtt
import structlog
from gmqtt.mqtt.handler import MQTTConnectError

from broker.errors import BrokerError
from broker.model.trace import parse_traceparent

_log = structlog.get_logger(__name__)
CONNECT_S = 20.0
_CLOSE_S = 5.0
KEEPALIVE_S = 30
MAX_PACKET_BYTES = 1024 * 1024
KEY_PROPERTY, TRACE_PROPERTY = "idempotency-key", "traceparent"
"""The user properties of MQTT 5 by which a publisher names a message and its trace."""
_NO_RECONNECT = -2
"""gmqtt takes 0 for one more attempt, and -1 for endless ones."""
_REFUSED = 128
_REFUSALS = {
    4: "the user name or the password is wrong",
    5: "the server does not authorize this client",
    132: "the server does not speak this version of MQTT",
    133: "the server does not accept the client id",
    134: "the user name or the password is wrong",
    135: "the server does not authorize this client",
    140: "the server wants another way of authentication",
}
# gmqtt quotes packets, and so patients, in warnings
logging.getLogger("gmqtt").setLevel(logging.CRITICAL + 1)


class MqttUnreachable(BrokerError):  # noqa: N818 named after the condition
    """There is no connection. The message says why; it has no secret."""


@dataclass(frozen=True, slots=True)
class MqttServer:
    """How to connect. `version` is 5 or 4, which is 3.1.1. `session_s` is how long the server keeps messages
    while nobody is connected (MQTT 5), and `max_in_flight` how many it sends ahead of the acknowledgements.
    """

    host: str
    port: int
    client_id: str
    version: int = 5
    tls: ssl.SSLContext | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    session_s: int = 604_800
    max_in_flight: int = 200


class Received(NamedTuple):
    """A message. `key` is the idempotency key of its publisher, `traceparent` its trace; '' without one."""

    topic: str
    payload: bytes
    qos: int
    key: str
    traceparent: str = ""


Receive = Callable[[Received], Awaitable[bool]]
"""Takes a message; returns whether it may be acknowledged."""


class MqttLink:
    """A connection to a server. `lost` is set when it has ended, with `reason`."""

    def __init__(self, server: MqttServer, *, is_persistent: bool, storage: object = None) -> None:
        self.lost = asyncio.Event()
        self.reason = ""
        self._server = server
        properties = {"session_expiry_interval": server.session_s} if is_persistent else {}
        self._client = gmqtt.Client(
            server.client_id,
            clean_session=not is_persistent,
            optimistic_acknowledgement=False,
            persistent_storage=storage,
            receive_maximum=server.max_in_flight,
            maximum_packet_size=MAX_PACKET_BYTES,
            **properties,
        )
        self._client.set_config({"reconnect_retries": _NO_RECONNECT, "reconnect_delay": 0})
        self._client.on_disconnect = self._on_disconnect
        if server.username:
            self._client.set_auth_credentials(server.username, server.password or None)

    async def close(self) -> None:
        """Ends the connection; a persistent session stays at the server."""
        with contextlib.suppress(Exception):  # the connection is given up, in whatever state it is
            await self._client.disconnect()
        self._end("closed")

    async def _connect(self) -> None:
        """Raises `MqttUnreachable`."""
        server = self._server
        try:
            await self._until_lost(
                self._client.connect(
                    server.host,
                    server.port,
                    ssl=server.tls or False,
                    keepalive=KEEPALIVE_S,
                    version=server.version,
                )
            )
        except ssl.SSLCertVerificationError as error:
            raise MqttUnreachable(f"the certificate of the server is not valid: {error.reason}") from error
        except ssl.SSLError as error:
            raise MqttUnreachable(f"TLS fails: {error.reason}") from error
        except MQTTConnectError as error:
            raise MqttUnreachable(_refusal(error)) from error
        except OSError as error:
            raise MqttUnreachable(error.strerror or type(error).__name__) from error

    async def _until_lost(self, work: Awaitable[Any]) -> Any:
        """The result of `work`. Raises `MqttUnreachable` if the connection ends first."""
        working, lost = asyncio.ensure_future(work), asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait([working, lost], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise MqttUnreachable(self.reason)
        finally:
            lost.cancel()
            working.cancel()

    def _on_disconnect(self, _client: object, packet: object, _error: object = None) -> None:
        # gmqtt mostly misses the reason code, which comes together with the end of the connection
        code = packet[0] if isinstance(packet, bytes) and packet else 0
        end = f"the server ended the connection (reason {code})" if code else "the connection was lost"
        self._end(f"{end}; if it happens again and again, another process has the same client id")

    def _end(self, reason: str) -> None:
        if not self.lost.is_set():
            self.reason = reason
            self.lost.set()


class MqttConnection(MqttLink):
    """A connection that receives, with its subscriptions."""

    def __init__(self, server: MqttServer, receive: Receive) -> None:
        super().__init__(server, is_persistent=True)
        self._receive = receive
        self._handlers: set[asyncio.Task[Any]] = set()
        self._receiving = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._granted: asyncio.Future[Sequence[int]] = asyncio.get_running_loop().create_future()
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe

    @classmethod
    async def open(cls, server: MqttServer, topics: Sequence[tuple[str, int]], receive: Receive) -> Self:
        """Connects and subscribes to the filters, each with its QoS. Raises `MqttUnreachable`."""
        connection = cls(server, receive)
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection._connect()
                await connection._subscribe(topics)
        except TimeoutError as error:
            await connection.close()
            raise MqttUnreachable("the server does not answer in time") from error
        except BaseException:
            await connection.close()
            raise
        return connection

    async def close(self) -> None:
        """Receivers that are about to return are acknowledged; those that take seconds are not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._is_idle.wait()
        for _ in range(2):  # the end of the handler, and gmqtt's callback for it
            await asyncio.sleep(0)
        await super().close()
        if self._handlers:
            await asyncio.wait(self._handlers)

    async def _subscribe(self, topics: Sequence[tuple[str, int]]) -> None:
        self._client.subscribe([gmqtt.Subscription(topic, qos=qos) for topic, qos in topics])
        granted = await self._until_lost(self._granted)
        for (topic, qos), level in zip(topics, granted, strict=True):
            if level >= _REFUSED:
                raise MqttUnreachable(f"the server refuses the subscription to {topic}")
            if level < qos:
                _log.warning("MQTT server grants a lower QoS; messages can be lost", topic=topic, qos=level)

    async def _on_message(
        self, _client: object, topic: str | bytes, payload: bytes, qos: int, properties: Mapping[str, Any]
    ) -> int:
        """Gmqtt acknowledges when this returns 0, on a connection that is still the same."""
        task = asyncio.current_task()
        if task is not None:
            self._handlers.add(task)
            task.add_done_callback(self._handlers.discard)
        name = topic if isinstance(topic, str) else topic.decode(errors="replace")
        is_settled = False
        self._receiving += 1
        self._is_idle.clear()
        try:
            is_settled = await self._receive(Received(name, payload, qos, *_of_publisher(properties)))
        except Exception:  # noqa: BLE001 gmqtt would report it without acknowledging anything further
            _log.exception("MQTT message failed; it is not acknowledged", topic=name)
        finally:
            self._receiving -= 1
            if not self._receiving:
                self._is_idle.set()
        if not is_settled:
            await self.lost.wait()
        return 0

    def _on_subscribe(self, _client: object, _mid: int, granted: Sequence[int], _properties: object) -> None:
        if not self._granted.done():
            self._granted.set_result(granted)


def _refusal(error: MQTTConnectError) -> str:
    code = re.match(r"code (\d+)", str(error))
    return _REFUSALS.get(int(code[1]) if code else 0, f"the server refuses the connection: {error}")


def _of_publisher(properties: Mapping[str, Any]) -> tuple[str, str]:
    """The user properties of the publisher that name the message and its trace; the first of each counts."""
    given: dict[str, str] = {}
    for name, text in properties.get("user_property", ()):
        given.setdefault(name, str(text))
    return given.get(KEY_PROPERTY, ""), parse_traceparent(given.get(TRACE_PROPERTY, ""))
