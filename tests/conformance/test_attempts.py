"""The log of attempts on a real store: written with the commit, bounded, paged, trimmed, and gone with its
subscription.
"""

import re
import secrets
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.app.secrets import new_key
from broker.model.attempt import Attempt, AttemptOutcome, AttemptText
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.notification import NotificationType
from broker.model.outcome import Advance, Retry
from broker.model.subscription import SubscriptionId, SubscriptionKey
from broker.security.key_ring import KeyRing, RingFile, key_id_of
from broker.security.resource_cipher import ResourceCipher
from broker.store import attempt_keys
from broker.store.attempt_records import (
    OUTCOMES,
    AttemptLimits,
    AttemptRecord,
    NewAttempt,
    encode_text,
    entry_of,
    letter_of,
    place,
    request_of,
)
from broker.store.attempt_texts import AttemptTexts, StoredText
from broker.store.attempts import AttemptAges, Attempts
from broker.store.bodies import UNSEALED, Bodies
from broker.store.compression import compress
from broker.store.protocol import Store
from broker.store.schedule import Schedule
from broker.store.scripts.delivery import CommitWrites
from tests.conformance.delivery_fixture import FAILURE, KEY, BrokerFixture
from tests.conftest import ALL_STORES
from tests.subscriptions import stored_subscription

STORES = ALL_STORES
HOUR_MS = 3_600_000
ATTEMPT = Attempt(
    id="",
    at_ms=1_772_000_000_000,
    duration_ms=12,
    outcome=AttemptOutcome.DELIVERED,
    type=NotificationType.EVENT_NOTIFICATION,
    is_repeat=False,
    number=1,
    first_event=1,
    last_event=3,
    notification_id="0c0dbb0e-58a4-8a0c-8d9a-5a6a1a6a7c01",
    endpoint="https://ehr.example/hook",
    headers=(("Content-Type", "application/fhir+json"), ("Authorization", "********"), ("webhook-id", "")),
    status=200,
    error_code="",
    error="",
    body_bytes=700,
    body_sha256="ab" * 32,
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    has_text=False,
)
FAILED = ATTEMPT._replace(
    outcome=AttemptOutcome.REFUSED, status=503, error_code="error-response", error="the endpoint answered 503"
)


def every(_: Attempt) -> bool:
    return True


def new_attempt(attempt: Attempt, text: bytes = b"") -> NewAttempt:
    """The attempt as it is written."""
    record = AttemptRecord(
        attempt.at_ms,
        attempt.duration_ms,
        OUTCOMES[attempt.outcome],
        letter_of(attempt.type, is_repeat=attempt.is_repeat),
        attempt.number,
        attempt.first_event,
        attempt.last_event,
        bytes.fromhex(attempt.notification_id.replace("-", "")),
        attempt.status,
        attempt.body_bytes,
        bytes.fromhex(attempt.body_sha256),
        bytes.fromhex(attempt.trace_id),
        attempt.error,
        attempt.error_code,
    )
    return entry_of(record, request_of(attempt.endpoint, attempt.headers), text)


def with_text(attempt: Attempt, text: AttemptText, key: SubscriptionKey = KEY) -> NewAttempt:
    return new_attempt(attempt, UNSEALED.pack(encode_text(text), key[0], place(key), ""))


async def test_a_commit_writes_its_attempts_and_each_reads_back_as_it_was(store: Store) -> None:
    fixture, attempts = BrokerFixture(store), Attempts(store, AttemptLimits())
    await fixture.activate()
    await fixture.append(1, 2)
    claim = await fixture.take()
    writes = CommitWrites(attempts=[new_attempt(FAILED)])
    await fixture.schedule.commit(claim, Retry(0, FAILURE), take_next=False, writes=writes)
    claim = await fixture.until_due()
    writes = CommitWrites(attempts=[new_attempt(ATTEMPT._replace(number=2))])
    await fixture.schedule.commit(claim, Advance(), take_next=False, writes=writes)
    newest, oldest = await attempts.read(KEY, every, count=10)
    assert newest._replace(id="", headers=()) == ATTEMPT._replace(number=2, headers=())
    assert dict(newest.headers)["webhook-id"] == ATTEMPT.notification_id
    assert oldest._replace(id="", headers=()) == FAILED._replace(headers=())
    assert re.fullmatch(r"\d+-\d+", newest.id)
    assert re.fullmatch(r"\d+-\d+f", oldest.id)
    assert await attempts.find(KEY, oldest.id) == oldest
    assert [each.id for each in await attempts.read(KEY, every, count=10, only_failed=True)] == [oldest.id]


async def test_a_repeated_commit_writes_its_attempt_once(store: Store) -> None:
    fixture, attempts = BrokerFixture(store), Attempts(store, AttemptLimits())
    await fixture.activate()
    await fixture.append(1)
    claim, writes = await fixture.take(), CommitWrites(attempts=[new_attempt(ATTEMPT)])
    for _ in range(2):
        assert not (await fixture.schedule.commit(claim, Advance(), take_next=True, writes=writes)).is_stale
    assert len(await attempts.read(KEY, every, count=10)) == 1


async def test_an_attempt_whose_claim_was_lost_is_recorded_once(store: Store) -> None:
    """Its request was sent: who asks whether it was sent twice gets the right answer."""
    fixture, attempts = BrokerFixture(store), Attempts(store, AttemptLimits())
    fixture.schedule = Schedule(store, lease_ms=0, max_bytes=100, resume="backlog")
    await fixture.subscriptions.put(stored_subscription(), create=True)
    late, _ = await fixture.take(), await fixture.take()
    writes = CommitWrites(attempts=[new_attempt(ATTEMPT)])
    for _ in range(2):
        assert (await fixture.schedule.commit(late, Advance(), take_next=True, writes=writes)).is_stale
    assert len(await attempts.read(KEY, every, count=10)) == 1


async def test_a_claim_says_when_the_one_that_left_no_result_began(store: Store) -> None:
    fixture = BrokerFixture(store)
    fixture.schedule = Schedule(store, lease_ms=0, max_bytes=100, resume="backlog")
    await fixture.subscriptions.put(stored_subscription(), create=True)
    lost, claim = await fixture.take(), await fixture.take()
    assert (lost.interrupted_ms, claim.is_takeover) == (0, True)
    assert lost.now_ms - 1 <= claim.interrupted_ms <= claim.now_ms


async def test_successes_do_not_displace_failures_and_neither_grows_beyond_its_limit(store: Store) -> None:
    await BrokerFixture(store).activate()
    attempts = Attempts(store, AttemptLimits(delivered=3, failed=2))
    for n in range(1, 6):
        await attempts.append(KEY, [new_attempt(FAILED._replace(number=n))])
    for n in range(1, 21):
        await attempts.append(KEY, [new_attempt(ATTEMPT._replace(first_event=n, last_event=n))])
    kept = await attempts.read(KEY, every, count=100)
    assert [each.first_event for each in kept if not each.is_failed] == [20, 19, 18]
    assert [each.number for each in kept if each.is_failed] == [5, 4]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    outcomes=st.lists(st.sampled_from([ATTEMPT, FAILED]), max_size=30),
    limits=st.builds(AttemptLimits, st.integers(1, 6), st.integers(1, 6)),
    texts=st.sets(st.integers(0, 29)),
    page=st.integers(1, 7),
)
async def test_the_newest_of_each_kind_are_kept_with_their_texts_and_pages_have_each_once(
    store: Store, outcomes: list[Attempt], limits: AttemptLimits, texts: set[int], page: int
) -> None:
    key = (DEFAULT_TENANT, SubscriptionId(secrets.token_hex(6)))
    await BrokerFixture(store).subscriptions.put(stored_subscription(key[1]), create=True)
    attempts = Attempts(store, limits._replace(has_texts=1))
    for n, outcome in enumerate(outcomes):
        attempt = outcome._replace(duration_ms=n)
        text = AttemptText(b"body %d" % n, b"")
        await attempts.append(key, [with_text(attempt, text, key) if n in texts else new_attempt(attempt)])
    numbers = list(range(len(outcomes)))
    delivered = [n for n in numbers if not outcomes[n].is_failed][-limits.delivered :]
    failed = [n for n in numbers if outcomes[n].is_failed][-limits.failed :]
    read: list[Attempt] = []
    while found := await attempts.read(key, every, before=read[-1].id if read else "", count=page):
        read += found
    # written in one millisecond, a success and a failure have no order
    assert sorted(each.duration_ms for each in read) == sorted(delivered + failed)
    assert [each.duration_ms for each in read if each.is_failed] == failed[::-1]
    assert [each.duration_ms for each in read if not each.is_failed] == delivered[::-1]
    for attempt in read:
        assert attempt.has_text == (attempt.duration_ms in texts)
        text_of = await attempts.text(key, attempt.id)
        assert text_of == (AttemptText(b"body %d" % attempt.duration_ms, b"") if attempt.has_text else None)
    kept = [each async for each in AttemptTexts(store).all([DEFAULT_TENANT]) if each.subscription == key]
    assert len(kept) == len(texts & {*delivered, *failed})


async def test_retention_removes_what_is_too_old_and_what_only_that_referred_to(store: Store) -> None:
    await BrokerFixture(store).activate()
    attempts = Attempts(store, AttemptLimits())
    moved = ATTEMPT._replace(endpoint="https://ehr.example/other")
    await attempts.append(KEY, [with_text(ATTEMPT, AttemptText(b"sent", b"")), new_attempt(FAILED)])
    await attempts.append(KEY, [with_text(moved._replace(outcome=FAILED.outcome), AttemptText(b"x", b""))])
    await attempts.trim(AttemptAges(HOUR_MS, HOUR_MS, HOUR_MS))
    assert len(await attempts.read(KEY, every, count=10)) == 3
    await attempts.trim(AttemptAges(-HOUR_MS, HOUR_MS, HOUR_MS))  # as if an hour had passed for those
    left = await attempts.read(KEY, every, count=10)
    assert [each.endpoint for each in left] == [moved.endpoint, FAILED.endpoint]
    assert [each.has_text for each in left] == [True, False]
    await attempts.trim(AttemptAges(HOUR_MS, HOUR_MS, -HOUR_MS))
    assert [each.has_text for each in await attempts.read(KEY, every, count=10)] == [False, False]
    await attempts.trim(AttemptAges(-HOUR_MS, -HOUR_MS, HOUR_MS))
    assert await stored_keys(store, KEY) == 0


async def test_a_lower_limit_removes_what_is_too_much(store: Store) -> None:
    await BrokerFixture(store).activate()
    for n in range(5):
        await Attempts(store, AttemptLimits()).append(KEY, [new_attempt(ATTEMPT._replace(first_event=n + 1))])
    lowered = Attempts(store, AttemptLimits(delivered=2))
    await lowered.trim(AttemptAges(HOUR_MS, HOUR_MS, HOUR_MS))
    assert len(await lowered.read(KEY, every, count=10)) == 2


async def test_requests_that_no_attempt_refers_to_are_removed(store: Store) -> None:
    await BrokerFixture(store).activate()
    attempts = Attempts(store, AttemptLimits(delivered=2))
    for n in range(4):
        endpoint = f"https://ehr.example/{n}"
        await attempts.append(KEY, [new_attempt(ATTEMPT._replace(endpoint=endpoint))])
    await attempts.trim(AttemptAges(HOUR_MS, HOUR_MS, HOUR_MS))
    requests = attempt_keys.of_subscription(store.layout.shard_of(*KEY), KEY).requests
    assert await store.send([("HLEN", requests)]) == [2]
    kept = await attempts.read(KEY, every, count=10)
    assert [each.endpoint for each in kept] == ["https://ehr.example/3", "https://ehr.example/2"]


async def test_a_deleted_subscription_takes_its_attempts_along(store: Store) -> None:
    fixture, attempts = BrokerFixture(store), Attempts(store, AttemptLimits())
    await fixture.activate()
    await attempts.append(KEY, [with_text(ATTEMPT, AttemptText(b"sent", b"")), new_attempt(FAILED)])
    assert await stored_keys(store, KEY) == 4
    await fixture.subscriptions.delete(*KEY)
    await attempts.append(KEY, [new_attempt(ATTEMPT)])
    assert await stored_keys(store, KEY) == 0, "also what comes late leaves nothing behind"


async def test_attempts_of_a_tenant_are_read_under_its_name_only(store: Store) -> None:
    other = (Tenant("other"), KEY[1])
    fixture, attempts = BrokerFixture(store), Attempts(store, AttemptLimits())
    await fixture.activate()
    await attempts.append(KEY, [new_attempt(ATTEMPT)])
    assert await attempts.read(other, every, count=10) == []
    assert all(str(DEFAULT_TENANT) in name for name in attempt_keys.of_subscription(0, KEY))


@pytest.mark.parametrize("text", ["x", "1", "1-2-3", "1-2F", "-1-0", f"{1 << 64}-0", "١-0"])
async def test_an_id_that_no_attempt_can_have_is_refused(store: Store, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        await Attempts(store, AttemptLimits()).read(KEY, every, before=text, count=1)


async def stored_keys(store: Store, key: SubscriptionKey) -> int:
    """How many keys of the log the subscription has."""
    names = attempt_keys.of_subscription(store.layout.shard_of(*key), key)
    return sum(await store.send([("EXISTS", name) for name in names]))


async def test_texts_are_sealed_again_under_another_key(store: Store, tmp_path: Path) -> None:
    await BrokerFixture(store).activate()
    old, new = new_key(), new_key()
    RingFile(old.id, (old, new)).write(tmp_path / "ring")
    cipher = ResourceCipher(KeyRing(tmp_path / "ring"))
    plain = compress(encode_text(AttemptText(b"sent", b"answered")))
    sealed = cipher.seal(plain, DEFAULT_TENANT, place(KEY), old.id)
    await Attempts(store, AttemptLimits()).append(KEY, [new_attempt(ATTEMPT, sealed), new_attempt(FAILED)])

    def again(stored: StoredText) -> bytes:
        if key_id_of(stored.text) == new.id:
            return stored.text
        opened = cipher.open(stored.text, stored.tenant, stored.reference)
        return cipher.seal(opened, stored.tenant, stored.reference, new.id)

    assert await AttemptTexts(store).change_all(again) == 1
    assert await AttemptTexts(store).change_all(again) == 0
    attempts = Attempts(store, AttemptLimits(), Bodies(cipher))
    [attempt] = await attempts.read(KEY, lambda each: each.has_text, count=10)
    assert await attempts.text(KEY, attempt.id) == AttemptText(b"sent", b"answered")
