"""Publishes to an MQTT server, and waits for its acknowledgements. `fhir-broker simulate` uses it."""

import asyncio
from typing import Self

from broker.egress.mqtt import CONNECT_S, KEY_PROPERTY, TRACE_PROPERTY, MqttLink, MqttServer, MqttUnreachable


class _Unacknowledged:
    """What gmqtt keeps of messages until they are acknowledged: here, who waits for that."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.last: asyncio.Future[None] | None = None

    def push_message(self, mid: int, _packet: bytes) -> None:
        self.last = self._waiting[mid] = asyncio.get_running_loop().create_future()

    def remove_message_by_mid(self, mid: int) -> None:
        future = self._waiting.pop(mid, None)
        if future is not None and not future.done():
            future.set_result(None)

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    async def wait_empty(self) -> None:
        """A connection is new, and has nothing to send again."""

    def clear(self) -> None:
        self._waiting.clear()

    def get_all(self) -> list[tuple[int, bytes]]:
        return []


class MqttPublisher(MqttLink):
    """A connection that sends."""

    def __init__(self, server: MqttServer) -> None:
        self._unacknowledged = _Unacknowledged()
        super().__init__(server, is_persistent=False, storage=self._unacknowledged)

    @classmethod
    async def open(cls, server: MqttServer) -> Self:
        """Raises `MqttUnreachable`."""
        publisher = cls(server)
        try:
            async with asyncio.timeout(CONNECT_S):
                await publisher._connect()
        except TimeoutError as error:
            await publisher.close()
            raise MqttUnreachable("the server does not answer in time") from error
        except BaseException:
            await publisher.close()
            raise
        return publisher

    async def publish(self, topic: str, payload: bytes, *, key: str = "", traceparent: str = "") -> None:
        """Returns when the server has the message (QoS 1). Raises `MqttUnreachable` if the connection ends
        before: the server may have it.
        """
        if self.lost.is_set():
            raise MqttUnreachable(self.reason)
        pairs = [pair for pair in ((KEY_PROPERTY, key), (TRACE_PROPERTY, traceparent)) if pair[1]]
        properties = {"user_property": pairs} if pairs else {}
        self._client.publish(topic, payload, qos=1, **properties)
        acknowledged = self._unacknowledged.last
        if acknowledged is not None:
            await self._until_lost(acknowledged)
