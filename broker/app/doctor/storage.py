"""Checks the store, the clock against that of the store, and the disk."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from broker.app.doctor.finding import Finding, State, failure, ok, warning
from broker.app.stores import unopened_store
from broker.clock import Clock
from broker.errors import ConfigurationError, StoreUnavailable
from broker.model.wording import count_of
from broker.settings import Settings
from broker.store.disk_space import EARLY, DiskSpace
from broker.store.embedded import is_answering, url_of
from broker.store.layout_record import LayoutRecord
from broker.store.node_report import NodeReport
from broker.store.redis_store import RedisStore

STORE, CLOCK, DISK = "store", "clock", "disk"
_FULL = 0.8
"""As the alert BrokerStoreMemoryFull."""
_SKEW_MS, _MAX_SKEW_MS = 1_000, 30_000
_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class CheckedStore:
    """A store that answers, still open. `is_readable`: its data is of this broker's schema."""

    store: RedisStore
    reports: Sequence[NodeReport]
    is_readable: bool


async def check_store(settings: Settings, clock: Clock) -> tuple[list[Finding], CheckedStore | None]:
    """What is found, and the store unless the other checks have to do without; the caller closes it."""
    if settings.redis_url is None and not is_answering(settings.data_dir):
        finding = f"no broker runs on BROKER_DATA_DIR={settings.data_dir}, so its store is not checked"
        return [warning(STORE, finding, "Start the broker (`fhir-broker serve`), then run this again.")], None
    store = unopened_store(settings, settings.redis_url or url_of(settings.data_dir))
    try:
        await store.open_unverified(allow_unsafe=settings.allow_unsafe_store)
        before_ms = clock.now_ms()
        reports = await store.node_reports()
        after_ms = clock.now_ms()
        findings = [*_of_nodes(reports), *_of_clock(reports, before_ms, after_ms)]
        layout = await _of_layout(store)
    except ConfigurationError as error:
        await store.close()
        action = "Correct the store's configuration; the broker does not start on it."
        return [failure(STORE, str(error), action)], None
    except StoreUnavailable as error:
        await store.close()
        action = "Check that it runs, and that BROKER_REDIS_URL has its address and password."
        return [failure(STORE, f"the store does not answer: {error}", action)], None
    return [*findings, layout], CheckedStore(store, reports, layout.state is State.OK)


async def _of_layout(store: RedisStore) -> Finding:
    try:
        await LayoutRecord(store).check()
    except ConfigurationError as error:
        return failure(STORE, str(error), "See docs/upgrading.md; the broker does not start on it.")
    return ok(STORE, "its schema, partitions and shards are those of this broker")


def _of_nodes(reports: Sequence[NodeReport]) -> Iterator[Finding]:
    for report in reports:
        limit = report.memory_limit
        used = f"version {report.version}, {report.memory / _MIB:.0f} MiB of memory in use"
        if not report.writes_file:
            yield failure(
                STORE,
                "the last write of the append-only file failed, and the store refuses writes",
                "Look at the store's log and at its disk.",
            )
        if not report.rewrites_file:
            yield warning(
                STORE,
                "the last rewrite of the append-only file failed, so the file only grows",
                "Look at the store's log, and at the free memory and disk of its machine.",
            )
        if limit and report.memory > limit * _FULL:
            yield warning(
                STORE,
                f"{used}, more than {_FULL:.0%} of its limit of {limit / _MIB:.0f} MiB",
                "Raise maxmemory, or shorten BROKER_RETENTION (docs/sizing.md).",
            )
        else:
            yield ok(STORE, used)


def _of_clock(reports: Sequence[NodeReport], before_ms: int, after_ms: int) -> Iterator[Finding]:
    """The clocks differ at least by how far the store's is outside of the time that the question took."""
    skew_ms = max(max(before_ms - each.clock_ms, each.clock_ms - after_ms, 0) for each in reports)
    servers = count_of(len(reports), "server")
    action = "Synchronize the clocks of both machines (NTP): timestamps, tokens and leases depend on them."
    if skew_ms >= _MAX_SKEW_MS:
        yield failure(CLOCK, f"this machine and the store are {skew_ms / 1000:.0f} s apart", action)
    elif skew_ms >= _SKEW_MS:
        yield warning(CLOCK, f"this machine and the store are {skew_ms / 1000:.1f} s apart", action)
    else:
        yield ok(CLOCK, f"less than a second from that of the store ({servers})")


def check_disk(settings: Settings, reports: Sequence[NodeReport]) -> Iterator[Finding]:
    """The room that the embedded store has for a rewrite of its file."""
    if settings.redis_url is not None:
        yield ok(DISK, "the store is not on this machine, or not this broker's: check its disk there")
        return
    folder = next(each for each in (settings.data_dir, *settings.data_dir.resolve().parents) if each.exists())
    needed = sum(report.memory for report in reports)
    space = DiskSpace(shutil.disk_usage(folder).free, needed)
    text = f"{space.free / _MIB:,.0f} MiB are free for {settings.data_dir}"
    action = "Free space or enlarge the disk, or shorten BROKER_RETENTION (docs/operating.md)."
    if space.is_low:
        yield failure(DISK, f"{text}, and a rewrite of the store's file needs {needed / _MIB:,.0f}", action)
    elif space.free < EARLY * needed:
        yield warning(DISK, f"{text}, less than two rewrites of the store's file need", action)
    else:
        yield ok(DISK, text)
