"""Merging readings into what is stored: what other processes write meanwhile, and what the intake refuses."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import pytest

from broker.errors import Issue, Malformed, PreconditionFailed, StoreUnavailable
from broker.fhir.merged_values import MergeReading
from broker.ingest.intake import Intake
from broker.ingest.readings.merging import Merging, ReadingMerger, Result
from broker.ingest.readings.unwritten import Unwritten
from broker.ingest.readings.windows import window_of
from broker.ingest.requests import Admission, ChangeRequest
from broker.mapping.reading import Merge
from broker.model.audit import Requester
from broker.model.change import DEFAULT_TENANT, Interaction, Tenant, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.store.proposals import Acceptance, Accepted
from broker.store.resources import Resources
from tests.unit.fhir.test_merged_observations import START, samples


class Stored:
    """A store of one Observation, and the intake that writes it. `refuses` says which text is not valid;
    `before_write` is called before each write.
    """

    def __init__(self) -> None:
        self.versions: list[Resource] = []
        self.agents: list[str] = []
        self.refuses: Callable[[bytes], bool] = lambda _text: False
        self.before_write: Callable[[], None] = lambda: None
        self.is_unavailable = False

    async def current(self, tenant: Tenant, _type: str, _id: str) -> Version | None:
        await asyncio.sleep(0)  # others run, as while a real store is read
        if self.is_unavailable:
            raise StoreUnavailable
        if not self.versions:
            return None
        key = VersionKey(tenant, "Observation", "a", len(self.versions))
        return Version(key, Release.R4, Interaction.UPDATE, 0, self.versions[-1])

    async def admit(self, request: ChangeRequest) -> Admission:
        assert request.resource is not None
        assert request.condition is not None
        if self.refuses(request.resource.text):
            raise Malformed(Issue("invariant", "Not valid.", "Observation.value"))
        self.before_write()
        if not request.condition.is_met_by(len(self.versions) or None):
            raise PreconditionFailed(Issue("conflict", "Another version."))
        self.versions.append(request.resource)
        self.agents.append(request.requester.agent)
        key = VersionKey(request.tenant, "Observation", "a", len(self.versions))
        return Admission(request, Accepted(Acceptance.UPDATED, key, 0))

    @property
    def data(self) -> str:
        return str(self.versions[-1].copy()["valueSampledData"]["data"])


@pytest.fixture
def stored() -> Stored:
    return Stored()


def merging(reading: MergeReading, agent: str = "") -> Merging:
    request = ChangeRequest(
        DEFAULT_TENANT, Release.R4, "create", "Observation", "a", reading.resource, requester=Requester(agent)
    )
    return Merging(request, "strap", reading)


def merger_of(stored: Stored) -> ReadingMerger:
    return ReadingMerger(cast("Intake", stored), cast("Resources", stored))


async def merge(stored: Stored, *readings: MergeReading) -> list[Result]:
    return await merger_of(stored).merge([merging(each) for each in readings])


def shown(results: list[Result]) -> list[str]:
    """What became of each: its status and version, or the reason and code of its problem."""
    return [
        f"{each.problems[0].reason} {each.problems[0].code}"
        if isinstance(each, Unwritten)
        else f"{each.status} {each.version}"
        for each in results
    ]


async def test_readings_that_come_together_are_one_version(stored: Stored) -> None:
    results = await merge(stored, samples(0, "1"), samples(10, "2"), samples(0, "1"))
    assert shown(results) == ["accepted 1", "accepted 1", "duplicate 1"]
    assert shown(await merge(stored, samples(10, "2"))) == ["duplicate 1"]
    assert len(stored.versions) == 1


async def test_readings_that_come_while_others_are_written_are_one_version(stored: Stored) -> None:
    merger = merger_of(stored)
    results = await asyncio.gather(
        *(merger.merge([merging(samples(n * 5, str(n))) for n in (k, k + 6)]) for k in range(6))
    )
    assert [shown(each) for each in results] == [["accepted 1"] * 2, *[["accepted 2"] * 2] * 5]
    assert stored.data == "1 3 5 7 9 11"


async def test_each_version_is_of_one_requester(stored: Stored) -> None:
    merged = [merging(samples(n * 10, "1"), agent) for n, agent in enumerate(["ana", "ana", "ben"])]
    assert shown(await merger_of(stored).merge(merged)) == ["accepted 1", "accepted 1", "accepted 2"]
    assert stored.agents == ["ana", "ben"]


async def test_a_store_that_fails_one_caller_is_tried_again_by_the_others(stored: Stored) -> None:
    merger = merger_of(stored)
    stored.is_unavailable = True
    calls = [asyncio.create_task(merger.merge([merging(samples(n * 10, "1"))])) for n in range(3)]
    with pytest.raises(StoreUnavailable):
        await calls[0]
    stored.is_unavailable = False
    assert [shown(await call) for call in calls[1:]] == [["accepted 1"], ["accepted 1"]]
    assert stored.data == "E 1 1 E E E"


async def test_a_caller_that_goes_away_takes_no_other_with_it(stored: Stored) -> None:
    merger = merger_of(stored)
    calls = [asyncio.create_task(merger.merge([merging(samples(n * 10, "1"))])) for n in range(3)]
    await asyncio.sleep(0)
    calls[0].cancel()
    assert [shown(await call) for call in calls[1:]] == [["accepted 1"], ["accepted 1"]]


async def test_what_another_process_wrote_meanwhile_is_kept(stored: Stored) -> None:
    await merge(stored, samples(0, "1"))
    other = Stored()
    await merge(other, samples(0, "1"), samples(20, "3"))

    def write_once() -> None:
        stored.before_write = lambda: None
        stored.versions.append(other.versions[-1])

    stored.before_write = write_once
    assert shown(await merge(stored, samples(10, "2"))) == ["accepted 3"]
    assert stored.data == "1 2 3 E E E"


async def test_an_observation_that_never_stands_still_is_a_conflict(stored: Stored) -> None:
    await merge(stored, samples(0, "1"))
    stored.before_write = lambda: stored.versions.append(stored.versions[-1])
    assert shown(await merge(stored, samples(10, "2"))) == ["conflict conflict"]


async def test_a_reading_that_the_intake_refuses_does_not_stop_the_others(stored: Stored) -> None:
    stored.refuses = lambda text: b"666" in text
    results = await merge(stored, samples(0, "1"), samples(10, "666"), samples(20, "3"))
    assert shown(results) == ["accepted 1", "not-accepted invariant", "accepted 2"]
    assert stored.data == "1 E 3 E E E"
    assert shown(await merge(stored, samples(10, "666"))) == ["not-accepted invariant"]


def withdrawn(reading: MergeReading) -> MergeReading:
    return reading._replace(correction="entered-in-error")


async def test_readings_and_their_withdrawals_that_come_together_are_one_version(stored: Stored) -> None:
    first, second = samples(0, "1"), samples(10, "2")
    results = await merge(stored, first, second, withdrawn(first), withdrawn(first), first)
    assert shown(results) == ["accepted 1", "accepted 1", "accepted 1", "duplicate 1", "duplicate 1"]
    assert (stored.data, stored.versions[-1].copy()["status"]) == ("E 2 E E E E", "final")
    assert shown(await merge(stored, withdrawn(second), second)) == ["accepted 2", "duplicate 2"]
    assert stored.versions[-1].copy()["status"] == "entered-in-error"
    assert shown(await merge(stored, withdrawn(second), withdrawn(first))) == ["duplicate 2"] * 2


async def test_a_withdrawal_is_merged_into_what_another_process_wrote_meanwhile(stored: Stored) -> None:
    await merge(stored, samples(0, "1"))
    other = Stored()
    await merge(other, samples(0, "1"), samples(20, "3"))

    def write_once() -> None:
        stored.before_write = lambda: None
        stored.versions.append(other.versions[-1])

    stored.before_write = write_once
    assert shown(await merge(stored, withdrawn(samples(0, "1")))) == ["accepted 3"]
    assert (stored.data, stored.versions[-1].copy()["status"]) == ("E E 3 E E E", "corrected")


async def test_a_large_observation_is_merged_as_a_small_one(stored: Stored) -> None:
    many = " ".join(str(number) for number in range(20_000))
    await merge(stored, samples(0, many))
    assert shown(await merge(stored, samples(0.5, "7"))) == ["accepted 2"]
    assert stored.data == "7" + many[1:]


@pytest.mark.parametrize(
    ("merge", "moment", "bounds"),
    [
        ("hour", "2026-03-02T08:00:00+00:00", "08:00:00 08:59:59.999999"),
        ("hour", "2026-03-02T08:59:59.999999+00:00", "08:00:00 08:59:59.999999"),
        ("hour", "2026-03-02T14:15:00+05:30", "08:00:00 08:59:59.999999"),
        ("day", "2026-03-02T23:59:59+00:00", "00:00:00 23:59:59.999999"),
        ("day", "2026-03-03T00:30:00+01:00", "00:00:00 23:59:59.999999"),
    ],
)
def test_hours_and_days_are_those_of_utc(merge: str, moment: str, bounds: str) -> None:
    window = window_of(Merge(merge, ""), datetime.fromisoformat(moment))
    assert window.bounds is not None
    assert {each.date().isoformat() for each in window.bounds} == {"2026-03-02"}
    assert " ".join(each.timetz().isoformat().removesuffix("+00:00") for each in window.bounds) == bounds
    assert window.key == f"{merge} {window.bounds[0].isoformat()}"


def test_a_window_of_one_time_is_that_of_its_instant_whatever_its_offset() -> None:
    moments = ("2026-03-02T08:00:00+00:00", "2026-03-02T13:30:00+05:30", "2026-03-02T08:00:00.000001+00:00")
    windows = [window_of(Merge("time", ""), datetime.fromisoformat(each)) for each in moments]
    assert windows[0] == windows[1] == ("time 2026-03-02T08:00:00+00:00", None)
    assert windows[2] != windows[0]


def test_a_window_by_a_key_has_the_bounds_of_its_readings() -> None:
    assert window_of(Merge("", "x"), START.astimezone(UTC)) == ("by x", None)
