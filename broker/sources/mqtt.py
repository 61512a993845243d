"""The MQTT source: admits the messages of a server as readings.

A message is acknowledged after the readings of it are on disk: accepted, found to be repetitions, or in
quarantine. While the store is unavailable, nothing is acknowledged and the same messages are tried again. A
message that is delivered again is no second reading, since a reading is known by its device, type and time.

The process `fhir-broker mqtt` runs it.
"""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import structlog

from broker.clock import Clock
from broker.egress.mqtt import MqttUnreachable, Receive, Received
from broker.errors import Overloaded, StoreUnavailable
from broker.ingest.readings.values import RawReading, ReadingResult
from broker.sources.mqtt_topics import TopicRules
from broker.tasks import end, first_of, sleep_unless
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
MAX_BATCH = 200
MAX_WAITING = 10_000
"""No server holds messages of QoS 0 back: what exceeds this number while the store is unavailable is lost."""
_RETRY_S, _MAX_RETRY_S = 0.5, 30.0


class ReadingAdmission(Protocol):
    """What `broker.ingest.readings.intake.ReadingIntake` gives to this source."""

    async def admit(self, readings: Sequence[RawReading]) -> Sequence[ReadingResult]:
        """The results in the order of the readings. Raises `StoreUnavailable`: nothing is known of them."""
        ...


class Connection(Protocol):
    """An open connection; `lost` is set when it has ended."""

    lost: asyncio.Event
    reason: str

    async def close(self) -> None: ...


Connect = Callable[[Sequence[tuple[str, int]], Receive], Awaitable[Connection]]
"""Opens a connection and subscribes. Raises `MqttUnreachable`."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """A message that is to be admitted; `settled` gets whether it may be acknowledged."""

    topic: str
    readings: Sequence[RawReading]
    qos: int
    settled: "asyncio.Future[bool]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class MqttSource:
    """`run` keeps a connection open until `stop` is set, and then ends after the messages under way."""

    def __init__(
        self,
        connect: Connect,
        rules: TopicRules,
        intake: ReadingAdmission,
        clock: Clock,
        stop: asyncio.Event,
        *,
        retry_s: float = _RETRY_S,
    ) -> None:
        self._connect = connect
        self._rules = rules
        self._intake = intake
        self._clock = clock
        self._stop = stop
        self._retry_s = retry_s
        self.problem = "not connected yet"
        """Why there is no connection; '' while there is one. `/readyz` shows it."""

    def state(self) -> str:
        return self.problem or "ok"

    async def run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            session = _Session(self._rules, self._intake, self._clock, self._stop, self._retry_s)
            try:
                connection = await first_of(
                    self._connect(self._rules.subscriptions, session.receive), self._stop
                )
            except MqttUnreachable as error:
                failures += 1
                self._report(str(error), failures)
            else:
                if connection is None:
                    return
                failures = 1
                self.problem = ""
                _log.info("MQTT connected", topics=len(self._rules.subscriptions))
                try:
                    await session.admit_until_lost(connection)
                finally:
                    await connection.close()
                if not self._stop.is_set():
                    self._report(connection.reason, failures)
            await sleep_unless(self._stop, pause_s(failures, self._retry_s))

    def _report(self, problem: str, failures: int) -> None:
        if problem != self.problem or failures == 1:
            _log.warning("MQTT not connected; it is tried again", reason=problem)
        self.problem = problem


class _Session:
    """What one connection has brought. It ends with the connection: the server sends the rest again."""

    def __init__(
        self,
        rules: TopicRules,
        intake: ReadingAdmission,
        clock: Clock,
        stop: asyncio.Event,
        retry_s: float,
    ) -> None:
        self._rules = rules
        self._intake = intake
        self._clock = clock
        self._stop = stop
        self._retry_s = retry_s
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()

    async def receive(self, message: Received) -> bool:
        """Whether the message may be acknowledged: it is settled, for good."""
        rule = self._rules.find(message.topic)
        if rule is None:
            metrics.mqtt_messages.labels("no-rule").inc()
            return True
        if self._stop.is_set():
            return False
        if message.qos == 0 and len(self._waiting) >= MAX_WAITING:
            metrics.mqtt_messages.labels("lost").inc()
            return True
        received = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        readings = rule.readings(message.topic, message.payload, message.key, received, message.traceparent)
        if not readings:  # an empty list, or no lines
            return True
        waiting = _Waiting(message.topic, readings, message.qos)
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.settled

    async def admit_until_lost(self, connection: Connection) -> None:
        """Admits messages until the connection ends, or a stop is requested and those under way are done."""
        admitting = asyncio.ensure_future(self._admit_all())
        try:
            await first_of(asyncio.shield(admitting), connection.lost)
        finally:
            await end([admitting])
            for waiting in self._waiting:
                if not waiting.settled.done():
                    waiting.settled.set_result(False)

    async def _admit_all(self) -> None:
        while True:
            await first_of(self._arrived.wait(), self._stop)
            if not self._waiting:
                if self._stop.is_set():
                    return
                self._arrived.clear()
                continue
            batch = list(itertools.islice(self._waiting, MAX_BATCH))
            await self._admit(batch)
            while self._waiting and self._waiting[0].settled.done():
                self._waiting.popleft()
            if not batch[-1].settled.done():
                return  # a stop was requested while the store is unavailable: the server keeps the messages

    async def _admit(self, batch: Sequence[_Waiting]) -> None:
        """Settles the messages, unless a stop is requested while the store is unavailable."""
        failures = 0
        while True:
            try:
                await self._admit_once([waiting for waiting in batch if not waiting.settled.done()])
            except StoreUnavailable as error:
                failures += 1
                if failures == 1:
                    _log.warning("MQTT messages wait for the store", messages=len(batch), reason=str(error))
                least_s = error.retry_after_s if isinstance(error, Overloaded) else 0.0
                if await sleep_unless(self._stop, max(least_s, pause_s(failures, self._retry_s))):
                    return
            else:
                return

    async def _admit_once(self, batch: Sequence[_Waiting]) -> None:
        """Raises `StoreUnavailable`; then some messages may be settled."""
        try:
            results = await self._intake.admit([reading for waiting in batch for reading in waiting.readings])
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001 whatever the code fails on
            if len(batch) > 1:  # the one that makes the code fail must not stop the others
                for waiting in batch:
                    await self._admit_once([waiting])
                return
            _log.exception("MQTT message failed; the server keeps it", topic=batch[0].topic)
            metrics.mqtt_messages.labels("failed").inc()
            batch[0].settled.set_result(False)
            return
        for result in results:
            metrics.mqtt_messages.labels(result.status.value).inc()
        for waiting in batch:
            waiting.settled.set_result(True)


def pause_s(failures: int, base_s: float) -> float:
    """Seconds until the next attempt after so many failures in a row."""
    longest = min(_MAX_RETRY_S, base_s * 2.0 ** min(max(failures - 1, 0), 20))
    return longest * random.uniform(0.5, 1.0)
