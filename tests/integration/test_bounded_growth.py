"""The limits of the outboxes and of the change log: a loss is reported to the subscriber and to the
operator.
"""

from typing import Any

import httpx
from structlog.testing import capture_logs

from broker.app import Role
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Gate, Script, until, until_ready
from tests.metrics import read_total

MAX_WAITING = 20
_HEADERS = {"Content-Type": "application/fhir+json"}


def client_of(base: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=base, headers=_HEADERS, timeout=60, trust_env=False)


def texts(resource: dict[str, Any]) -> str:
    """The texts of the errors in a status resource of any release."""
    if resource["resourceType"] == "Parameters":
        return " | ".join(
            parameter["valueCodeableConcept"]["text"]
            for parameter in resource["parameter"]
            if parameter["name"] == "error"
        )
    return " | ".join(error["text"] for error in resource.get("error", []))


async def test_a_backlog_beyond_its_limit_is_reported_by_status_events_metric_and_log(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    with capture_logs() as logs:
        async with (
            start_broker(max_outbox=MAX_WAITING) as broker,
            client_of(broker.settings.base_url) as client,
        ):
            broker_fixture = BrokerFixture(client, subscriber)
            subscription_id = await broker_fixture.subscribe("a", max_count=1, timeout_s=60)
            gate = subscriber.endpoint("a").answer = Gate()
            await broker_fixture.send(MAX_WAITING + 10)
            await broker_fixture.until_status(subscription_id, "error")
            await broker_fixture.until_counted(subscription_id, MAX_WAITING + 10)
            status = await broker_fixture.status_of(subscription_id)
            assert "are missing" in texts(status)
            assert "BROKER_MAX_OUTBOX" in texts(status)
            kept = await broker_fixture.events(subscription_id)
            gap = kept[0] - 1
            assert kept == list(range(gap + 1, MAX_WAITING + 11))
            assert gap >= 10
            assert f"events 1 to {gap} are missing" in texts(status)
            assert await read_total(client, "broker_events_given_up_total", reason="size") == gap
            gate.opened.set()
            for release in ("r4", "r4b", "r5"):
                bundle = (await client.get(f"/{release}/Subscription/{subscription_id}/$events")).json()
                assert f"events 1 to {gap} are missing" in texts(bundle["entry"][0]["resource"]), release
            r4 = (await client.get(f"/r4/Subscription/{subscription_id}")).json()
            assert f"events 1 to {gap} are missing" in r4["error"]
    lines = [line for line in logs if line["event"] == "undelivered events given up"]
    assert lines[0]["subscription"] == subscription_id
    assert lines[0]["log_level"] == "error"


async def test_after_a_gap_a_reactivation_resumes_and_events_still_reports_the_gap(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with start_broker(max_outbox=MAX_WAITING) as broker, client_of(broker.settings.base_url) as client:
        broker_fixture = BrokerFixture(client, subscriber)
        subscription_id = await broker_fixture.subscribe("a", max_count=4, timeout_s=60)
        endpoint = subscriber.endpoint("a")
        gate = endpoint.answer = Gate(503)
        await broker_fixture.send(MAX_WAITING + 10)
        await broker_fixture.until_counted(subscription_id, MAX_WAITING + 10)
        await broker_fixture.until_status(subscription_id, "error")
        gap = (await broker_fixture.events(subscription_id))[0] - 1
        gate.opened.set()
        endpoint.answer = Script()
        await broker_fixture.request_again(subscription_id)
        await broker_fixture.until_status(subscription_id, "active")
        await broker_fixture.send(2)
        assert await subscriber.wait_until(lambda: MAX_WAITING + 12 in endpoint.numbers)
        after = [number for number in endpoint.numbers if number > gap]
        assert after == list(range(gap + 1, MAX_WAITING + 13)), "no number is missing after the gap"
        assert texts(await broker_fixture.status_of(subscription_id)) == "", (
            "the client has responded to the error"
        )
        bundle = (await client.get(f"/r5/Subscription/{subscription_id}/$events?eventsSinceNumber=1")).json()
        assert f"events 1 to {gap} are missing" in texts(bundle["entry"][0]["resource"])
        later = (
            await client.get(f"/r5/Subscription/{subscription_id}/$events?eventsSinceNumber={gap + 1}")
        ).json()
        assert texts(later["entry"][0]["resource"]) == "", "no number of this range is missing"


async def test_producers_get_503_while_too_many_changes_wait_for_matching(
    start_broker: StartBroker,
) -> None:
    api = frozenset({Role.API})
    reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 72) | {"id": "same"}
    async with (
        start_broker(api, max_changes=MAX_WAITING) as broker,
        client_of(broker.settings.base_url) as client,
    ):

        async def put() -> httpx.Response:
            return await client.put("/r4/Observation/same", json=reading)

        for _ in range(MAX_WAITING):
            assert (await put()).is_success
        assert (await client.get("/readyz")).status_code == 503
        refused = await put()
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        issue = refused.json()["issue"][0]
        assert issue["code"] == "throttled"
        assert "BROKER_MAX_CHANGES" in issue["diagnostics"]

        async def is_reported() -> bool:
            # a store that is late is reported instead
            parts = (await client.get("/readyz")).json()["parts"]
            return parts["store"] == "ok" and "wait to be matched" in parts["intake"]

        await until(is_reported)
        assert (await client.get("/r4/Observation/same")).json()["meta"]["versionId"] == str(MAX_WAITING)
        transaction = {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {"resource": reading, "request": {"method": "PUT", "url": "Observation/same"}},
            ],
        }
        assert (await client.post("/r4", json=transaction)).status_code == 503
        matcher = frozenset({Role.MATCH})
        async with start_broker(matcher, max_changes=MAX_WAITING, base_url=broker.settings.base_url):

            async def is_accepted() -> bool:
                return (await put()).is_success

            await until(is_accepted)
            await until_ready(client)
