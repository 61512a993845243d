"""Events whose resources are damaged in the store of a broker that runs as a process, with a marker."""

from pathlib import Path
from typing import Any, cast

from redis import asyncio as redis

from broker.store.embedded import socket_path
from broker.store.resources import read_stored
from tests.integration.broker_fixture import Gate, until
from tests.integration.guarded_broker import GuardedBroker
from tests.integration.operations_client import question
from tests.metrics import total

POISON = "markerpoison"
_DAMAGED, _CUT = "damaged", "cut"


async def break_events(guarded: GuardedBroker, data: Path, reading: dict[str, Any]) -> None:
    """Makes versions of the reading events, one of them with a text that nobody can read and one without a
    text, waits until they are dead letters, and repairs them. The store of the broker is in `data`.
    """
    await _until_matched(guarded)
    held, gate = await guarded.subscribe("held"), Gate()
    guarded.subscriber.endpoint("held").answer = gate
    for n, name in enumerate(("intact", _DAMAGED, _CUT), start=1):
        await guarded.put(reading | {"id": name})
        await guarded.until_counted(held, n)
    await gate.until_entered()
    intact = await _replace_texts(data, {_DAMAGED: POISON.encode(), _CUT: b""})
    gate.opened.set()

    async def are_dead_letters() -> bool:
        response = await guarded.lab.post("/r5/$dead-letters", json=question(kind="event", count=1_000))
        assert response.status_code == 200, response.text
        return all(f"Observation/{name}" in response.text for name in (_DAMAGED, _CUT))

    await until(are_dead_letters)
    for name in (_DAMAGED, _CUT):
        for path in (f"/r4/Observation/{name}", f"/r4/Observation/{name}/_history/1"):
            assert (await guarded.lab.get(path)).status_code == 500
    await _replace_texts(data, intact)


async def _until_matched(guarded: GuardedBroker) -> None:
    """Until no change waits to be matched. One that waits when a subscription becomes active is its event."""

    async def is_matched() -> bool:
        page = (await guarded.lab.get("/metrics")).text
        has_backlog = "broker_matcher_backlog{" in page  # not while the store is unavailable
        return has_backlog and total(page, "broker_matcher_backlog") == 0

    await until(is_matched)


async def _replace_texts(data: Path, texts: dict[str, bytes]) -> dict[str, bytes]:
    """The texts of before, by id. What the string of a resource has before its text stays: the indexes need
    it.
    """
    replaced = {}
    async with redis.Redis(unix_socket_path=str(socket_path(data)), protocol=2) as store:
        for name, text in texts.items():
            (key,) = {key async for key in store.scan_iter(f"*:resource:*/{name}")}
            stored = cast("bytes", await store.get(key))
            replaced[name] = read_stored(stored).text
            await store.set(key, stored.removesuffix(replaced[name]) + text)
    return replaced
