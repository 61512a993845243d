"""`fhir-broker dead-letters` and `fhir-broker subscriptions` as an operator runs them."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from broker.app import Role
from broker.model.change import DEFAULT_TENANT
from broker.store import keys
from broker.store.protocol import Store
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.commands import REPOSITORY, environment
from tests.integration.commands import run as commands_run
from tests.integration.poisoning import Hub, hub_of
from tests.ports import free_port
from tests.stores import redis_of


@pytest.fixture
async def hub(start_broker: StartBroker, store: Store, subscriber: SimulatedSubscriber) -> AsyncIterator[Hub]:
    async with hub_of(start_broker, store, subscriber) as one:
        yield one


async def run(hub: Hub, *arguments: str, base: str = "") -> "subprocess.CompletedProcess[str]":
    """`fhir-broker ARGUMENTS` against the broker, on a wide terminal without colours."""
    command = [sys.executable, "-m", "broker", *arguments, "--base", base or hub.api.settings.base_url]
    return await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=REPOSITORY,
        env=environment() | {"COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


async def answered(hub: Hub, *arguments: str, code: int = 0) -> str:
    done = await run(hub, *arguments)
    assert (done.returncode, done.stderr) == (code, ""), done.stdout
    return done.stdout


async def test_dead_letters_are_listed_and_shown(hub: Hub) -> None:
    [one] = await hub.subscribe("a")
    await hub.break_events(one, "n1", "n2", broken=["n1", "n2"])
    async with hub.running(Role.DISPATCH):
        await hub.bench.until_letters(2)
    table = await answered(hub, "dead-letters", "list")
    assert "2 dead letters" in table
    assert f"event-{one}-1" in table
    assert f"event 2 of {one}" in table
    listed = json.loads(await answered(hub, "dead-letters", "list", "--kind", "event", "--json"))
    assert [letter["event-number"] for letter in listed] == ["1", "2"]
    shown = await answered(hub, "dead-letters", "show", listed[0]["id"])
    assert "Observation/n1/_history/1" in shown


async def test_dead_letters_are_discarded_and_redriven(hub: Hub) -> None:
    [one] = await hub.subscribe("a")
    await hub.break_events(one, "n1", "n2", "n3", broken=["n1", "n2"])
    async with hub.running(Role.DISPATCH):
        await hub.bench.until_letters(2)
        assert "1 discarded" in await answered(hub, "dead-letters", "discard", f"event-{one}-1")
        await hub.bench.mend("n1", "n2")
        redriven = await answered(hub, "dead-letters", "redrive", "--subscription", one, "--json")
        assert json.loads(redriven) == {"redriven": 1, "refused": 0, "problem": []}
        await hub.bench.until_letters(0)
        assert hub.broker_fixture.subscriber.endpoint("a").numbers == [3]
        assert hub.broker_fixture.subscriber.endpoint("a").duplicates == 1, "2, out of turn; 1 never"


async def test_a_dead_letter_that_cannot_be_redriven_is_reported_with_exit_code_1(
    hub: Hub, store: Store
) -> None:
    await hub.subscribe("a")
    await hub.break_changes("n1", broken=["n1"])
    async with hub.running(Role.MATCH):
        await hub.bench.until_letters(1)
    await redis_of(store).delete(hub.bench.key("n1"))
    text = await answered(hub, "dead-letters", "redrive", "--all", code=1)
    assert "0 redriven, 1 refused" in text
    assert "no longer stored" in text
    assert "no longer stored" in await answered(hub, "dead-letters", "list")


async def test_subscriptions_are_listed_and_shown(hub: Hub) -> None:
    [one] = await hub.subscribe("a")
    await hub.break_events(one, "n1", broken=["n1"])
    async with hub.running(Role.DISPATCH):
        await hub.bench.until_letters(1)
    table = await answered(hub, "subscriptions", "list")
    assert "1 subscriptions" in table
    assert re.search(rf"{one}.*active.*1.*vital-signs.*could not be", table)
    assert json.loads(await answered(hub, "subscriptions", "list", "--status", "error", "--json")) == []
    shown = await answered(hub, "subscriptions", "show", one)
    assert hub.broker_fixture.subscriber.url("a") in shown
    standing = json.loads(await answered(hub, "subscriptions", "show", one, "--json"))["standing"]
    assert (standing["id"], standing["status"], standing["events"]) == (one, "active", 1)


async def test_resend_sends_a_range_in_order_and_reports_what_is_no_longer_stored(
    hub: Hub, store: Store
) -> None:
    [one] = await hub.subscribe("a")
    endpoint = hub.broker_fixture.subscriber.endpoint("a")
    async with hub.running(Role.MATCH, Role.DISPATCH):
        await hub.broker_fixture.send(6)
        await hub.broker_fixture.until_numbers("a", 6)
        shard = store.layout.shard_of(DEFAULT_TENANT, one)
        await redis_of(store).xtrim(keys.outbox(shard, DEFAULT_TENANT, one), minid="3-0", approximate=False)
        report = json.loads(
            await answered(hub, "subscriptions", "resend", one, "--from", "2", "--to", "8", "--json", code=1)
        )
        assert report == {"requested": 7, "resent": 4, "expired": 1, "undelivered": 0, "unknown": 2}
        await hub.broker_fixture.send(1)

        def sent() -> list[int]:
            return [e.number for n in endpoint.of_type("event-notification") for e in n.events]

        assert await hub.broker_fixture.subscriber.wait_until(lambda: len(sent()) == 11)
        assert sorted(sent()[6:]) == [3, 4, 5, 6, 7]
        assert [n for n in sent()[6:] if n != 7] == [3, 4, 5, 6], "in order among themselves"
        text = await answered(hub, "subscriptions", "resend", one, "--from", "6")
        assert "2 events requested, 2 will be sent again" in text


async def test_resend_does_not_send_undelivered_events_early(hub: Hub) -> None:
    [one] = await hub.subscribe("a")
    await hub.break_events(one, "n1", "n2", broken=())
    report = json.loads(await answered(hub, "subscriptions", "resend", one, "--from", "1", "--json"))
    assert report == {"requested": 2, "resent": 0, "expired": 0, "undelivered": 2, "unknown": 0}
    async with hub.running(Role.DISPATCH):
        await hub.broker_fixture.until_numbers("a", 2)
    assert hub.broker_fixture.subscriber.endpoint("a").duplicates == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("dead-letters", "show", "event-nobody-1"), "does not exist"),
        (("dead-letters", "redrive"), "--all"),
        (("dead-letters", "list", "--kind", "love"), "change, event, inbox"),
        (("subscriptions", "show", "nobody"), "nobody"),
        (("subscriptions", "resend", "nobody", "--from", "3", "--to", "2"), "is before"),
    ],
)
async def test_a_command_that_fails_prints_one_line_with_exit_code_2(
    hub: Hub, arguments: tuple[str, ...], says: str
) -> None:
    done = await run(hub, *arguments)
    assert done.returncode == 2, done.stdout
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


async def test_a_broker_that_does_not_answer_is_exit_code_2(hub: Hub) -> None:
    done = await run(hub, "dead-letters", "list", base=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 2
    assert "does not answer" in done.stderr


@pytest.mark.parametrize(("group", "command"), [("dead-letters", "redrive"), ("subscriptions", "resend")])
async def test_help_shows_examples(group: str, command: str) -> None:
    done = await asyncio.to_thread(commands_run, group, command, "--help")
    assert f"fhir-broker {group} {command}" in done.stdout
