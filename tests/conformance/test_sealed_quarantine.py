"""Quarantined readings with sealed resources on a real store: nothing of a payload can be read without the
key ring, and what is sealed goes with its entry and follows the ring's keys.
"""

from pathlib import Path

import pytest

from broker.app.secrets import new_key, new_ring
from broker.errors import StoreUnavailable
from broker.fhir.references import is_about
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.release import Release
from broker.security.key_ring import KeyRing, RingFile, key_id_of
from broker.security.resource_cipher import ResourceCipher
from broker.store import keys
from broker.store.bodies import Bodies
from broker.store.changes import Changes
from broker.store.dead_letter_actions import DeadLetterActions
from broker.store.dead_letter_id import DeadLetterKind
from broker.store.dead_letters import DeadLetter, DeadLetterFilter, DeadLetters
from broker.store.personal_data import PersonalDataStore
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.quarantine import NewlyQuarantined, Quarantine
from broker.store.retention import Limits, Retention
from broker.store.scripts.quarantine import replace_sealed_reading
from broker.store.sealed_quarantine import SealedQuarantine, SealedReading
from broker.store.sealing_keys import SealingKeys

HOUR_MS = 3_600_000
OTHER = Tenant("other")
CONTENT = b'{"patient":"markerperson","hr":91919191}\n\x00\xff'
RECORD = {"format": "json", "text": "No mapping matches.", "parameters": '{"patient":"urn:x|markerperson"}'}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ring.json"
    new_ring().write(path)
    return path


@pytest.fixture
def bodies(path: Path, store: Store) -> Bodies:
    return Bodies(ResourceCipher(KeyRing(path)), SealingKeys(store))


@pytest.fixture
def quarantine(store: Store, bodies: Bodies) -> Quarantine:
    return Quarantine(store, keep_ms=HOUR_MS, bodies=bodies)


def payload(name: str, *, waits_for: str = "", replaces: str = "") -> NewlyQuarantined:
    """`name` stands for the digest of the payload."""
    record = RECORD | {"key": name}
    return NewlyQuarantined(name, "no-mapping", record, CONTENT, 5, waits_for, replaces)


async def listed(store: Store, bodies: Bodies, tenant: Tenant = DEFAULT_TENANT) -> list[DeadLetter]:
    where = DeadLetterFilter(DeadLetterKind.READING)
    return [letter async for letter in DeadLetters(store, bodies).walk(tenant, where)]


async def sealed_entries(store: Store) -> set[str]:
    """The entries that the hash of what is sealed has."""
    (names,) = await store.send([("HKEYS", keys.sealed_readings(DEFAULT_TENANT))])
    return {name.decode() for name in names}


async def test_a_payload_is_sealed_with_what_is_known_of_it_and_opens_as_it_came(
    store: Store, quarantine: Quarantine, bodies: Bodies, path: Path
) -> None:
    (entry,) = await quarantine.keep(DEFAULT_TENANT, [payload("a", waits_for="Device/d")])
    stream, sealed = await store.send(
        [
            ("XRANGE", keys.quarantine(DEFAULT_TENANT), "-", "+"),
            ("HGETALL", keys.sealed_readings(DEFAULT_TENANT)),
        ]
    )
    for word in (b"markerperson", b"91919191", b"No mapping matches"):
        assert word not in repr((stream, sealed)).encode()
    assert await SealingKeys(store).all() == {RingFile.read(path).active_id}
    (found,) = await quarantine.get(DEFAULT_TENANT, [entry])
    assert (found.content, found.record) == (CONTENT, RECORD | {"key": "a"})
    waiting = [each async for page in quarantine.waiting(DEFAULT_TENANT, "Device/d") for each in page]
    assert waiting == [found]
    (letter,) = await listed(store, bodies)
    assert letter.reason == "no-mapping: No mapping matches."
    assert (letter.entry or {})[b"content"] == CONTENT
    with pytest.raises(StoreUnavailable, match="no key ring"):
        await listed(store, Bodies())


async def test_sealed_and_unsealed_payloads_are_read_whatever_the_setting_is(
    store: Store, quarantine: Quarantine, path: Path
) -> None:
    without = Quarantine(store, keep_ms=HOUR_MS, bodies=Bodies(ResourceCipher(KeyRing(path))))
    await without.keep(DEFAULT_TENANT, [payload("a")])
    await quarantine.keep(DEFAULT_TENANT, [payload("b")])
    letters = await listed(store, Bodies(ResourceCipher(KeyRing(path))))
    assert [(letter.entry or {})[b"key"] for letter in letters] == [b"a", b"b"]
    assert len(await sealed_entries(store)) == 1
    (again,) = await quarantine.keep(DEFAULT_TENANT, [payload("a")])
    assert again == letters[0].id.removeprefix("reading-"), "it is kept already"


async def test_what_is_sealed_goes_with_its_entry(
    store: Store, quarantine: Quarantine, bodies: Bodies
) -> None:
    entries = await quarantine.keep(DEFAULT_TENANT, [payload(name) for name in "abcdefgh"])
    assert await sealed_entries(store) == set(entries)
    await quarantine.remove(DEFAULT_TENANT, entries[:1])
    (replacing,) = await quarantine.keep(DEFAULT_TENANT, [payload("b", replaces=entries[1])])
    await DeadLetterActions(store).discard((await listed(store, bodies))[:1])
    left = {*entries[3:], replacing}
    assert await sealed_entries(store) == left
    await Retention(store, Limits(keep_ms=HOUR_MS, quarantined=2)).sweep()
    assert await sealed_entries(store) == {entries[-1], replacing}
    await quarantine.keep(OTHER, [payload("theirs")])
    await Retention(store, Limits(keep_ms=-HOUR_MS)).sweep()  # as if an hour had passed
    assert await sealed_entries(store) == set()
    assert [each async for each in SealedQuarantine(store).all()] == []


async def test_payloads_are_sealed_again_in_their_places_and_order(
    store: Store, quarantine: Quarantine, path: Path
) -> None:
    old, new = RingFile.read(path).keys[0], new_key()
    before = await quarantine.keep(DEFAULT_TENANT, [payload("a", waits_for="Device/d"), payload("b")])
    await quarantine.keep(OTHER, [payload("theirs")])
    RingFile(new.id, (old, new)).write(path)
    cipher = ResourceCipher(KeyRing(path))

    def again(sealed: SealedReading) -> bytes:
        if key_id_of(sealed.text) == new.id:
            return sealed.text
        plain = cipher.open(sealed.text, sealed.tenant, sealed.place)
        return cipher.seal(plain, sealed.tenant, sealed.place, new.id)

    assert await SealedQuarantine(store).change_all(again) == 3
    assert await SealedQuarantine(store).change_all(again) == 0
    RingFile(new.id, (new,)).write(path)
    newer = Quarantine(store, keep_ms=HOUR_MS, bodies=Bodies(ResourceCipher(KeyRing(path))))
    found = await newer.get(DEFAULT_TENANT, before)
    assert [(each.entry, each.content) for each in found] == [(entry, CONTENT) for entry in before]
    waiting = [each.entry async for page in newer.waiting(DEFAULT_TENANT, "Device/d") for each in page]
    assert waiting == before[:1]


async def test_a_text_is_replaced_only_where_it_is_as_it_was_read(
    store: Store, quarantine: Quarantine
) -> None:
    (entry,) = await quarantine.keep(DEFAULT_TENANT, [payload("a")])
    (sealed,) = [each async for each in SealedQuarantine(store).all()]
    for _ in range(2):  # the reply may be lost
        assert await replace_sealed_reading(store, DEFAULT_TENANT, entry, sealed.text, b"after")
    assert not await replace_sealed_reading(store, DEFAULT_TENANT, entry, sealed.text, b"late")
    await quarantine.remove(DEFAULT_TENANT, [entry])
    assert not await replace_sealed_reading(store, DEFAULT_TENANT, entry, b"after", b"late")
    assert await sealed_entries(store) == set(), "nothing is left of what was removed"


async def test_a_payload_that_was_moved_is_listed_as_damaged_and_not_processed(
    store: Store, quarantine: Quarantine, bodies: Bodies
) -> None:
    first, second = await quarantine.keep(DEFAULT_TENANT, [payload("a"), payload("b")])
    one, two = [each async for each in SealedQuarantine(store).all()]
    assert (one.entry, two.entry) == (first, second)
    await store.send([("HSET", keys.sealed_readings(DEFAULT_TENANT), first, two.text)])
    found = await quarantine.get(DEFAULT_TENANT, [first, second])
    assert [(each.is_damaged, each.content) for each in found] == [(True, b""), (False, CONTENT)]
    letter, _ = await listed(store, bodies)
    assert "altered" in letter.reason
    assert await DeadLetterActions(store).discard([letter]) == 1


async def test_sealed_readings_that_name_a_person_are_erased(
    store: Store, quarantine: Quarantine, bodies: Bodies
) -> None:
    tail = b'},"identifier":[{"system":"urn:x","value":"markerperson"}]}'
    proposal = Proposal(DEFAULT_TENANT, "put", "Patient", "p", Release.R4, tail)
    await Changes(store, keep_ms=HOUR_MS, bodies=bodies).append([proposal])
    await quarantine.keep(DEFAULT_TENANT, [payload("a")])
    data = PersonalDataStore(store, DEFAULT_TENANT, "Patient/p", is_about, bodies)
    found = await data.find()
    assert found.counts()["dead letters (reading)"] == 1
    await data.erase(found)
    assert await sealed_entries(store) == set()
