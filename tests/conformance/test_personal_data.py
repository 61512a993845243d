"""What is found and removed of a person, in every store."""

import pytest

from broker.fhir.references import is_about
from broker.model.attempt import AttemptText
from broker.model.change import DEFAULT_TENANT, Tenant, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.store.attempt_records import AttemptLimits
from broker.store.attempts import Attempts
from broker.store.changes import Changes
from broker.store.leases import Leases
from broker.store.personal_data import PersonalDataStore, Versions
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.resources import Resources
from tests.conformance.delivery_fixture import KEY, BrokerFixture
from tests.conformance.test_attempts import ATTEMPT, with_text
from tests.matched import make_dead_letter, mark_matched, unmatched

OTHER = Tenant("other")
PATIENT, MOVED, KEPT = ("Patient", "p"), ("Observation", "moved"), ("Observation", "kept")


async def put(
    store: Store, kind: str, resource_id: str, subject: str = "", tenant: Tenant = DEFAULT_TENANT
) -> None:
    tail = f'}},"subject":{{"reference":"{subject}"}}}}' if subject else "}}"
    await Changes(store, keep_ms=60_000).append(
        [
            Proposal(
                tenant,
                "put",
                kind,
                resource_id,
                Release.R4,
                tail.encode(),
                identifiers=(f"{resource_id}\x1furn:x\x1f",),
                references=(("subject", subject),) if subject else (),
            )
        ]
    )


async def match_all(store: Store) -> None:
    partitions = range(store.layout.partitions)
    tokens = await Leases(store, "me").acquire(partitions, 60_000)
    for partition in partitions:
        if changes := await unmatched(store, partition, count=100):
            await mark_matched(store, changes, tokens[partition])


def data_of(store: Store, tenant: Tenant = DEFAULT_TENANT) -> PersonalDataStore:
    return PersonalDataStore(store, tenant, "Patient/p", is_about)


async def test_all_about_the_person_goes_and_nothing_else(store: Store) -> None:
    resources = Resources(store)
    await put(store, *PATIENT)
    await put(store, *PATIENT)
    await put(store, "Patient", "q")
    await put(store, "Observation", "o", "Patient/p")
    await put(store, *MOVED, "Patient/p")
    await put(store, *MOVED, "Patient/q")
    await put(store, *KEPT, "Patient/q")
    await put(store, *PATIENT, tenant=OTHER)
    assert (await data_of(store).find()).waiting == 5, "the broker still needs them"
    await match_all(store)
    found = await data_of(store).find()
    assert found.waiting == 0
    assert found.resources == {
        PATIENT: Versions(2, {1}),
        ("Observation", "o"): Versions(1),
        MOVED: Versions(0, {1}),
    }
    assert sum(map(len, found.log.values())) == 5
    await data_of(store).erase(found)
    await data_of(store).erase(found)
    assert not (await data_of(store).find()).counts()
    assert set(await resources.current_many(DEFAULT_TENANT, [PATIENT, ("Patient", "q"), MOVED, KEPT])) == {
        ("Patient", "q"),
        MOVED,
        KEPT,
    }
    assert await resources.version(VersionKey(DEFAULT_TENANT, *MOVED, 1)) is None
    assert await resources.find(DEFAULT_TENANT, "Observation", ["o\x1f"], limit=10) == set()
    by = [("Observation", "subject")]
    assert await resources.referring(DEFAULT_TENANT, "Patient/p", by, limit=10) == []
    assert len(await resources.referring(DEFAULT_TENANT, "Patient/q", by, limit=10)) == 2
    assert await resources.current(OTHER, *PATIENT) is not None


async def test_a_version_that_is_written_meanwhile_is_found_by_the_next_pass(store: Store) -> None:
    await put(store, *PATIENT)
    await match_all(store)
    found = await data_of(store).find()
    await put(store, *PATIENT)
    await match_all(store)
    await data_of(store).erase(found)
    left = await data_of(store).find()
    assert left.resources[PATIENT].current == 2
    await data_of(store).erase(left)
    assert not (await data_of(store).find()).counts()


async def test_changes_that_are_dead_letters_go(store: Store) -> None:
    await put(store, *PATIENT)
    partition = store.layout.partition_of(DEFAULT_TENANT, "p")
    token = (await Leases(store, "me").acquire([partition], 60_000))[partition]
    (change,) = await unmatched(store, partition, count=1)
    await make_dead_letter(store, change, token, "broken")
    found = await data_of(store).find()
    assert found.counts()["dead letters (change)"] == 1
    await data_of(store).erase(found)
    assert not (await data_of(store).find()).counts()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"id":"p","resourceType":"Patient"', True),
        ('"id":"pp","resourceType":"Patient"', False),
        ('"resourceType":"Observation","subject":{"reference":"Patient/p"}', True),
        ('"resourceType":"Observation","subject":{"reference":"Patient/p/_history/3"}', True),
        ('"resourceType":"Observation","subject":{"reference":"Patient/pp"}', False),
        ('"resourceType":"Observation","subject":{"reference":"Group/p"}', False),
        ('"resourceType":"X","subject":{"reference":"Patient/q"},"patient":{"reference":"Patient/p"}', True),
        ('"resourceType":"List","note":[{"text":"Patient/p"}]', False),
    ],
)
def test_whom_a_resource_is_about(text: str, expected: bool) -> None:
    assert is_about(Resource(f"{{{text}}}".encode()), "Patient/p") is expected


async def test_what_attempts_sent_about_the_person_goes_and_nothing_else(store: Store) -> None:
    await put(store, "Observation", "o1", "Patient/p")
    await put(store, "Observation", "o2", "Patient/q")
    await match_all(store)
    fixture, attempts = BrokerFixture(store), Attempts(store, AttemptLimits())
    await fixture.activate()
    await fixture.append(1, 2)  # about Observation/o1 and o2

    async def sent(n: int, body: bytes) -> None:
        attempt = ATTEMPT._replace(duration_ms=len(body), first_event=n, last_event=n)
        await attempts.append(KEY, [with_text(attempt, AttemptText(body, b""))])

    await sent(1, b"{}")
    await sent(2, b'{"reference":"Observation/o2"}')
    await sent(2, b'{"reference":"http://b/r4/Patient/p"}')
    await sent(3, b"{}")  # that event is not stored: nobody can say whom it is about
    found = await data_of(store).find()
    assert found.counts()["texts of attempts"] == 3
    await data_of(store).erase(found)
    kept = await attempts.read(KEY, lambda _: True, count=10)
    assert [(each.first_event, each.has_text) for each in kept] == [
        (3, False),
        (2, False),
        (2, True),
        (1, False),
    ]
    assert (await data_of(store).find()).counts()["texts of attempts"] == 0
