"""`fhir-broker doctor` beside a broker that runs, with the endpoints that are registered there."""

import json
from dataclasses import replace

import httpx

from broker.app import Running
from broker.app.doctor import State, examine
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.broker_fixture import VITAL_SIGNS
from tests.integration.commands import run


async def test_the_doctor_of_a_healthy_broker_finds_no_failure_and_reads_its_endpoints(
    broker: Running, client: httpx.AsyncClient, subscriber: SimulatedSubscriber
) -> None:
    for name in ("a", "b"):
        await register_subscription(client, "/r5", subscription("r5", VITAL_SIGNS, subscriber.url(name)))
    settings = broker.settings
    assert settings.redis_url is not None
    done = run("doctor", "--json", redis_url=settings.redis_url, key_ring=str(settings.key_ring), port="8080")
    assert done.returncode == 0, done.stdout
    findings = json.loads(done.stdout)
    assert not done.stderr
    assert {finding["check"] for finding in findings} == {
        *("settings", "store", "clock", "disk", "DNS", "endpoints", "TLS", "certificates", "permissions")
    }
    assert {finding["state"] for finding in findings} == {"ok", "warning"}
    [endpoints] = [finding for finding in findings if finding["check"] == "endpoints"]
    assert endpoints["finding"] == "1 origin may be notified"

    found = await examine(replace(settings, egress_allow=()))
    [refused] = [each for each in found if each.check == "endpoints" and each.state is State.WARNING]
    origin = subscriber.url("").rstrip("/")
    assert refused.finding == f"{origin} (2 subscriptions): 127.0.0.1 is not a public address"
    assert "BROKER_EGRESS_ALLOW" in refused.action


def test_settings_that_are_not_valid_are_the_only_failure() -> None:
    done = run("doctor", port="many")
    assert done.returncode == 1
    assert "BROKER_PORT='many' is not valid." in done.stdout
    assert "1 failures, 0 warnings" in done.stdout
