"""Estimates what a broker needs for a load: processor, memory, disk and processes.

Pure arithmetic on measured figures (`sizing.tsv`), which `docs/sizing.md` explains. `fhir-broker size` shows
it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

HEADROOM = 2
"""At its limit a process has a queue: it should need less than half of a core."""
DISK_COPIES = 3
"""The file as it grows until its rewrite, the copy that a rewrite makes, and what is written meanwhile."""
_US = 1_000_000


class Figure(NamedTuple):
    """A row of the table."""

    name: str
    value: int
    unit: str
    sentence: str


@cache
def figures() -> Mapping[str, Figure]:
    """The measured figures by name."""
    lines = (Path(__file__).parent / "sizing.tsv").read_text().splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return {name: Figure(name, int(value), unit, sentence) for name, value, unit, sentence in rows}


def figure(name: str) -> int:
    return figures()[name].value


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a broker. `matches` is the number of subscriptions of which a reading is an event, on
    average. Without search, no index is kept; `audit_s` is 0 without an audit trail.
    """

    readings_per_s: float
    retention_s: float
    subscriptions: int
    matches: float = 1.0
    audit_s: float = 0.0
    has_search: bool = True

    @property
    def kept(self) -> float:
        """The readings that are stored at a time."""
        return self.readings_per_s * self.retention_s


@dataclass(frozen=True, slots=True)
class Need:
    """One line of the estimate. `arithmetic` is how it follows from the load and the figures."""

    what: str
    amount: float
    unit: str
    arithmetic: str


@dataclass(frozen=True, slots=True)
class Processes:
    """How many processes of each role, and primaries of the store. `serve` is 1 if it is enough."""

    serve: int
    api: int
    match: int
    dispatch: int
    primaries: int


def store_memory(load: Load) -> Iterator[Need]:
    """What the store needs, by kind."""
    per_reading = {
        "resources": figure("resource_memory"),
        "change log": figure("change_memory"),
        "search indexes": figure("index_memory") if load.has_search else 0,
        "other keys of readings": figure("other_memory"),
    }
    for what, size in per_reading.items():
        if size:
            yield Need(what, load.kept * size, "bytes", f"{load.kept:,.0f} readings × {size} bytes")
    size = figure("event_memory")
    yield Need(
        "events",
        load.kept * load.matches * size,
        "bytes",
        f"{load.kept * load.matches:,.0f} events × {size} bytes",
    )
    size = figure("subscription_memory")
    yield Need(
        "subscriptions",
        load.subscriptions * size,
        "bytes",
        f"{load.subscriptions:,} subscriptions × {size:,} bytes",
    )
    size = figure("attempts_memory")
    yield Need(
        "logs of attempts",
        load.subscriptions * size,
        "bytes",
        f"{load.subscriptions:,} subscriptions × {size:,} bytes",
    )
    if load.audit_s:
        audited, size = load.readings_per_s * load.audit_s, figure("audit_memory")
        # an attempt for each event; half of the entries are of the change
        amount = audited * size * (1 + load.matches) / 2
        yield Need(
            "audit trail",
            amount,
            "bytes",
            f"{audited:,.0f} readings × {size} bytes for a change and an attempt",
        )


def processor(load: Load) -> Iterator[Need]:
    """Cores of each process, at the rate of the load."""
    for what, name, per_s in (
        ("api", "api_time", load.readings_per_s),
        ("match", "match_time", load.readings_per_s),
        ("dispatch", "dispatch_time", load.readings_per_s * load.matches),
        ("store", "store_time", load.readings_per_s * max(1.0, load.matches)),
    ):
        time_us = figure(name)
        yield Need(what, per_s * time_us / _US, "cores", f"{per_s:,.0f}/s × {time_us} µs")


def serve_cores(load: Load) -> float:
    """Cores of one `serve`, in proportion to what single roles need."""
    roles = [figure(f"{role}_time") for role in ("api", "match", "dispatch")]
    share = (roles[0] + roles[1] + roles[2] * load.matches) / sum(roles)
    return load.readings_per_s * figure("serve_time") * share / _US


def processes(load: Load) -> Processes:
    """With `HEADROOM`. `serve` is 0 if one process with its store is not enough."""
    cores = {need.what: need.amount for need in processor(load)}

    def count(role: str) -> int:
        return max(1, math.ceil(cores[role] * HEADROOM))

    store_cores = load.readings_per_s * figure("serve_store_time") * max(1.0, load.matches) / _US
    fits = max(serve_cores(load), store_cores) * HEADROOM <= 1
    return Processes(int(fits), count("api"), count("match"), count("dispatch"), count("store"))


def estimate(load: Load) -> list[Need]:
    """Every line of the estimate."""
    stored = list(store_memory(load))
    memory = sum(need.amount for need in stored)
    matcher, start = figure("matcher_memory"), figure("matcher_start")
    written = figure("file_written")
    return [
        *(Need(f"store memory: {need.what}", need.amount, need.unit, need.arithmetic) for need in stored),
        Need("store memory", memory, "bytes", "the sum"),
        Need("disk of the store", DISK_COPIES * memory, "bytes", f"{DISK_COPIES} × the memory"),
        Need(
            "written to disk",
            load.readings_per_s * written,
            "bytes/s",
            f"{load.readings_per_s:,.0f}/s × {written:,} bytes",
        ),
        Need(
            "memory of each matcher",
            load.subscriptions * matcher,
            "bytes",
            f"{load.subscriptions:,} subscriptions × {matcher} bytes, besides the process itself",
        ),
        Need(
            "start of a matcher",
            load.subscriptions * start / _US,
            "s",
            f"{load.subscriptions:,} subscriptions × {start} µs",
        ),
        *(
            Need(f"processor: {need.what}", need.amount, need.unit, need.arithmetic)
            for need in processor(load)
        ),
    ]
