"""The cost of matching one change as the number of subscriptions grows: `python -m bench.match [--json]
[--quick]`.

90 % of the subscriptions filter by patient, 5 % by device, 4 % by code and threshold, and 1 % have no filter
on a topic about a rare category. Each change is a heart rate of a patient with a subscription, so it matches
that subscription and sometimes the one for its device; the shares are the same at every size. A change of the
rare category measures the cost of many matches. The measured time is processor time, from the stored bytes of
a change to the list of matches. Prints one JSON line per figure, and a table.
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

from broker.fhir.search_parameters import SearchParameters
from broker.fhir.topics import parse_topic
from broker.matching.context import SearchContext
from broker.matching.index import IndexedMatcher
from broker.matching.matcher import Matcher
from broker.matching.naive import NaiveMatcher
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
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
_NOW = "2025-03-01T08:00:00Z"

Registered = tuple[Subscription, Topic]


class Figure(NamedTuple):
    """One measured value and its limit."""

    name: str
    value: float
    unit: str
    at_most: float | None = None

    @property
    def holds(self) -> bool | None:
        """None without a limit."""
        return None if self.at_most is None else self.value <= self.at_most


def registered(size: int) -> Iterator[Registered]:
    """Generated one at a time, as the registry delivers them, so that only the matcher keeps them."""
    vital, rare = (
        parse_topic(Resource((_TOPICS / name).read_bytes()))
        for name in ("vital-signs.json", "laboratory-results.json")
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
    changes = []
    for n in range(count):
        subject = rng.randrange(size * 9 // 10)
        resource: dict[str, Any] = observation(HEART_RATE, _patient(subject), _NOW, rng.randrange(55, 130))
        resource["device"] = {"reference": f"Device/{_device(subject)}"}
        changes.append(_change(f"o{n}", resource))
    return changes


def _change(name: str, resource: dict[str, Any]) -> Change:
    body = json.dumps(resource | {"id": name}).encode()
    key = VersionKey(DEFAULT_TENANT, "Observation", name, 1)
    return Change("1-0", 0, Version(key, Release.R4, Interaction.CREATE, 0, Resource(body)), None)


def filled(matcher_type: Callable[[SearchContext], Matcher], registrations: Iterable[Registered]) -> Matcher:
    matcher = matcher_type(SearchContext(SearchParameters(), _BASES))
    for subscription, topic in registrations:
        matcher.put(subscription, topic)
    return matcher


def in_turns(jobs: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The median of the rounds of each job.

    The jobs take turns, so that other load on the machine affects all of them. The first round is a warm-up.
    """
    rounds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS + 1):
        for name, job in jobs.items():
            rounds[name].append(job())
    return {name: statistics.median(values[1:]) for name, values in rounds.items()}


def matching_us(matcher: Matcher, changes: list[Change]) -> Callable[[], float]:
    def measured() -> float:
        began = time.process_time()
        for change in changes:
            matcher.needs(change)
            matcher.match(change)
        return (time.process_time() - began) / len(changes) * 1e6

    return measured


def registering_us(matcher: Matcher, registrations: list[Registered]) -> Callable[[], float]:
    """Adds and removes one subscription at a time, so that their number stays constant."""

    def measured() -> float:
        spent = 0.0
        for subscription, topic in registrations:
            began = time.process_time()
            matcher.put(subscription, topic)
            spent += time.process_time() - began
            matcher.remove(subscription.tenant, subscription.id)
        return spent / len(registrations) * 1e6

    return measured


def bytes_per_subscription(size: int) -> float:
    """The allocated memory, without what the topics alone take."""
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


def measure(sizes: tuple[int, ...], count: int) -> Iterator[Figure]:
    smallest, largest = sizes[0], sizes[-1]
    matchers: dict[int, Matcher] = {}
    load_s = 0.0
    for size in sizes:
        registrations = list(registered(size))
        began = time.process_time()
        matchers[size] = filled(IndexedMatcher, registrations)
        load_s = time.process_time() - began
        del registrations
    yield Figure(f"load {largest:,}", load_s, "s", 15)

    jobs = {str(size): matching_us(matcher, changes(size, count)) for size, matcher in matchers.items()}
    none = _change("none", observation(HEART_RATE, "nobody", _NOW, 100))
    jobs["none"] = matching_us(matchers[largest], [none] * count)
    costs = in_turns(jobs)
    for size in sizes:
        yield Figure(f"match at {size:,}", costs[str(size)], "µs a change", 60)
    yield Figure(
        f"match at {largest:,} / at {smallest:,}", costs[str(largest)] / costs[str(smallest)], "", 1.5
    )
    yield Figure(f"nothing matches, at {largest:,}", costs["none"], "µs a change", 60)
    yield from _of_matches(matchers[largest], largest // 100)

    new = [_renamed(*registration) for registration in registered(1_000)]
    puts = {str(size): registering_us(matchers[size], new) for size in (smallest, largest)}
    put = in_turns(puts)
    yield Figure(f"register one with {smallest:,}", put[str(smallest)], "µs")
    yield Figure(f"register one with {largest:,}", put[str(largest)], "µs")
    yield Figure(
        f"register with {largest:,} / with {smallest:,}", put[str(largest)] / put[str(smallest)], "", 1.2
    )
    del matchers, jobs, puts

    yield Figure(f"memory at {largest:,}", bytes_per_subscription(largest), "bytes a subscription", 1536)
    for size in (size for size in sizes if size <= 1_000):
        naive = in_turns({"": matching_us(filled(NaiveMatcher, registered(size)), changes(size, 20))})
        yield Figure(f"each subscription evaluated, at {size:,}", naive[""], "µs a change")


def _renamed(subscription: Subscription, topic: Topic) -> Registered:
    """A subscription for a patient or device that no other subscription is about."""
    filters = tuple(
        Filter(filter_.parameter, filter_.value.replace("-0000-", "-0001-", 1))
        for filter_ in subscription.filters
    )
    return _subscription(random.Random(subscription.id), *filters), topic


def _of_matches(matcher: Matcher, matching: int) -> Iterator[Figure]:
    """A change of the rare category is an event of all subscriptions to its topic."""
    many = _change("many", observation(GLUCOSE, "nobody", _NOW, 100))
    count = len(matcher.match(many))
    if count != matching:
        raise SystemExit(f"The change has {count} matches instead of {matching}: the index is wrong.")
    cost = in_turns({"": matching_us(matcher, [many] * 200)})[""]
    yield Figure(f"a change with {count:,} matches", cost, "µs")
    yield Figure("each of them", cost / count, "µs")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.match", description="Measure the cost of matching a change.")
    parser.add_argument("--json", action="store_true", help="print JSON lines only")
    parser.add_argument("--quick", action="store_true", help="up to 10,000 subscriptions, fewer changes")
    arguments = parser.parse_args()
    console, table = Console(), Table("figure", "value", "unit", "at most", "holds")
    for figure in measure(SIZES[:3], 300) if arguments.quick else measure(SIZES, 2_000):
        line = {"bench": "match", **figure._asdict(), "holds": figure.holds}
        print(json.dumps(line, ensure_ascii=False), flush=True)  # noqa: T201 the program prints its figures
        holds = "" if figure.holds is None else "yes" if figure.holds else "NO"
        limit = "" if figure.at_most is None else f"{figure.at_most:g}"
        table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit, limit, holds)
    if not arguments.json:
        console.print(table)


if __name__ == "__main__":
    main()
