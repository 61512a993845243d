"""What grows without end elsewhere is bounded here, and what is lost by it is told to all concerned."""

from typing import Any

import httpx
from structlog.testing import capture_logs

from broker.app import Role
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Gate, Script, until
from tests.metrics import read_total

MOST = 20
_HEADERS = {"Content-Type": "application/fhir+json"}


def client_of(base: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=base, headers=_HEADERS, timeout=10, trust_env=False)


def texts(resource: dict[str, Any]) -> str:
    """The errors of a status of any release."""
    if resource["resourceType"] == "Parameters":
        return " | ".join(
            one["valueCodeableConcept"]["text"] for one in resource["parameter"] if one["name"] == "error"
        )
    return " | ".join(one["text"] for one in resource.get("error", []))


async def test_a_backlog_beyond_its_limit_is_reported_by_status_events_metric_and_log(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    with capture_logs() as logs:
        async with start_broker(max_outbox=MOST) as broker, client_of(broker.settings.base_url) as client:
            broker_fixture = BrokerFixture(client, subscriber)
            one = await broker_fixture.subscribe("a", max_count=1)
            gate = subscriber.endpoint("a").answer = Gate()
            await broker_fixture.send(MOST + 10)
            await broker_fixture.until_status(one, "error")
            await broker_fixture.until_counted(one, MOST + 10)
            status = await broker_fixture.status_of(one)
            assert "are missing" in texts(status)
            assert "BROKER_MAX_OUTBOX" in texts(status)
            kept = await broker_fixture.events(one)
            gap = kept[0] - 1
            assert kept == list(range(gap + 1, MOST + 11))
            assert gap >= 10
            assert f"events 1 to {gap} are missing" in texts(status)
            assert await read_total(client, "broker_events_given_up_total", reason="size") == gap
            gate.opened.set()
            for release in ("r4", "r4b", "r5"):
                bundle = (await client.get(f"/{release}/Subscription/{one}/$events")).json()
                assert f"events 1 to {gap} are missing" in texts(bundle["entry"][0]["resource"]), release
            r4 = (await client.get(f"/r4/Subscription/{one}")).json()
            assert f"events 1 to {gap} are missing" in r4["error"]
    lines = [line for line in logs if line["event"] == "undelivered events given up"]
    assert lines[0]["subscription"] == one
    assert lines[0]["log_level"] == "error"


async def test_after_a_gap_a_reactivation_resumes_and_events_still_reports_the_gap(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with start_broker(max_outbox=MOST) as broker, client_of(broker.settings.base_url) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        one = await broker_fixture.subscribe("a", max_count=4)
        endpoint = subscriber.endpoint("a")
        gate = endpoint.answer = Gate(503)
        await broker_fixture.send(MOST + 10)
        await broker_fixture.until_counted(one, MOST + 10)
        await broker_fixture.until_status(one, "error")
        gap = (await broker_fixture.events(one))[0] - 1
        gate.opened.set()
        endpoint.answer = Script()
        await broker_fixture.request_again(one)
        await broker_fixture.until_status(one, "active")
        await broker_fixture.send(2)
        assert await subscriber.wait_until(lambda: MOST + 12 in endpoint.numbers)
        after = [number for number in endpoint.numbers if number > gap]
        assert after == list(range(gap + 1, MOST + 13)), "no number is missing behind the gap"
        assert texts(await broker_fixture.status_of(one)) == "", "the client has answered the error"
        bundle = (await client.get(f"/r5/Subscription/{one}/$events?eventsSinceNumber=1")).json()
        assert f"events 1 to {gap} are missing" in texts(bundle["entry"][0]["resource"])
        later = (await client.get(f"/r5/Subscription/{one}/$events?eventsSinceNumber={gap + 1}")).json()
        assert texts(later["entry"][0]["resource"]) == "", "nothing of this range is missing"


async def test_producers_get_503_while_too_many_changes_wait_for_matching(
    start_broker: StartBroker,
) -> None:
    api = frozenset({Role.API})
    reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 72) | {"id": "same"}
    async with start_broker(api, max_changes=MOST) as broker, client_of(broker.settings.base_url) as client:

        async def put() -> httpx.Response:
            return await client.put("/r4/Observation/same", json=reading)

        for _ in range(MOST):
            assert (await put()).is_success
        assert (await client.get("/readyz")).status_code == 503
        refused = await put()
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        issue = refused.json()["issue"][0]
        assert issue["code"] == "throttled"
        assert "BROKER_MAX_CHANGES" in issue["diagnostics"]
        parts = (await client.get("/readyz")).json()["parts"]
        assert "wait to be matched" in parts["intake"]
        assert parts["store"] == "ok"
        assert (await client.get("/r4/Observation/same")).json()["meta"]["versionId"] == str(MOST)
        transaction = {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {"resource": reading, "request": {"method": "PUT", "url": "Observation/same"}},
            ],
        }
        assert (await client.post("/r4", json=transaction)).status_code == 503
        async with start_broker(frozenset({Role.MATCH}), max_changes=MOST):

            async def taken() -> bool:
                return (await put()).is_success

            await until(taken)
            assert (await client.get("/readyz")).status_code == 200
