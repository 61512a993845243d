"""A Subscription that is registered with an end in the past (decision 104)."""

import httpx
import pytest

from broker.model.release import Release
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import VITAL_SIGNS, BrokerFixture

pytestmark = pytest.mark.usefixtures("long_leases")
PAST = "2020-12-31T12:00:00Z"
OUTCOME = {"Prefer": "return=OperationOutcome"}


@pytest.mark.parametrize("release", Release)
async def test_a_subscription_whose_end_has_passed_is_off_with_the_reason_until_its_end_is_changed(
    broker_fixture: BrokerFixture, release: Release
) -> None:
    client = broker_fixture.client
    document = broker_fixture.document("a", release=release) | {"end": PAST}
    created = await client.post(f"/{release}/Subscription", json=document)
    assert (created.status_code, created.json()["status"], created.json()["end"]) == (201, "off", PAST)
    url = created.headers["Location"].partition("/_history")[0]
    assert "Warning: The end 2020-12-31T12:00:00.000Z has passed" in (await client.get(f"{url}/$status")).text
    again = await client.put(url, json=document | {"id": created.json()["id"]}, headers=OUTCOME)
    (issue,) = again.json()["issue"]
    assert (again.status_code, issue["severity"]) == (200, "warning")
    assert issue["expression"] == ["Subscription.end"]
    assert broker_fixture.subscriber.endpoint("a").received == []
    later = document | {"id": created.json()["id"], "end": "2100-01-01T00:00:00Z"}
    assert (await client.put(url, json=later)).json()["status"] == "requested"
    await broker_fixture.until_status(created.json()["id"], "active")
    assert "Warning" not in (await client.get(f"{url}/$status")).text


async def test_where_past_ends_are_ignored_a_test_kit_may_use_its_old_examples(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with (
        start_broker(past_end="ignore") as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, trust_env=False, timeout=60) as client,
    ):
        fixture = BrokerFixture(client, subscriber)
        document = subscription("r4", VITAL_SIGNS, subscriber.url("a"), timeout_s=60, max_count=20)
        created = await client.post(
            "/r4/Subscription",
            json=document | {"end": PAST},
            headers={"Content-Type": "application/fhir+json"},
        )
        assert (created.status_code, created.json()["status"]) == (201, "requested")
        assert "end" not in created.json()
        await fixture.until_status(created.json()["id"], "active")
        assert [each.type for each in subscriber.endpoint("a").notifications] == ["handshake"]
