"""`fhir-broker subscriptions` and `fhir-broker topics` as an operator runs them."""

import asyncio
import json
import subprocess
from datetime import timedelta
from typing import Any

import httpx
import pytest

from broker.testing.subscriber import Answer, SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Script, until
from tests.integration.commands import run as run_command

pytestmark = pytest.mark.usefixtures("long_leases")
TOPIC = "http://fhir-broker.org/topics/vital-signs"
HOUR = timedelta(hours=1)
_WAIT = ("--wait", "60")


class Operator:
    """Runs commands against one broker."""

    def __init__(self, base: str) -> None:
        self._base = base

    async def run(self, *arguments: str, code: int = 0) -> str:
        done: subprocess.CompletedProcess[str] = await asyncio.to_thread(
            run_command, *arguments, "--base", self._base
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert (done.stdout if code == 2 else done.stderr) == ""
        return done.stderr if code == 2 else done.stdout

    async def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(await self.run(*arguments, "--json", code=code))


async def test_a_subscription_is_shown_paused_activated_retried_tested_and_deleted(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with (
        start_broker(retry_base=HOUR, retry_max=HOUR, retry_budget=24 * HOUR) as broker,
        httpx.AsyncClient(
            base_url=broker.settings.base_url,
            headers={"Content-Type": "application/fhir+json"},
            trust_env=False,
            timeout=60,
        ) as client,
    ):
        fixture, operator = BrokerFixture(client, subscriber), Operator(broker.settings.base_url)
        filters = ("Observation?patient=Patient/ana",)
        own = await fixture.subscribe("a", release="r4", filters=filters, content="full-resource")
        endpoint = subscriber.endpoint("a")
        endpoint.answer = Script(503)
        await fixture.send(2)
        await fixture.until_counted(own, 2)

        async def has_failed() -> bool:
            return await fixture.error_code(own) is not None

        await until(has_failed)
        details = await operator.json("subscriptions", "show", own)
        table = await operator.run("subscriptions", "show", own)
        assert {name: details[name] for name in ("status", "release", "events", "delivered", "waiting")} == {
            "status": "active",
            "release": "r4",
            "events": 2,
            "delivered": 0,
            "waiting": 2,
        }
        assert details["filters"] == ["Observation?patient=Patient/ana"]
        assert details["attempts"] == 1
        assert "503" in details["error"][0]
        shown = [details[name] for name in details if name != "document"]
        texts = [each for content in shown for each in (content if isinstance(content, list) else [content])]
        assert all(str(text) in table for text in texts if text is not None)
        assert details["endpoint"] == subscriber.url("a")
        assert details["content"] == "full-resource"
        assert "next attempt" in table

        [row] = await operator.json("subscriptions", "list")
        line = next(
            line for line in (await operator.run("subscriptions", "list")).splitlines() if own in line
        )
        assert all(str(row[name]) in line for name in ("id", "status", "events", "topic"))
        assert (row["id"], row["events"], row["error"]) == (own, 2, details["error"])

        assert "attempted now" in await operator.run("subscriptions", "retry", own)
        await fixture.until_numbers("a", 2)
        await fixture.until_delivered(own, 2)
        assert "No notification waits" in await operator.run("subscriptions", "retry", own, code=1)

        assert "heartbeat delivered after" in await operator.run("subscriptions", "send-test", own)
        endpoint.answer = Script(500)
        tested = await operator.json("subscriptions", "send-test", own, code=1)
        assert (tested["id"], tested["delivered"]) == (own, False)
        assert "500" in tested["reason"]

        assert f"{own} is off" in await operator.run("subscriptions", "pause", own)
        assert await fixture.status(own) == "off"
        assert (await operator.json("subscriptions", "activate", own, *_WAIT))["status"] == "active"
        stored = (await client.get(f"/r4/Subscription/{own}")).json()
        assert stored["channel"]["payload"] == "application/fhir+json", "its release is still R4"
        assert (await operator.json("subscriptions", "show", own))["release"] == "r4"

        endpoint.answer = _refuse
        failed = await operator.run("subscriptions", "activate", own, *_WAIT, code=1)
        assert f"{own} is error: " in failed
        assert "400" in failed

        assert f"{own} is deleted" in await operator.run("subscriptions", "delete", own)
        gone = await operator.run("subscriptions", "show", own, code=2)
        assert gone.count("\n") == 1
        assert own in gone
        assert (await operator.run("subscriptions", "list")).strip() == "0 subscriptions"


async def _refuse(_body: bytes) -> Answer:
    return Answer(400)


async def test_topics_are_listed_and_shown(start_broker: StartBroker) -> None:
    async with start_broker() as broker:
        operator = Operator(broker.settings.base_url)
        rows = await operator.json("topics", "list")
        table = await operator.run("topics", "list")
        assert table.splitlines()[-1] == f"{len(rows)} topics"
        for row in rows:
            texts = (row["id"], row["topic"], row["status"], *row["focus"], *row["filters"])
            assert all(text in table for text in texts)
        details = await operator.json("topics", "show", "vital-signs")
        assert details["topic"].startswith(f"{TOPIC}|")
        assert details["document"]["resourceType"] == "SubscriptionTopic"
        assert await operator.json("topics", "show", TOPIC) == details
        shown = await operator.run("topics", "show", "vital-signs")
        assert all(text in shown for text in (*details["filters"], *details["triggers"]))
        assert "more codes" in shown
        for missing in ("nothing", "http://example.org/nothing"):
            assert (await operator.run("topics", "show", missing, code=2)).count("\n") == 1
