"""`$dry-run`: what an unregistered Subscription would have received."""

from tests.integration.broker_fixture import BrokerFixture
from tests.integration.operations_client import groups, question, reading, value


async def test_a_dry_run_lists_what_a_subscription_would_have_received(broker_fixture: BrokerFixture) -> None:
    first = await broker_fixture.send(3)
    await broker_fixture.send(2, patient="ben")
    document = broker_fixture.document("ward", filters=["patient=Patient/ana"])
    answer = (
        await broker_fixture.client.post("/r5/Subscription/$dry-run", json=question(subscription=document))
    ).json()
    assert (value(answer, "changes"), value(answer, "matched")) == (5, 3)
    assert value(answer, "complete") is True
    assert value(answer, "oldest")
    results = [value(item, "reference") for item in groups(answer, "match")]
    assert sorted(results) == sorted(f"Observation/{item}/_history/1" for item in first)
    times = [value(item, "time") for item in groups(answer, "match")]
    assert times == sorted(times, reverse=True)
    assert (await broker_fixture.client.get("/r5/Subscription?_summary=count")).json()["total"] == 0


async def test_a_dry_run_looks_at_the_newest_changes_and_shows_at_most_a_hundred(
    broker_fixture: BrokerFixture,
) -> None:
    entries = [
        {"resource": reading(value=60 + n % 40), "request": {"method": "POST", "url": "Observation"}}
        for n in range(300)
    ]
    batch = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    assert (await broker_fixture.client.post("/r4", json=batch)).status_code == 200
    document = broker_fixture.document("ward")
    for count, shown in ((3, 3), (280, 100)):
        response = await broker_fixture.client.post(
            "/r5/Subscription/$dry-run", json=question(subscription=document, count=count)
        )
        answer = response.json()
        assert (value(answer, "changes"), value(answer, "matched")) == (count, count)
        assert value(answer, "complete") is False
        assert len(groups(answer, "match")) == shown


async def test_a_dry_run_refuses_what_registration_refuses(broker_fixture: BrokerFixture) -> None:
    document = broker_fixture.document("ward", topic="http://example.org/unknown") | {
        "endpoint": "http://10.0.0.1/x"
    }
    registered = await broker_fixture.client.post("/r5/Subscription", json=document)
    tried = await broker_fixture.client.post(
        "/r5/Subscription/$dry-run", json=question(subscription=document)
    )
    assert registered.status_code == tried.status_code == 422
    assert tried.json()["issue"] == registered.json()["issue"]
    good = broker_fixture.document("ward")
    for count in ("0", "10001", "many"):
        response = await broker_fixture.client.post(
            "/r5/Subscription/$dry-run", json=question(subscription=good, count=count)
        )
        assert response.status_code == 400
    assert (
        await broker_fixture.client.post("/r5/Subscription/$dry-run", json=question(count=3))
    ).status_code == 400
