"""What matching one change costs while the subscriptions grow: `python -m bench.match [--json] [--quick]`.

The mix: 90 % by patient, 5 % by device, 4 % by code and threshold, 1 % unfiltered on a rare category. Each change is a heart
rate of a patient with a subscription, so it has one match, and at times its device's; the share is the same at every size. What
further matches cost is measured apart, by a change of the rare category. Prints a JSON line per figure and a table.
"""

import argparse
import gc
import json
import random
import statistics
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from broker.fhir.parameters import Parameters
from broker.fhir.topics import parse_topic
from broker.matching.index import IndexedMatcher
from broker.matching.matcher import Matcher, NaiveMatcher
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.release import Release
from broker.model.search import Filter
from broker.model.subscription import (
    Channel,
    ChannelType,
    PayloadContent,
    Subscription,
    SubscriptionId,
    SubscriptionStatus,
)
from broker.model.topic import Topic
from broker.testing.readings import GLUCOSE, HEART_RATE, LOINC, UCUM, observation

SIZES = (100, 1_000, 10_000, 100_000)
ROUNDS = 7
_TOPICS = Path(__file__).parent.parent / "topics"
_BASES = frozenset(f"https://broker.example.org/{release}" for release in Release)
_SEED = 7

Registered = tuple[Subscription, Topic]


class Figure(NamedTuple):
    """One measured value, and the most it may be."""

    name: str
    value: float
    unit: str
    at_most: float | None = None

    @property
    def holds(self) -> bool | None:
        return None if self.at_most is None else self.value <= self.at_most


def registered(size: int) -> Iterator[Registered]:
    """Made one by one, as they come from the registry: nothing else holds them."""
    vital, rare = (
        parse_topic((_TOPICS / name).read_bytes()) for name in ("vital-signs.json", "laboratory-results.json")
    )
    rng = random.Random(_SEED)
    for n in range(size):
        share = n % 100
        if share < 90:
            yield _subscription(rng, Filter("patient", f"Patient/{_patient(n // 100 * 90 + share)}")), vital
        elif share < 95:
            yield _subscription(rng, Filter("device", f"Device/{_device(n // 100 * 5 + share - 90)}")), vital
        elif share < 99:
            threshold = f"gt{rng.uniform(180, 400):.1f}|{UCUM}|/min"
            code = f"{LOINC}|{HEART_RATE.codes[0][0]}"
            yield _subscription(rng, Filter("code", code), Filter("value-quantity", threshold)), vital
        else:
            yield _subscription(rng), rare


def _patient(n: int) -> str:
    return str(uuid.UUID(int=0xA000_0000 + n))


def _device(n: int) -> str:
    return str(uuid.UUID(int=0xD000_0000 + n))


def _subscription(rng: random.Random, *filters: Filter) -> Subscription:
    return Subscription(
        tenant=DEFAULT_TENANT,
        id=SubscriptionId(str(uuid.UUID(int=rng.getrandbits(128)))),
        release=Release.R4,
        status=SubscriptionStatus.ACTIVE,
        topic="",
        filters=filters,
        channel=Channel(
            ChannelType("rest-hook"),
            "https://hooks.example.org/notify",
            (),
            "application/fhir+json",
            PayloadContent.ID_ONLY,
        ),
        document=bytes(900),
    )


def changes(size: int, count: int) -> list[Change]:
    rng = random.Random(_SEED)
    found = []
    for n in range(count):
        subject = rng.randrange(size * 9 // 10)
        resource: dict[str, Any] = observation(
            HEART_RATE, _patient(subject), "2025-03-01T08:00:00Z", rng.randrange(55, 130)
        )
        resource["device"] = {"reference": f"Device/{_device(subject)}"}
        found.append(_change(f"o{n}", resource))
    return found


def _change(name: str, resource: dict[str, Any]) -> Change:
    body = json.dumps(resource | {"id": name}).encode()
    key = VersionKey(DEFAULT_TENANT, "Observation", name, 1)
    return Change("1-0", 0, Version(key, Release.R4, Interaction.CREATE, 0, body), None)


def filled(make: Callable[..., Matcher], some: Iterable[Registered]) -> Matcher:
    matcher = make(Parameters(), _BASES)
    for one in some:
        matcher.put(*one)
    return matcher


def per_change_us(matcher: Matcher, some: list[Change]) -> float:
    """The median of the rounds; the first warms up."""
    rounds = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        for change in some:
            matcher.needs(change)
            matcher.match(change)
        rounds.append((time.perf_counter() - began) / len(some) * 1e6)
    return statistics.median(rounds[1:])


def bytes_per_subscription(size: int) -> float:
    """All that stays allocated, less what the topics alone take."""
    tracemalloc.start()
    try:
        matcher = filled(IndexedMatcher, registered(100))
        matcher.match(changes(100, 1)[0])
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        fresh = filled(IndexedMatcher, registered(size))
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        del matcher, fresh
        return (after - before) / size
    finally:
        tracemalloc.stop()


def registration_us(matcher: Matcher, some: list[Registered]) -> float:
    """Put and removed again, one by one, so that the number registered stays what it is."""
    rounds = []
    for _ in range(ROUNDS + 1):
        spent = 0.0
        for subscription, topic in some:
            began = time.perf_counter()
            matcher.put(subscription, topic)
            spent += time.perf_counter() - began
            matcher.remove(subscription.tenant, subscription.id)
        rounds.append(spent / len(some) * 1e6)
    return statistics.median(rounds[1:])


def measure(sizes: tuple[int, ...], count: int) -> Iterator[Figure]:
    most = sizes[-1]
    costs: dict[int, float] = {}
    matcher: Matcher = IndexedMatcher(Parameters(), _BASES)
    for size in sizes:
        some = list(registered(size))
        began = time.perf_counter()
        matcher = filled(IndexedMatcher, some)
        load_s = time.perf_counter() - began
        del some
        costs[size] = per_change_us(matcher, changes(size, count))
        yield Figure(f"match at {size:,}", costs[size], "µs a change", 60)
        if size <= 10_000:
            naive = filled(NaiveMatcher, registered(size))
            each = per_change_us(naive, changes(size, 20))
            yield Figure(f"every subscription evaluated, at {size:,}", each, "µs a change")
        if size == most:
            yield Figure(f"load {size:,}", load_s, "s", 15)
    yield Figure(f"match at {most:,} / at {sizes[0]:,}", costs[most] / costs[sizes[0]], "", 1.5)
    yield from _of_matches(matcher, most // 100)
    new = [_renamed(one) for one in registered(1_000)]
    with_none = registration_us(filled(IndexedMatcher, registered(100)), new)
    with_most = registration_us(matcher, new)
    yield Figure("register one with none", with_none, "µs")
    yield Figure(f"register one with {most:,}", with_most, "µs")
    yield Figure(f"register with {most:,} / with none", with_most / with_none, "", 1.2)
    yield Figure(f"memory at {most:,}", bytes_per_subscription(most), "bytes a subscription", 1536)


def _renamed(one: Registered) -> Registered:
    subscription, topic = one
    filters = tuple(
        Filter(wanted.parameter, wanted.value.replace("-0000-", "-0001-", 1))
        for wanted in subscription.filters
    )
    return _subscription(random.Random(subscription.id), *filters), topic


def _of_matches(matcher: Matcher, matching: int) -> Iterator[Figure]:
    """A change of the rare category is an event of all that wait for it."""
    many = observation(GLUCOSE, "nobody", "2025-03-01T08:00:00Z", 100)
    none = observation(HEART_RATE, "nobody", "2025-03-01T08:00:00Z", 100)
    found = len(matcher.match(_change("many", many)))
    if found != matching:
        raise SystemExit(f"{found} matches instead of {matching}")
    without = per_change_us(matcher, [_change("none", none)] * 50)
    each = (per_change_us(matcher, [_change("many", many)] * 50) - without) / found
    yield Figure("match with no match", without, "µs a change", 60)
    yield Figure("each further match", each, "µs")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.match", description="What matching a change costs.")
    parser.add_argument("--json", action="store_true", help="JSON lines only")
    parser.add_argument("--quick", action="store_true", help="up to 10,000 subscriptions, fewer changes")
    asked = parser.parse_args()
    console, table = Console(), Table("figure", "value", "unit", "at most", "holds")
    for figure in measure(SIZES[:3], 300) if asked.quick else measure(SIZES, 2_000):
        line = {"bench": "match", **figure._asdict(), "holds": figure.holds}
        print(json.dumps(line, ensure_ascii=False), flush=True)  # noqa: T201 this is what the program is for
        holds = "" if figure.holds is None else "yes" if figure.holds else "NO"
        most = "" if figure.at_most is None else f"{figure.at_most:g}"
        table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit, most, holds)
    if not asked.json:
        console.print(table)


if __name__ == "__main__":
    main()
