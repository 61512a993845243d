"""The disk of the embedded store: what is reported, and when its file is rewritten early."""

import os
from collections.abc import AsyncIterator
from types import SimpleNamespace

import httpx
import pytest
import redis
from structlog.testing import capture_logs

from broker.api.authentication import authenticate_open
from broker.api.login_audit import LoginAudit
from broker.app.api import build_health_app
from broker.services.health import Health
from broker.services.login_failures import LoginFailures
from broker.store.audit_journal import AuditJournal
from broker.store.change_log import ChangeLog
from broker.store.counters import Counters
from broker.store.disk_space import DiskSpace, DiskWatch, read_disk_space
from broker.store.embedded import EmbeddedServer
from broker.store.protocol import Store
from broker.store.redis_store import connect
from tests.conftest import LAYOUT
from tests.integration.broker_fixture import until, until_ready

MIB = 1024**2
AUTOMATIC = 16 * MIB
"""The server rewrites a file that has grown beyond this by itself."""


def test_a_file_that_has_grown_is_rewritten_while_there_is_room_for_two_copies() -> None:
    assert DiskSpace(free=150, needed=100).rewrites_early(200, 100)
    assert not DiskSpace(free=250, needed=100).rewrites_early(200, 100)


def test_a_rewrite_that_gives_little_back_or_has_no_room_is_not_started() -> None:
    assert not DiskSpace(free=150, needed=100).rewrites_early(120, 100)
    assert not DiskSpace(free=90, needed=100).rewrites_early(200, 100)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The free space of every disk; tests change its `f_bavail`."""
    space = SimpleNamespace(f_bavail=0, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _path: space)
    return space


@pytest.fixture
async def store(embedded: EmbeddedServer, client: redis.Redis) -> AsyncIterator[Store]:
    """The embedded store, whatever `--store` says."""
    client.flushall()
    store = connect(embedded.url, LAYOUT)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def client(embedded: EmbeddedServer) -> redis.Redis:
    return redis.Redis.from_url(embedded.url, protocol=2)


async def test_a_disk_without_room_is_reported_once_by_log_metric_and_readiness(
    store: Store, embedded: EmbeddedServer, client: redis.Redis, free: SimpleNamespace
) -> None:
    watch = DiskWatch(embedded.data_dir, embedded.url)
    health = Health(store, ChangeLog(store, max_changes=1_000), Counters(store), takes_changes=False)
    transport = httpx.ASGITransport(
        build_health_app(health, LoginAudit(authenticate_open, LoginFailures(AuditJournal(store))))
    )
    with capture_logs() as logs:
        async with httpx.AsyncClient(transport=transport, base_url="http://broker") as http:
            assert "warnings" not in (await until_ready(http)).json()
            space = watch.check(client)
            assert watch.check(client).is_low
            assert (space.free, space.is_low) == (0, True)
            assert (await read_disk_space(store) or space).free == 0
            answer = await until_ready(http)
            assert "0 bytes are free" in answer.json()["warnings"]["disk"]

            async def shows_it() -> bool:
                return "broker_store_disk_free_bytes 0.0" in (await http.get("/metrics")).text

            await until(shows_it)
            free.f_bavail = 100 * space.needed
            watch.check(client)
            assert "warnings" not in (await until_ready(http)).json()
    assert [(line["log_level"], line["event"].partition(";")[0]) for line in logs] == [
        ("error", "disk has no room to rewrite the append-only file"),
        ("info", "disk has room again"),
    ]


async def rewrite_afresh(client: redis.Redis) -> int:
    """The number of rewrites so far, once a rewrite of the empty store has ended: only the broker starts
    another one until more is written than the automatic limit.
    """
    client.flushall()

    async def is_started() -> bool:
        """False while a rewrite of what was there before is under way."""
        try:
            client.bgrewriteaof()
        except redis.ResponseError:
            return False
        return True

    async def is_idle() -> bool:
        info = client.info("persistence")
        return not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]

    await until(is_started)
    await until(is_idle)
    info = client.info("persistence")
    assert (info["aof_last_bgrewrite_status"], info["aof_current_size"] < MIB) == ("ok", True)
    return int(info["aof_rewrites"])


async def until_rewritten(client: redis.Redis, rewrites: int) -> None:
    """Until one more than this number of rewrites has ended, and the file is smaller than the limit."""

    async def is_rewritten() -> bool:
        info = client.info("persistence")
        is_due = info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]
        return not is_due and info["aof_rewrites"] > rewrites

    await until(is_rewritten)
    assert client.info("persistence")["aof_current_size"] < AUTOMATIC


async def test_the_file_is_rewritten_before_the_disk_is_full(
    store: Store, embedded: EmbeddedServer, client: redis.Redis, free: SimpleNamespace
) -> None:
    rewrites = await rewrite_afresh(client)
    for n in range(50):  # 10 MiB in all, of which 4 MiB stay: much more than the buffers of the connections
        client.set(f"large-{n % 20}", os.urandom(MIB // 10).hex())
    info = client.info("persistence")
    assert (info["aof_rewrites"], info["aof_current_size"] < AUTOMATIC) == (rewrites, True)
    free.f_bavail = round(1.5 * client.info("memory")["used_memory"])
    with capture_logs() as logs:
        DiskWatch(embedded.data_dir, embedded.url).check(client)
    assert [line["event"] for line in logs] == [
        "append-only file is rewritten early, because the disk is filling"
    ]
    await until_rewritten(client, rewrites)


async def test_a_file_of_a_small_store_is_rewritten_before_it_takes_long_to_replay(
    embedded: EmbeddedServer, client: redis.Redis
) -> None:
    rewrites = await rewrite_afresh(client)
    value = os.urandom(MIB // 10).hex()
    for _ in range(100):  # 20 MiB in all
        client.set("large", value)
    await until_rewritten(client, rewrites)
