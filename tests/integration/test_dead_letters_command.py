"""`fhir-broker dead-letters` and `fhir-broker subscriptions` as an operator runs them."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator

import pytest

from broker.app import Role
from broker.model.change import DEFAULT_TENANT
from broker.store import keys
from broker.store.protocol import Store
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.commands import environment
from tests.integration.commands import run as commands_run
from tests.integration.poisoning import SplitBroker, split_broker_of
from tests.ports import free_port
from tests.spawning import run_broker
from tests.stores import redis_of


@pytest.fixture
async def split(
    start_broker: StartBroker, store: Store, subscriber: SimulatedSubscriber
) -> AsyncIterator[SplitBroker]:
    async with split_broker_of(start_broker, store, subscriber) as split_broker:
        yield split_broker


async def run(split: SplitBroker, *arguments: str, base: str = "") -> "subprocess.CompletedProcess[str]":
    """`fhir-broker ARGUMENTS` against the broker, on a wide terminal without colours."""
    command = [*arguments, "--base", base or split.api.settings.base_url]
    terminal = {"COLUMNS": "200", "NO_COLOR": "1"}
    return await asyncio.to_thread(run_broker, *command, env=environment() | terminal, timeout_s=50)


async def answered(split: SplitBroker, *arguments: str, code: int = 0) -> str:
    done = await run(split, *arguments)
    assert (done.returncode, done.stderr) == (code, ""), done.stdout
    return done.stdout


async def test_dead_letters_are_listed_and_shown(split: SplitBroker) -> None:
    [subscription_id] = await split.subscribe("a")
    await split.break_events(subscription_id, "n1", "n2", broken=["n1", "n2"])
    async with split.running(Role.DISPATCH):
        await split.poison.until_dead_letters(2)
    table = await answered(split, "dead-letters", "list")
    assert "2 dead letters" in table
    assert f"event-{subscription_id}-1" in table
    assert f"event 2 of {subscription_id}" in table
    listed = json.loads(await answered(split, "dead-letters", "list", "--kind", "event", "--json"))
    assert [letter["event-number"] for letter in listed] == ["1", "2"]
    shown = await answered(split, "dead-letters", "show", listed[0]["id"])
    assert "Observation/n1/_history/1" in shown


async def test_dead_letters_are_discarded_and_redriven(split: SplitBroker) -> None:
    [subscription_id] = await split.subscribe("a")
    await split.break_events(subscription_id, "n1", "n2", "n3", broken=["n1", "n2"])
    async with split.running(Role.DISPATCH):
        await split.poison.until_dead_letters(2)
        assert "1 discarded" in await answered(split, "dead-letters", "discard", f"event-{subscription_id}-1")
        await split.poison.repair("n1", "n2")
        redriven = await answered(
            split, "dead-letters", "redrive", "--subscription", subscription_id, "--json"
        )
        assert json.loads(redriven) == {"redriven": 1, "refused": 0, "problem": []}
        await split.poison.until_dead_letters(0)
        assert split.broker_fixture.subscriber.endpoint("a").numbers == [3]
        assert split.broker_fixture.subscriber.endpoint("a").duplicates == 1, "2, out of turn; 1 never"


async def test_a_dead_letter_that_cannot_be_redriven_is_reported_with_exit_code_1(
    split: SplitBroker, store: Store
) -> None:
    await split.subscribe("a")
    await split.break_changes("n1", broken=["n1"])
    async with split.running(Role.MATCH):
        await split.poison.until_dead_letters(1)
    await redis_of(store).delete(split.poison.key("n1"))
    text = await answered(split, "dead-letters", "redrive", "--all", code=1)
    assert "0 redriven, 1 refused" in text
    assert "no longer stored" in text
    assert "no longer stored" in await answered(split, "dead-letters", "list")


async def test_subscriptions_are_listed_and_shown(split: SplitBroker) -> None:
    [subscription_id] = await split.subscribe("a")
    await split.break_events(subscription_id, "n1", broken=["n1"])
    async with split.running(Role.DISPATCH):
        await split.poison.until_dead_letters(1)
    table = await answered(split, "subscriptions", "list")
    assert table.endswith("1 subscription\n")
    assert re.search(rf"{subscription_id}.*active.*1.*vital-signs.*could not be", table)
    assert json.loads(await answered(split, "subscriptions", "list", "--status", "error", "--json")) == []
    shown = await answered(split, "subscriptions", "show", subscription_id)
    assert split.broker_fixture.subscriber.url("a") in shown
    details = json.loads(await answered(split, "subscriptions", "show", subscription_id, "--json"))
    assert (details["id"], details["status"], details["events"]) == (subscription_id, "active", 1)


async def test_resend_sends_a_range_in_order_and_reports_what_is_no_longer_stored(
    split: SplitBroker, store: Store
) -> None:
    [subscription_id] = await split.subscribe("a")
    endpoint = split.broker_fixture.subscriber.endpoint("a")
    async with split.running(Role.MATCH, Role.DISPATCH):
        await split.broker_fixture.send(6)
        await split.broker_fixture.until_numbers("a", 6)
        await split.broker_fixture.until_delivered(subscription_id, 6)
        shard = store.layout.shard_of(DEFAULT_TENANT, subscription_id)
        await redis_of(store).xtrim(
            keys.outbox(shard, DEFAULT_TENANT, subscription_id), minid="3-0", approximate=False
        )
        report = json.loads(
            await answered(
                split,
                "subscriptions",
                "resend",
                subscription_id,
                "--from",
                "2",
                "--to",
                "8",
                "--json",
                code=1,
            )
        )
        assert report == {"requested": 7, "resent": 4, "expired": 1, "undelivered": 0, "unknown": 2}
        await split.broker_fixture.send(1)

        def sent() -> list[int]:
            return [e.number for n in endpoint.of_type("event-notification") for e in n.events]

        assert await split.broker_fixture.subscriber.wait_until(lambda: len(sent()) == 11)
        assert sorted(sent()[6:]) == [3, 4, 5, 6, 7]
        assert [n for n in sent()[6:] if n != 7] == [3, 4, 5, 6], "in order among themselves"
        await split.broker_fixture.until_delivered(subscription_id, 7)
        text = await answered(split, "subscriptions", "resend", subscription_id, "--from", "6")
        assert "2 events requested, 2 will be sent again" in text


async def test_resend_does_not_send_undelivered_events_early(split: SplitBroker) -> None:
    [subscription_id] = await split.subscribe("a")
    await split.break_events(subscription_id, "n1", "n2", broken=())
    report = json.loads(
        await answered(split, "subscriptions", "resend", subscription_id, "--from", "1", "--json")
    )
    assert report == {"requested": 2, "resent": 0, "expired": 0, "undelivered": 2, "unknown": 0}
    async with split.running(Role.DISPATCH):
        await split.broker_fixture.until_numbers("a", 2)
    assert split.broker_fixture.subscriber.endpoint("a").duplicates == 0


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
    split: SplitBroker, arguments: tuple[str, ...], says: str
) -> None:
    done = await run(split, *arguments)
    assert done.returncode == 2, done.stdout
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


async def test_a_broker_that_does_not_answer_is_exit_code_2(split: SplitBroker) -> None:
    done = await run(split, "dead-letters", "list", base=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 2
    assert "does not answer" in done.stderr


@pytest.mark.parametrize(("group", "command"), [("dead-letters", "redrive"), ("subscriptions", "resend")])
async def test_help_shows_examples(group: str, command: str) -> None:
    done = await asyncio.to_thread(commands_run, group, command, "--help")
    assert f"fhir-broker {group} {command}" in done.stdout
