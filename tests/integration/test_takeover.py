"""The next process after one that was killed, suspended or stopped, as processes with signals."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from broker.store import keys
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.faults.processes import BrokerProcess, StoreProcess, started
from tests.integration.broker_fixture import WAIT_S, Gate, Script, until
from tests.integration.commands import Command
from tests.integration.test_processes import connect
from tests.ports import free_port

_VOID = "leases of processes that ended are void"
_SHARDS = 4


def ids_by_number(endpoint: Endpoint) -> dict[int, set[str]]:
    """The ids of the resources that came under each event number, refused requests included."""
    ids: dict[int, set[str]] = {}
    for notification in endpoint.notifications:
        for event in notification.events:
            ids.setdefault(event.number, set()).add(event.focus.rpartition("/")[2])
    return ids


async def until_bindable(port: int) -> None:
    """Until the workers of a killed supervisor have ended, which takes the port from them."""

    async def is_bindable() -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return True
        return False

    await until(is_bindable)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
async def test_after_a_kill_the_next_owner_of_the_store_waits_for_no_lease(
    tmp_path: Path, subscriber: SimulatedSubscriber, workers: Sequence[str]
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    serve = Command.of_broker(
        tmp_path, "serve", *workers, port=str(port), data_dir=str(tmp_path / "data"), drain="100ms"
    )
    endpoint = subscriber.endpoint("a")
    with serve:
        await serve.until_ready(base)
        async with connect(base, subscriber) as broker_fixture:
            subscription_id = await broker_fixture.subscribe("a", max_count=2)
            gate = endpoint.answer = Gate()
            sent = await broker_fixture.send_in_order(subscription_id, 5)
            await gate.until_entered()
            serve.kill()
            endpoint.answer = Script()
            gate.opened.set()
            await until_bindable(port)
            serve.spawn()
            await serve.until_output(_VOID, times=2)  # the first start had nothing to void
            await serve.until_ready(base)
            sent += await broker_fixture.send_in_order(subscription_id, 3)
            await broker_fixture.until_numbers("a", 8)
        assert await serve.stop() == 0
    assert "Traceback" not in serve.output
    by_number = ids_by_number(endpoint)
    assert all(len(ids) == 1 for ids in by_number.values()), "a number stands for one event"
    assert [by_number[number] for number in sorted(by_number)] == [{name} for name in sent]


async def test_a_dispatcher_that_outlives_the_owner_is_waited_for_and_its_late_commit_is_refused(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    serve = Command.of_broker(tmp_path, "serve", port=str(port), data_dir=str(tmp_path / "data"))
    attached = BrokerProcess(
        "dispatch",
        tmp_path,
        redis_url=f"unix://{tmp_path}/data/valkey.sock",
        base_url=base,
        log_level="info",
    )
    endpoint = subscriber.endpoint("a")
    with serve:
        await serve.until_ready(base)
        async with started(attached), connect(base, subscriber) as broker_fixture:
            subscription_id = await broker_fixture.subscribe("a")
            endpoint.answer = Script(*[503] * 10_000)
            sent = await broker_fixture.send(1)
            await broker_fixture.until_counted(subscription_id, 1)
            os.kill(serve.pid, signal.SIGSTOP)  # its store runs on, and the attached process sends
            before = len(endpoint.received)
            # one request may still be of the process that was stopped; from the second on they are not
            assert await subscriber.wait_until(lambda: len(endpoint.received) >= before + 2, WAIT_S)
            gate = endpoint.answer = Gate()
            await gate.until_entered()
            attached.suspend()
            serve.kill()
            endpoint.answer = Script()
            serve.spawn()
            await serve.until_ready(base)
            await broker_fixture.until_numbers("a", 1)
            attached.resume()
            gate.opened.set()
            # before there is more to send: a newer claim of the same process would cancel the late attempt
            async with asyncio.timeout(WAIT_S):
                while "claim lost" not in attached.log.read_text():  # noqa: ASYNC110 another process sets no event
                    await asyncio.sleep(0.02)
            sent += await broker_fixture.send_in_order(subscription_id, 3)
            await broker_fixture.until_numbers("a", 4)
    assert serve.output.count(_VOID) == 1, "the second owner was not alone"
    assert ids_by_number(endpoint) == {number: {name} for number, name in enumerate(sent, start=1)}


async def test_a_stop_on_a_shared_store_gives_everything_back_at_once(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    store = StoreProcess(tmp_path)
    await store.start()
    broker = BrokerProcess("serve", tmp_path, redis_url=store.url, drain="200ms")
    try:
        async with started(broker):
            async with connect(broker.base, subscriber) as broker_fixture:
                await broker_fixture.subscribe("a")
                gate = subscriber.endpoint("a").answer = Gate()
                await broker_fixture.send(2)
                await gate.until_entered()
            assert await broker.stop()
        client: Any = redis.Redis.from_url(store.url, protocol=2, decode_responses=True)
        try:
            leases = await client.hgetall(keys.LEASES)
            assert set(leases) == {"0", "1", "2", "3", "inbox", "readings"}
            assert {lease.rpartition(" ")[2] for lease in leases.values()} == {"0"}
            assert await client.exists(keys.MATCHERS, keys.PROCESSES) == 0
            now_ms = int((await client.time())[0]) * 1000 + 1000
            due = [
                moment
                for shard in range(_SHARDS)
                for _, moment in await client.zrange(keys.due(shard), 0, -1, withscores=True)
            ]
            assert len(due) == 1
            assert due[0] <= now_ms, "the claim was released, and is due now"
        finally:
            await client.aclose()
        gate.opened.set()
        subscriber.endpoint("a").answer = Script()
        async with started(broker), connect(broker.base, subscriber) as broker_fixture:
            await broker_fixture.until_numbers("a", 2)
    finally:
        store.kill()
