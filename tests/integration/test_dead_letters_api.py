"""`$dead-letters`, `$redrive-dead-letters` and `$discard-dead-letters` of a broker that meets poison."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker.app import Role
from broker.model.change import DEFAULT_TENANT
from broker.store import keys
from broker.store.protocol import Store
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import until
from tests.integration.operations_client import groups, value
from tests.integration.poisoning import AT, SplitBroker, split_broker_of
from tests.metrics import read_total
from tests.stores import redis_of


@pytest.fixture
async def split(
    start_broker: StartBroker, store: Store, subscriber: SimulatedSubscriber
) -> AsyncIterator[SplitBroker]:
    async with split_broker_of(start_broker, store, subscriber) as opened:
        yield opened


async def test_a_redriven_change_reaches_its_subscriptions_and_no_later_ones(
    split: SplitBroker, store: Store
) -> None:
    await split.subscribe("a")
    await split.break_changes("n1", "n2", broken=["n2"])
    async with split.running(Role.MATCH):
        (letter,) = await split.poison.until_dead_letters(1)
    assert (value(letter, "kind"), value(letter, "reference")) == ("change", "Observation/n2/_history/1")
    assert "can't be read" in value(letter, "reason")
    assert await split.poison.dead_letters(id=value(letter, "id")) == [letter]
    [late] = await split.subscribe("late")
    key = keys.subscription(store.layout.shard_of(DEFAULT_TENANT, late), DEFAULT_TENANT, late)
    # as if it had been registered a minute after the change was accepted
    await redis_of(store).hset(
        key, "activated", str(int((await store.send([("TIME",)]))[0][0]) * 1000 + 60_000)
    )
    async with split.running(Role.MATCH, Role.DISPATCH):
        await split.poison.repair("n2")
        answer = (await split.poison.operate("redrive-dead-letters", id=value(letter, "id"))).json()
        assert (value(answer, "redriven"), value(answer, "refused")) == (1, 0)
        await split.broker_fixture.until_numbers("a", 2)
        await split.poison.until_matched()
        assert await split.poison.dead_letters() == []
        assert await split.broker_fixture.event_count(late) == 0


async def test_events_are_redriven_by_subscription_and_discarded_by_id(split: SplitBroker) -> None:
    subscription_id, other = await split.subscribe("a", "b")
    await split.break_events(subscription_id, "n1", "n2", "n3", broken=["n1", "n2"])
    async with split.running(Role.DISPATCH):
        results = await split.poison.until_dead_letters(4)
        assert {value(letter, "subscription") for letter in results} == {subscription_id, other}
        assert {value(letter, "event-number") for letter in results} == {"1", "2"}
        mine = await split.poison.dead_letters(subscription=subscription_id)
        assert len(mine) == 2
        await split.poison.repair("n1", "n2")
        skipped = await split.poison.operate("discard-dead-letters", id=value(mine[0], "id"))
        assert value(skipped.json(), "discarded") == 1
        again = await split.poison.operate("discard-dead-letters", id=value(mine[0], "id"))
        assert again.status_code == 404
        answer = (
            await split.poison.operate("redrive-dead-letters", subscription=f"Subscription/{subscription_id}")
        ).json()
        assert value(answer, "redriven") == 1
        endpoint = split.broker_fixture.subscriber.endpoint("a")

        def sent() -> list[int]:
            return [e.number for n in endpoint.of_type("event-notification") for e in n.events]

        assert await split.broker_fixture.subscriber.wait_until(lambda: sent() == [3, 2])
        assert {value(letter, "subscription") for letter in await split.poison.until_dead_letters(2)} == {
            other
        }
        assert await split.broker_fixture.status(subscription_id) == "active"


async def test_a_dead_letter_that_cannot_be_redriven_stays_with_the_reason(
    split: SplitBroker, store: Store
) -> None:
    await split.subscribe("a")
    await split.break_changes("n1", "n2", broken=["n1", "n2"])
    async with split.running(Role.MATCH):
        await split.poison.until_dead_letters(2)
    await redis_of(store).delete(split.poison.key("n1"))
    answer = (await split.poison.operate("redrive-dead-letters", kind="change")).json()
    assert (value(answer, "redriven"), value(answer, "refused")) == (1, 1)
    (problem,) = groups(answer, "problem")
    (letter,) = await split.poison.dead_letters()
    assert value(problem, "id") == value(letter, "id")
    assert "no longer stored" in value(problem, "reason")
    assert value(letter, "stored") is False


async def test_a_change_that_fails_again_is_a_dead_letter_again(split: SplitBroker) -> None:
    await split.subscribe("a")
    await split.break_changes("n1", broken=["n1"])
    async with split.running(Role.MATCH):
        (first,) = await split.poison.until_dead_letters(1)
        await split.poison.operate("redrive-dead-letters", all="true")

        async def is_back() -> bool:
            return [
                value(item, "id") != value(first, "id") for item in await split.poison.dead_letters()
            ] == [True]

        await until(is_back)


async def test_a_refused_inbox_entry_is_shown_in_full_and_accepted_once_its_cause_is_fixed(
    split: SplitBroker, store: Store
) -> None:
    reading = json.dumps(observation(HEART_RATE, "ana", AT, 70) | {"id": "soon"})
    await redis_of(store).xadd(keys.INBOX, {"resource": reading, "interaction": "delete"})
    (letter,) = await split.poison.until_dead_letters(1)
    (shown,) = await split.poison.dead_letters(id=value(letter, "id"))
    fields = {value(item, "name"): value(item, "value") for item in groups(shown, "field")}
    assert fields == {"resource": reading, "interaction": "delete"}
    assert groups(letter, "field") == [], "a list reports less"
    await split.poison.put("soon")
    await split.poison.operate("redrive-dead-letters", kind="inbox")

    async def is_gone() -> bool:
        return (await split.poison.client.get("/r4/Observation/soon")).status_code == 410

    await until(is_gone)
    assert await split.poison.dead_letters() == []


async def test_a_filter_is_processed_in_pages(split: SplitBroker) -> None:
    await split.subscribe("a")
    names = [f"n{n}" for n in range(6)]
    await split.break_changes(*names, broken=names)
    async with split.running(Role.MATCH):
        every = await split.poison.until_dead_letters(6)
    seen: list[Any] = []
    after = ""
    for _ in range(9):
        parameters = {"after": after} if after else {}
        page = (await split.poison.client.get("/r4/$dead-letters", params={"count": 4, **parameters})).json()
        seen += groups(page, "dead-letter")
        after = value(page, "next")
        if not after:
            break
    assert seen == every
    assert len(seen) == 6
    answer = (
        await split.poison.operate("discard-dead-letters", all="true", after=value(every[3], "id"))
    ).json()
    assert value(answer, "discarded") == 2
    assert await split.poison.dead_letters() == every[:4]

    async def are_counted() -> bool:
        return await read_total(split.poison.client, "broker_dead_letters", kind="change") == 4

    await until(are_counted)


@pytest.mark.parametrize(
    ("operation", "parameters", "status", "expected_text"),
    [
        ("dead-letters", {"id": "x"}, 400, "is not the id of a dead letter"),
        ("dead-letters", {"id": "change-9999-1-1"}, 404, "does not exist"),
        ("dead-letters", {"id": "event-none-1"}, 404, "does not exist"),
        ("dead-letters", {"kind": "love"}, 400, "change, event, inbox"),
        ("dead-letters", {"count": "0"}, 400, "from 1 to 1000"),
        ("dead-letters", {"after": "here"}, 400, "an earlier response"),
        ("dead-letters", {"colour": "red"}, 400, "is not supported"),
        ("redrive-dead-letters", {}, 400, "all=true"),
        ("discard-dead-letters", {}, 400, "all=true"),
        ("discard-dead-letters", {"all": "false"}, 400, "all=true"),
        ("discard-dead-letters", {"all": "perhaps"}, 400, "true or false"),
        ("discard-dead-letters", {"all": "true", "kind": "event"}, 400, "all=true"),
        ("discard-dead-letters", {"id": "event-none-1"}, 404, "does not exist"),
    ],
)
async def test_invalid_requests_are_refused_with_the_parameter(
    split: SplitBroker, operation: str, parameters: dict[str, str], status: int, expected_text: str
) -> None:
    response = await split.poison.operate(operation, **parameters)
    assert (response.status_code, response.json()["resourceType"]) == (status, "OperationOutcome")
    assert expected_text in response.json()["issue"][0]["diagnostics"]


async def test_all_may_be_sent_as_a_boolean(split: SplitBroker) -> None:
    body = {"resourceType": "Parameters", "parameter": [{"name": "all", "valueBoolean": True}]}
    response = await split.poison.client.post("/r4b/$discard-dead-letters", json=body)
    assert response.json()["parameter"] == [{"name": "discarded", "valueInteger": 0}]
