"""What the log of attempts costs: processor time and rate with and without it, in turns, with one event for
each notification, so with one attempt for each event; and bytes for an attempt.

The subscriptions keep as many attempts as they may before it is measured, so that each one displaces another.
Besides, the entry is measured by itself, in this process and in the store, where the load of the machine
changes little: `share` is both of them, of the processor time of an event without the log.
"""

import contextlib
import statistics
from collections.abc import AsyncIterator
from typing import cast

import redis.asyncio as redis

from bench.figures import Figure, paired_ratio
from bench.processor_time import lowest_us
from bench.rig import Program, broker, patients, register
from bench.segments import Segment, drive, listening
from broker.clock import SystemClock
from broker.delivery.attempt_log import AttemptLog
from broker.model.change import DEFAULT_TENANT, Interaction, VersionKey
from broker.model.notification import Event, Notification, NotificationType
from broker.model.outcome import Delivered
from broker.model.release import Release
from broker.model.subscription import PayloadContent, SubscriptionId, SubscriptionStatus
from broker.model.uuids import uuid_of_names
from broker.store import attempt_keys, keys
from broker.store.attempt_records import NewAttempt
from broker.store.attempts import Attempts
from broker.store.bodies import UNSEALED
from broker.store.claims import Claim
from broker.store.memory_sample import kind_of
from broker.store.scripts.source import source_of

BENCH = "attempts"
MOST_CPU = 1.03
"""With the log an event may take so much processor time, compared with none."""
_KEPT = 50
"""As many attempts that delivered are kept of a subscription."""
_URL = "https://ehr.example.org/fhir/notifications"
_HEADERS = (("Content-Type", "application/fhir+json"), ("Authorization", "Bearer 0123456789"))
_BODY = b'{"resourceType":"Bundle","type":"subscription-notification"}'.ljust(1_500)
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_EVENT = Event(
    17,
    0,
    VersionKey(DEFAULT_TENANT, "Observation", uuid_of_names("o"), 1),
    Release.R4,
    Interaction.CREATE,
    trace=_TRACE,
)
_CLAIM = Claim(
    tenant=DEFAULT_TENANT,
    id=SubscriptionId(uuid_of_names("s")),
    shard=0,
    token=1,
    type=NotificationType.EVENT_NOTIFICATION,
    status=SubscriptionStatus.ACTIVE,
    count=17,
    at_ms=0,
    attempts=0,
    since_ms=0,
    now_ms=0,
    events=(_EVENT,),
    revision="r",
)
_NOTIFICATION = Notification(
    id=uuid_of_names("n"),
    type=_CLAIM.type,
    release=Release.R4,
    subscription=_CLAIM.id,
    topic="",
    status=_CLAIM.status,
    content=PayloadContent.ID_ONLY,
    events_since_start=17,
    at_ms=0,
)


class _NoAttempts(Attempts):
    """Nothing is written: the commit does that."""

    def __init__(self) -> None:
        pass


_LOG = AttemptLog(_NoAttempts(), UNSEALED, SystemClock())


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Yields figures as soon as they are measured."""
    rounds, count = (5, 2_000) if is_quick else (11, 4_000)
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        programs: dict[str, Program] = {
            "without": await stack.enter_async_context(broker(settings={"attempt_log": "off"})),
            "with": await stack.enter_async_context(broker()),
        }
        names = patients("patient")[:20]
        for program in programs.values():
            await register(program, sink, names)
        for program in programs.values():  # warms up, and fills the logs
            await drive(program, sink, names, max(count, _KEPT * len(names)))
        runs: dict[str, list[Segment]] = {name: [] for name in programs}
        for _ in range(rounds):
            for name, program in programs.items():
                runs[name].append(await drive(program, sink, names, count))
        async for figure in _sizes(programs["with"], len(names)):
            yield figure
        process_us = lowest_us(_entry, 500 if is_quick else 5_000)
        store_us = await _store_us(programs["with"], 20_000 if is_quick else 100_000)
    for name, segments in runs.items():
        cpu_us = statistics.median(_cpu(segments))
        yield Figure(BENCH, f"CPU {name}", cpu_us, "µs/event")
        yield Figure(BENCH, f"rate {name}", statistics.median(each.per_s for each in segments), "events/s")
    yield Figure(BENCH, "an entry, in the process", process_us, "µs")
    yield Figure(BENCH, "an entry, in the store", store_us, "µs")
    share = (process_us + store_us) / statistics.median(_cpu(runs["without"]))
    yield Figure(BENCH, "share of an event", share, at_most=MOST_CPU - 1)
    for process in runs["with"][0].cpu_us:
        ratio = paired_ratio(*([each.cpu_us[process] for each in runs[name]] for name in ("with", "without")))
        yield Figure(BENCH, f"CPU of {process} with / without", ratio)
    cpu = paired_ratio(_cpu(runs["with"]), _cpu(runs["without"]))
    yield Figure(BENCH, "CPU with / without", cpu, at_most=MOST_CPU)
    rates = {name: [segment.per_s for segment in segments] for name, segments in runs.items()}
    yield Figure(BENCH, "rate with / without", paired_ratio(rates["with"], rates["without"]))


def _cpu(segments: list[Segment]) -> list[float]:
    """The processor time of all processes, of each segment."""
    return [sum(segment.cpu_us.values()) for segment in segments]


async def _sizes(program: Program, subscriptions: int) -> AsyncIterator[Figure]:
    """The bytes of memory of the log for each subscription and attempt."""
    async with redis.Redis.from_url(program.store_url, protocol=2) as client:
        used = entries = 0
        async for key in client.scan_iter(match="*attempt*", count=1_000):
            used += int(await client.memory_usage(key, samples=0) or 0)
            if kind_of(key) == "attempts":
                entries += int(await client.xlen(key))
        yield Figure(BENCH, "attempts of a subscription", entries / subscriptions)
        yield Figure(BENCH, "log of a subscription, memory", used / subscriptions, "bytes")
        yield Figure(BENCH, "memory for an attempt", used / max(1, entries), "bytes")


def _entry() -> NewAttempt:
    """What the dispatcher does for an attempt besides sending."""
    exchange = _LOG.start_claimed(_CLAIM, _NOTIFICATION, _URL)
    if exchange is not None:
        exchange.sent(_BODY, _HEADERS)
        exchange.answered(200, b"")
    try:
        _LOG.ended(_CLAIM, Delivered()).send(None)
    except StopIteration as ended:  # it waits for nothing
        (entry,) = ended.value
        return cast("NewAttempt", entry)
    raise AssertionError


async def _store_us(program: Program, calls: int) -> float:
    """The processor time of the store for writing an attempt: that of a script which does, less that of one
    which does nothing. The commit looks for two things less.
    """
    key = (DEFAULT_TENANT, SubscriptionId("bench"))
    names = [keys.subscription(0, *key), *attempt_keys.of_subscription(0, key)]
    entries = [_entry() for _ in range(1_000)]
    async with redis.Redis.from_url(program.store_url, protocol=2) as client:
        await client.hset(names[0], "status", "active")
        used = []
        for source in ("return 1", source_of("append_attempts")):
            script = await client.script_load(source)
            before = program.cpu_s()["store"]
            for _ in range(0, calls, len(entries)):
                async with client.pipeline(transaction=False) as pipeline:
                    for entry in entries:
                        pipeline.evalsha(script, len(names), *names, _KEPT, 4 * _KEPT, 0, *entry)
                    await pipeline.execute()
            used.append(program.cpu_s()["store"] - before)
        await client.delete(*names)
    return (used[1] - used[0]) / calls * 1e6
