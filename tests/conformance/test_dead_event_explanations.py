"""What a receiver said about an event that it refused is kept with the dead letter, and sealed with it."""

from pathlib import Path

import pytest

from broker.app.secrets import new_key, new_ring
from broker.errors import StoreUnavailable
from broker.fhir.references import is_about
from broker.model.change import DEFAULT_TENANT
from broker.model.outcome import AdvanceTo, UndeliverableEvent
from broker.security.key_ring import KeyRing, RingFile, key_id_of
from broker.security.resource_cipher import ResourceCipher
from broker.store import keys
from broker.store.bodies import UNSEALED, Bodies
from broker.store.dead_letter_id import DeadEventId
from broker.store.dead_letters import DeadLetter, DeadLetterFilter, DeadLetters
from broker.store.personal_data import PersonalDataStore
from broker.store.protocol import Store
from broker.store.schedule import Schedule
from broker.store.scripts.dead_letters import redrive_events
from broker.store.sealed_explanations import SealedExplanation, SealedExplanations
from broker.store.sealing_keys import SealingKeys
from tests.conformance.dead_letter_fixture import FAILURE, KEY, DeadLetterFixture
from tests.stores import redis_of

EXPLANATION = b'{"resourceType":"OperationOutcome","issue":[{"diagnostics":"markerhealth"}]}'
ID = str(DeadEventId(KEY[1], 2))


class Explained(DeadLetterFixture):
    """Event 2 of three was refused with an explanation, event 3 without."""

    def __init__(self, store: Store, bodies: Bodies) -> None:
        super().__init__(store)
        self.schedule = Schedule(store, lease_ms=60_000, max_bytes=1_000, resume="backlog", bodies=bodies)
        self.store = store

    async def refuse(self) -> None:
        await self.activate()
        await self.append(1, 2, 3)
        events = (UndeliverableEvent(2, "refused", EXPLANATION), UndeliverableEvent(3, "refused too"))
        await self.schedule.commit(await self.take(), AdvanceTo(3, 1, events, FAILURE), take_next=False)

    async def stored(self) -> bytes:
        """All members."""
        members = await redis_of(self.store).zrange(keys.dead_events(self.shard, *KEY), 0, -1)
        return b"\n".join(members)

    async def listed(self) -> list[DeadLetter]:
        return [each async for each in DeadLetters(self.store).walk(DEFAULT_TENANT, DeadLetterFilter())]

    async def explanation(self, bodies: Bodies) -> bytes:
        dead_letter = await DeadLetters(self.store, bodies).get(DEFAULT_TENANT, ID)
        assert dead_letter is not None
        return dead_letter.explanation


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    new_ring().write(tmp_path / "ring.json")
    return KeyRing(tmp_path / "ring.json")


def sealing(store: Store, ring: KeyRing) -> Bodies:
    return Bodies(ResourceCipher(ring), SealingKeys(store))


async def test_it_is_read_with_its_dead_letter_and_not_with_the_list(store: Store) -> None:
    fixture = Explained(store, UNSEALED)
    await fixture.refuse()
    assert await fixture.explanation(UNSEALED) == EXPLANATION
    listed = await fixture.listed()
    assert [(each.number, each.reason, each.has_explanation, each.explanation) for each in listed] == [
        (2, "refused", True, b""),
        (3, "refused too", False, b""),
    ]
    assert await redrive_events(store, KEY, [2], max_bytes=1_000) == ["accepted"]
    await fixture.deliver(await fixture.take())
    assert [each.number for each in await fixture.listed()] == [3]


async def test_it_is_sealed_and_sealed_again_under_another_key(store: Store, ring: KeyRing) -> None:
    bodies = sealing(store, ring)
    fixture = Explained(store, bodies)
    await fixture.refuse()
    assert b"markerhealth" not in await fixture.stored()
    assert ring.active_id in await SealingKeys(store).all(), "a start without the key is refused"
    assert len(await fixture.listed()) == 2, "the list needs no key"
    assert await fixture.explanation(bodies) == EXPLANATION
    with pytest.raises(StoreUnavailable):
        await fixture.explanation(UNSEALED)

    before, content, key = ring.active_id, RingFile.read(ring.path), new_key()
    RingFile(key.id, (*content.keys, key)).write(ring.path)
    cipher = ResourceCipher(KeyRing(ring.path))

    def again(sealed: SealedExplanation) -> bytes:
        plain = cipher.open(sealed.text, sealed.tenant, sealed.reference)
        return cipher.seal(plain, sealed.tenant, sealed.reference, key.id)

    explanations = SealedExplanations(store)
    assert [key_id_of(each.text) async for each in explanations.all()] == [before]
    assert await explanations.change_all(again) == 1
    assert [key_id_of(each.text) async for each in explanations.all()] == [key.id]
    assert await fixture.explanation(Bodies(cipher)) == EXPLANATION
    assert len(await fixture.listed()) == 2


async def test_it_is_bound_to_its_event(store: Store, ring: KeyRing) -> None:
    bodies = sealing(store, ring)
    fixture = Explained(store, bodies)
    await fixture.refuse()
    key = keys.dead_events(fixture.shard, *KEY)
    (member,) = await redis_of(store).zrangebyscore(key, 2, 2)
    await redis_of(store).zrem(key, member)
    await redis_of(store).zadd(key, {b"3" + member[1:]: 3})
    moved = await DeadLetters(store, bodies).get(DEFAULT_TENANT, str(DeadEventId(KEY[1], 3)))
    assert moved is not None
    assert (moved.reason, moved.explanation) == ("refused", b"")


async def test_with_a_person_goes_what_nobody_can_attribute_any_more(store: Store) -> None:
    fixture = Explained(store, UNSEALED)
    await fixture.refuse()
    data = PersonalDataStore(store, DEFAULT_TENANT, "Patient/other", is_about)
    assert (await data.find()).dead_letters == []
    await redis_of(store).delete(keys.outbox(fixture.shard, *KEY))
    found = await data.find()
    assert [each.number for each in found.dead_letters] == [2], "event 3 has no words of the receiver"
    await data.erase(found)
    assert [each.number for each in await fixture.listed()] == [3]
