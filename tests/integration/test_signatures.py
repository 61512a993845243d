"""Notifications are signed once a Subscription has a secret: handshakes, heartbeats, events and retries, over
rest-hook and message. Libraries of two languages verify them.
"""

import asyncio
import json
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from broker.receiver.signatures import NotVerified, verify
from broker.testing.registration import register_subscription
from broker.testing.subscriber import Received, SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Script, broker_with
from tests.integration.commands import run

pytestmark = pytest.mark.usefixtures("long_leases")
NODE_PACKAGE = Path(__file__).parent / "webhooks"
INSTALL_S = 120
_NO_ANSWER = (
    *("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"),
    *("ERR_SOCKET_TIMEOUT", "E429", "E500", "E502", "E503", "E504"),
)
"""What npm writes where its registry is not reached, or is out of order."""


def signature_of(request: Received) -> dict[str, str]:
    lower = {name.lower(): value for name, value in request.headers}
    return {name: lower[name] for name in lower if name.startswith("webhook-")}


async def rotate(fixture: BrokerFixture, subscription_id: str, **query: str) -> dict[str, str]:
    url = f"/r5/Subscription/{subscription_id}/$rotate-secret"
    response = await fixture.client.post(url, params=query)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    return {
        part["name"]: next(value for name, value in part.items() if name.startswith("value"))
        for part in response.json()["parameter"]
    }


async def put_again(fixture: BrokerFixture, subscription_id: str, **changed: Any) -> None:
    await fixture.request_again(subscription_id, **changed)
    await fixture.until_status(subscription_id, "active")


async def until_event(fixture: BrokerFixture, name: str, number: int) -> Received:
    """The first request with the event of this number."""
    endpoint = fixture.subscriber.endpoint(name)

    def with_event() -> list[Received]:
        return [
            request
            for request in endpoint.received
            if request.notification and any(event.number == number for event in request.notification.events)
        ]

    assert await fixture.subscriber.wait_until(lambda: bool(with_event()))
    return with_event()[0]


async def test_every_notification_is_signed_from_the_first_secret_on(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(start_broker, subscriber) as fixture:
        own = await fixture.subscribe("a")
        endpoint = subscriber.endpoint("a")
        assert signature_of(endpoint.received[-1]) == {}, "there is no secret yet"
        unsigned = len(endpoint.received)
        rotated = await rotate(fixture, own)
        assert rotated.keys() == {"secret"}
        secret = rotated["secret"]
        endpoint.secrets = [secret]
        await put_again(fixture, own)
        endpoint.answer = Script(503, 503)
        await fixture.send()
        await fixture.until_numbers("a", 1)
        await fixture.until_delivered(own, 1)
        await put_again(fixture, own, heartbeatPeriod=1)
        assert await subscriber.wait_until(lambda: bool(endpoint.of_type("heartbeat")))
        signed = endpoint.received[unsigned:]
        assert [request.problem for request in signed] == [""] * len(signed)
        for request in signed:
            Webhook(secret).verify(request.body.decode(), signature_of(request))
        ids: dict[str, list[str]] = {}
        for request in signed:
            assert request.notification is not None
            ids.setdefault(request.notification.type, []).append(signature_of(request)["webhook-id"])
        assert len(ids["event-notification"]) >= 3
        assert len(set(ids["event-notification"])) == 1, "each attempt of a notification has its id"
        assert len({each[0] for each in ids.values()}) == len(ids) == 3
        assert not any("." in each for of_type in ids.values() for each in of_type)
        tested = await fixture.client.post(f"/r5/Subscription/{own}/$send-test")
        assert tested.json()["parameter"][0] == {"name": "delivered", "valueBoolean": True}
        assert secret not in (await fixture.client.get(f"/r5/Subscription/{own}")).text


async def test_two_secrets_sign_during_a_rotation_and_one_after_it(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(start_broker, subscriber, secret_overlap=timedelta(hours=1)) as fixture:
        own = await fixture.subscribe("a")
        first = (await rotate(fixture, own))["secret"]
        second = await rotate(fixture, own)
        assert second["previous-until"] > "2026"
        await fixture.send()
        both = await until_event(fixture, "a", 1)
        for secret in (first, second["secret"]):
            Webhook(secret).verify(both.body.decode(), signature_of(both))
        third = await rotate(fixture, own, endPrevious="true")
        assert third.keys() == {"secret"}, "the previous one ended"
        await fixture.send()
        last = await until_event(fixture, "a", 2)
        Webhook(third["secret"]).verify(last.body.decode(), signature_of(last))
        assert len(signature_of(last)["webhook-signature"].split(" ")) == 1
        for secret in (first, second["secret"]):
            with pytest.raises(NotVerified):
                verify(signature_of(last), last.body, [secret], int(signature_of(last)["webhook-timestamp"]))
        # a subscriber that has only an old secret refuses what comes
        subscriber.endpoint("a").secrets = [first]
        await fixture.send()
        refused = await until_event(fixture, "a", 3)
        assert (refused.answered, refused.problem) == (401, "no signature fits the body")


async def test_the_secret_stays_with_an_update_and_goes_with_the_subscription(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(start_broker, subscriber) as fixture:
        own = await fixture.subscribe("a", release="r4", headers=[("X-Key", "hunter2")])
        secret = (await rotate(fixture, own))["secret"]
        await put_again(fixture, own, reason="another reason")
        updated = subscriber.endpoint("a").received[-1]
        assert dict(updated.headers)["X-Key"] == "hunter2", "the mask kept the value"
        Webhook(secret).verify(updated.body.decode(), signature_of(updated))
        url = f"/r5/Subscription/{own}"
        document = (await fixture.client.get(url)).json()
        assert (await fixture.client.delete(url)).status_code in {200, 204}
        assert (await fixture.client.post(f"{url}/$rotate-secret")).status_code == 410
        masked = document | {"status": "requested"}
        assert (await fixture.client.put(url, json=masked)).status_code == 422, "the value is gone too"
        document = masked | {"parameter": [{"name": "X-Key", "value": "other"}]}
        assert (await fixture.client.put(url, json=document)).status_code == 201
        await fixture.until_status(own, "active")
        again = subscriber.endpoint("a").received[-1]
        assert signature_of(again) == {}


async def test_a_message_is_signed_as_it_is_sent_and_pull_channels_have_no_secret(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(start_broker, subscriber) as fixture:
        document = fixture.document("m", release="r4")
        document["channel"]["type"] = "message"
        own = (await register_subscription(fixture.client, "/r4", document))["id"]
        await fixture.until_status(own, "active")
        secret = (await rotate(fixture, own))["secret"]
        await fixture.send()
        request = await until_event(fixture, "m", 1)
        assert json.loads(request.body)["type"] == "message"
        Webhook(secret).verify(request.body.decode(), signature_of(request))
        document["channel"] |= {"type": "websocket"}
        del document["channel"]["endpoint"]
        pulled = (await register_subscription(fixture.client, "/r4", document))["id"]
        refused = await fixture.client.post(f"/r4/Subscription/{pulled}/$rotate-secret")
        assert refused.status_code == 422
        assert refused.json()["issue"][0]["expression"] == ["Subscription.channel.type"]
        wrong = await fixture.client.post(f"/r4/Subscription/{own}/$rotate-secret?endPrevious=maybe")
        assert wrong.status_code == 400


async def test_the_command_shows_a_secret_once(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(start_broker, subscriber) as fixture:
        own = await fixture.subscribe("a")
        base = str(fixture.client.base_url)
        command = ("subscriptions", "rotate-secret", own, "--base", base)
        first = await asyncio.to_thread(run, *command)
        assert first.returncode == 0, first.stderr
        assert first.stdout.startswith("whsec_")
        assert len(first.stdout.splitlines()) == 1
        second = json.loads((await asyncio.to_thread(run, *command, "--json")).stdout)
        assert second["id"] == own
        assert second["previous_until"]
        await fixture.send()
        request = await until_event(fixture, "a", 1)
        for secret in (first.stdout.strip(), second["secret"]):
            Webhook(secret).verify(request.body.decode(), signature_of(request))


async def test_dispatchers_that_have_the_subscription_already_sign_with_the_new_secret(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(start_broker, subscriber) as fixture:
        own = await fixture.subscribe("a")
        for round_number in range(1, 4):
            secret = (await rotate(fixture, own))["secret"]
            await fixture.send()
            request = await until_event(fixture, "a", round_number)
            Webhook(secret).verify(request.body.decode(), signature_of(request))


async def test_the_javascript_library_verifies_what_is_sent(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    folder = _installed_node_package(tmp_path)
    async with broker_with(start_broker, subscriber) as fixture:
        own = await fixture.subscribe("a", content="full-resource")
        secret = (await rotate(fixture, own))["secret"]
        await fixture.send()
        request = await until_event(fixture, "a", 1)
    body = request.body.decode()
    signed = {"headers": signature_of(request), "body": body, "secret": secret}
    other = {"secret": "whsec_" + "A" * 43 + "="}
    cases = [signed, signed | {"body": f"{body} "}, signed | other]
    done = await asyncio.to_thread(
        subprocess.run,
        ["node", "verify.mjs"],
        cwd=folder,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, False, False]


def _installed_node_package(tmp_path: Path) -> Path:
    """The package in a folder of its own, with its locked dependencies. Skips where they cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path / "webhooks"
    shutil.copytree(NODE_PACKAGE, folder)
    try:
        installed = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm got no answer from its registry")
    output = installed.stdout + installed.stderr
    if any(code in output for code in _NO_ANSWER):
        pytest.skip("npm got no answer from its registry")
    assert installed.returncode == 0, output
    return folder
