"""Quarantined readings on a real store: kept once, listed by tenant, found by what they wait for, bounded."""

import pytest

from broker.fhir.references import is_about
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.release import Release
from broker.store.changes import Changes
from broker.store.dead_letter_actions import DeadLetterActions
from broker.store.dead_letter_id import DeadLetterKind
from broker.store.dead_letters import DeadLetter, DeadLetterFilter, DeadLetters
from broker.store.personal_data import PersonalDataStore
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.quarantine import NewlyQuarantined, Quarantine
from broker.store.retention import Limits, Retention
from broker.telemetry.store_metrics import DeadLetterCounts
from tests.stores import counts_of

HOUR_MS = 3_600_000
OTHER = Tenant("other")
RECORD = {"format": "json", "text": "No mapping matches."}
DEVICE = "Device?identifier=urn:devices|d 1"


@pytest.fixture
def quarantine(store: Store) -> Quarantine:
    return Quarantine(store, keep_ms=HOUR_MS)


def payload(
    name: str,
    *,
    reason: str = "no-mapping",
    content: bytes = b"{}",
    at_ms: int = 0,
    waits_for: str = "",
    replaces: str = "",
) -> NewlyQuarantined:
    """`name` stands for the digest of the payload."""
    return NewlyQuarantined(name, reason, RECORD | {"key": name}, content, at_ms, waits_for, replaces)


async def listed(
    store: Store, tenant: Tenant = DEFAULT_TENANT, reason: str = "", after: str = ""
) -> list[DeadLetter]:
    where = DeadLetterFilter(DeadLetterKind.READING, reason=reason)
    return [letter async for letter in DeadLetters(store).walk(tenant, where, after)]


def keys_of(letters: list[DeadLetter]) -> list[str]:
    return [(letter.entry or {})[b"key"].decode() for letter in letters]


async def waiting(quarantine: Quarantine, name: str, tenant: Tenant = DEFAULT_TENANT) -> list[str]:
    return [each.record["key"] async for page in quarantine.waiting(tenant, name) for each in page]


async def counts(store: Store) -> DeadLetterCounts:
    return (await counts_of(store)).dead_letters[DeadLetterKind.READING]


async def test_a_payload_is_kept_as_it_came_with_its_reason(store: Store, quarantine: Quarantine) -> None:
    content = b"\x00\xff" * 1_000
    (entry,) = await quarantine.keep(DEFAULT_TENANT, [payload("a", reason="unknown-unit", content=content)])
    (found,) = await quarantine.get(DEFAULT_TENANT, [entry, "1-1"])
    assert (found.entry, found.reason, found.content) == (entry, "unknown-unit", content)
    assert found.record == RECORD | {"key": "a"}
    (letter,) = await listed(store)
    assert letter.reason == "unknown-unit: No mapping matches."
    assert (letter.entry or {})[b"content"] == content
    assert await DeadLetters(store).get(DEFAULT_TENANT, letter.id) == letter


async def test_they_are_listed_in_their_order_in_pages_and_by_reason(
    store: Store, quarantine: Quarantine
) -> None:
    names = [f"n{number}" for number in range(205)]
    await quarantine.keep(DEFAULT_TENANT, [payload(name) for name in names])
    await quarantine.keep(DEFAULT_TENANT, [payload("last", reason="malformed")])
    letters = await listed(store)
    assert keys_of(letters) == [*names, "last"]
    assert keys_of(await listed(store, after=letters[202].id)) == ["n203", "n204", "last"]
    assert keys_of(await listed(store, reason="malformed")) == ["last"]


async def test_a_payload_that_comes_again_is_kept_once(store: Store, quarantine: Quarantine) -> None:
    first = await quarantine.keep(DEFAULT_TENANT, [payload("a"), payload("b"), payload("a")])
    assert first[0] == first[2] != first[1]
    assert await quarantine.keep(DEFAULT_TENANT, [payload("a")]) == first[:1]
    assert await counts(store) == DeadLetterCounts(2, 2, 0, 0, 0)
    assert await DeadLetterActions(store).discard((await listed(store))[:1]) == 1
    (again,) = await quarantine.keep(DEFAULT_TENANT, [payload("a")])
    assert again != first[0], "it was discarded, and is sent again"
    assert await counts(store) == DeadLetterCounts(2, 3, 0, 1, 0)


async def test_another_reason_takes_the_place_of_the_earlier_one(
    store: Store, quarantine: Quarantine
) -> None:
    (before,) = await quarantine.keep(DEFAULT_TENANT, [payload("a")])
    again = payload("a", reason="unknown-patient", waits_for=DEVICE, replaces=before)
    (after,) = await quarantine.keep(DEFAULT_TENANT, [again])
    assert await quarantine.keep(DEFAULT_TENANT, [again]) == [after], "the reply may be lost"
    assert [letter.reason.partition(":")[0] for letter in await listed(store)] == ["unknown-patient"]
    assert await quarantine.get(DEFAULT_TENANT, [before]) == []
    assert [each.entry for each in await quarantine.get(DEFAULT_TENANT, [after])] == [after]
    assert await counts(store) == DeadLetterCounts(1, 1, 0, 0, 0)


async def test_what_was_redriven_is_removed_and_counted_once(store: Store, quarantine: Quarantine) -> None:
    entries = await quarantine.keep(DEFAULT_TENANT, [payload("a"), payload("b"), payload("c")])
    assert await quarantine.remove(DEFAULT_TENANT, entries[:2]) == 2
    assert await quarantine.remove(DEFAULT_TENANT, entries[:2]) == 0
    assert await quarantine.remove(DEFAULT_TENANT, []) == 0
    assert keys_of(await listed(store)) == ["c"]
    assert await counts(store) == DeadLetterCounts(1, 3, 2, 0, 0)


async def test_those_that_wait_are_found_in_the_order_of_their_times_and_then_of_arrival(
    quarantine: Quarantine,
) -> None:
    names = [f"n{number:03}" for number in range(205)]
    late_first = [payload(name, at_ms=10**12 - n, waits_for=DEVICE) for n, name in enumerate(names)]
    await quarantine.keep(DEFAULT_TENANT, late_first)
    equal = [payload(f"e{n}", at_ms=5, waits_for="Device/a") for n in range(3)]
    longer = [payload("longer", waits_for="Device/ab"), payload("nothing")]
    entries = await quarantine.keep(DEFAULT_TENANT, [*equal, *longer])
    assert await waiting(quarantine, DEVICE) == names[::-1]
    assert await waiting(quarantine, "Device/a") == ["e0", "e1", "e2"]
    awaited = [name async for name in quarantine.awaited(DEFAULT_TENANT)]
    assert sorted(awaited) == sorted([DEVICE, "Device/a", "Device/ab"])
    await quarantine.remove(DEFAULT_TENANT, [*entries[1:2], entries[3]])
    assert await waiting(quarantine, "Device/a") == ["e0", "e2"]
    assert await waiting(quarantine, "Device/ab") == []
    assert "Device/ab" not in [name async for name in quarantine.awaited(DEFAULT_TENANT)]


async def test_the_tenants_are_apart(store: Store, quarantine: Quarantine) -> None:
    (ours,) = await quarantine.keep(DEFAULT_TENANT, [payload("a", waits_for=DEVICE)])
    (theirs,) = await quarantine.keep(OTHER, [payload("a", waits_for=DEVICE, content=b"theirs")])
    assert await quarantine.tenants() == [DEFAULT_TENANT, OTHER]
    assert [each.content for each in await quarantine.get(OTHER, [theirs])] == [b"theirs"]
    assert await quarantine.remove(DEFAULT_TENANT, [ours]) == 1
    assert await listed(store) == []
    assert await waiting(quarantine, DEVICE) == []
    assert keys_of(await listed(store, OTHER)) == ["a"]
    assert await waiting(quarantine, DEVICE, OTHER) == ["a"]
    assert await DeadLetters(store).get(DEFAULT_TENANT, (await listed(store, OTHER))[0].id) is None


async def test_the_oldest_above_the_limit_go_and_so_do_old_ones(store: Store, quarantine: Quarantine) -> None:
    await quarantine.keep(DEFAULT_TENANT, [payload(name) for name in "abcd"])
    await quarantine.keep(OTHER, [payload("theirs")])
    await Retention(store, Limits(keep_ms=HOUR_MS, quarantined=2)).sweep()
    assert keys_of(await listed(store)) == ["c", "d"]
    assert keys_of(await listed(store, OTHER)) == ["theirs"]
    assert await counts(store) == DeadLetterCounts(3, 5, 0, 0, 2)
    await Retention(store, Limits(keep_ms=-HOUR_MS)).sweep()  # as if an hour had passed
    assert await listed(store) == await listed(store, OTHER) == []
    assert await quarantine.tenants() == []
    assert await counts(store) == DeadLetterCounts(0, 5, 0, 0, 5)


async def test_the_readings_that_name_a_person_are_erased(store: Store, quarantine: Quarantine) -> None:
    tail = b'},"identifier":[{"system":"urn:patients","value":"mrn-7"}]}'
    for tenant in (DEFAULT_TENANT, OTHER):
        proposal = Proposal(tenant, "put", "Patient", "p", Release.R4, tail)
        await Changes(store, keep_ms=HOUR_MS).append([proposal])
        contents = {"theirs": b'{"patient": "mrn-7"}', "another's": b'{"patient": "mrn-77"}'}
        await quarantine.keep(tenant, [payload(name, content=each) for name, each in contents.items()])
        by_parameter = {"key": "by parameter", "parameters": '{"patient": "urn:patients|mrn-7"}'}
        named = payload("by parameter", content=b"\x00")
        await quarantine.keep(tenant, [named._replace(record=RECORD | by_parameter)])
    data = PersonalDataStore(store, DEFAULT_TENANT, "Patient/p", is_about)
    found = await data.find()
    assert found.counts()["dead letters (reading)"] == 2
    for _ in range(2):
        await data.erase(found)
    assert keys_of(await listed(store)) == ["another's"]
    assert len(await listed(store, OTHER)) == 3
