"""The scenarios, in plain words, with the requirement rows that each shows. Each returns its problems."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from broker.errors import ConfigurationError
from broker.receiver.notifications import read_notification
from broker.testing.subscriber import HANG_UP, Answer
from broker.testing.testkit.kit import AtFirst, Blocked, Kit, NotApplicable

Run = Callable[[Kit], Awaitable[list[str]]]
_HEARTBEAT_S = 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """`text` is what a person reads; `rows` are the requirements it shows."""

    name: str
    text: str
    rows: tuple[str, ...]
    run: Run


async def _in_order(kit: Kit) -> list[str]:
    async with kit.subscribed() as desk:
        problems = await desk.send(10)
        return problems + await desk.until_delivered()


async def _handshake(kit: Kit) -> list[str]:
    async with kit.subscribed() as desk:
        handshakes = desk.endpoint.of_type("handshake")
        if not handshakes:
            return ["the Subscription is active, and no handshake was received"]
        first = desk.endpoint.notifications[0]
        problems = [] if first.type == "handshake" else [f"the first notification is a {first.type}"]
        if handshakes[0].events_since_start:
            problems.append(f"the handshake counts {handshakes[0].events_since_start} events, not 0")
        if desk.id not in handshakes[0].subscription:
            problems.append(f"the handshake is of {handshakes[0].subscription}")
        return problems


async def _valid(kit: Kit) -> list[str]:
    problems = []
    for content in ("empty", "id-only", "full-resource"):
        async with kit.subscribed(content) as desk:
            problems += await desk.send(2) + await desk.until_delivered()
            problems += [f"{content}: {text}" for each in desk.endpoint.received for text in each.findings]
            for notification in desk.endpoint.of_type("event-notification"):
                foci = [event.focus for event in notification.events if event.focus]
                if content == "empty" and (foci or notification.resources):
                    problems.append("empty: the notification has foci or resources")
                if content != "empty" and not foci:
                    problems.append(f"{content}: an event has no focus")
                if content == "full-resource" and not notification.resources:
                    problems.append("full-resource: the notification has no resource")
    return problems


async def _unavailable(kit: Kit) -> list[str]:
    async with kit.subscribed() as desk:
        desk.endpoint.answer = AtFirst(Answer(503), Answer(503))
        problems = await desk.send(3) + await desk.until_delivered()
        attempts = [
            each
            for each in desk.endpoint.received
            if each.notification is not None and each.notification.type == "event-notification"
        ]
        refused = [each.body for each in attempts if each.answered == 503]
        if len(refused) < 2:
            problems.append("the notification was not sent again after a 503")
        elif len(set(refused)) != 1:
            problems.append("the second attempt had another body than the first")
        return problems


async def _slow(kit: Kit) -> list[str]:
    async with kit.subscribed() as slow, kit.subscribed() as quick:
        slow.endpoint.answer = blocked = Blocked()
        try:
            problems = await slow.send(3) + await quick.send(3)
            await kit.until(lambda: bool(slow.endpoint.waiting))
            problems += [f"beside a slow subscriber: {text}" for text in await quick.until_delivered()]
        finally:
            blocked.open()
        return problems + await slow.until_delivered()


async def _lost_answer(kit: Kit) -> list[str]:
    async with kit.subscribed() as desk:
        desk.endpoint.answer = AtFirst(Answer(HANG_UP))
        problems = await desk.send(2) + await desk.until_delivered()
        lost = [each for each in desk.endpoint.received if each.answered == HANG_UP]
        if not lost:
            return [*problems, "the first notification did not arrive"]
        again = desk.endpoint.received[desk.endpoint.received.index(lost[0]) + 1 :]
        if lost[0].body not in [each.body for each in again]:
            problems.append("the notification whose answer was lost was not sent again as it was")
        return problems


async def _duplicate(kit: Kit) -> list[str]:
    async with kit.subscribed() as desk:
        identifier = {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{uuid.uuid4()}"}
        reading = desk.reading() | {"identifier": [identifier]}
        query = f"identifier={identifier['system']}|{identifier['value']}"
        for _ in range(2):
            response = await kit.client.post(
                f"{kit.base}/Observation", json=reading, headers={"If-None-Exist": query}
            )
            if not response.is_success:
                raise NotApplicable(f"a conditional create is answered {response.status_code}")
        desk.sent.append(reading["valueQuantity"]["value"])
        return await desk.send(1) + await desk.until_delivered()


async def _heartbeat(kit: Kit) -> list[str]:
    try:
        async with kit.subscribed(heartbeat_s=_HEARTBEAT_S) as desk:
            problems = await desk.send(1) + await desk.until_delivered()
            await kit.until(lambda: bool(desk.endpoint.of_type("heartbeat")))
            heartbeats = desk.endpoint.of_type("heartbeat")
            if not heartbeats:
                return [*problems, f"no heartbeat came, although one is due every {_HEARTBEAT_S} s"]
            if (count := heartbeats[-1].events_since_start) not in {0, 1}:
                problems.append(f"a heartbeat counts {count} events, and there was one")
            problems += await desk.send(1) + await desk.until_delivered()
            return problems
    except ConfigurationError as refusal:
        raise NotApplicable(f"no Subscription with a heartbeat period: {refusal}") from refusal


async def _gone(kit: Kit) -> list[str]:
    async with kit.subscribed() as desk:
        desk.endpoint.answer = AtFirst(*[Answer(410)] * 100)
        problems = await desk.send(1)
        await kit.until(lambda: bool(desk.endpoint.of_type("event-notification")))
        for _ in range(int(kit.patience_s / 0.1)):
            if (await desk.read()).get("status") in {"off", "error"}:
                return problems
            await kit.pause(0.1)
        return [*problems, "the Subscription stays active although its endpoint is gone"]


async def _updates(kit: Kit) -> list[str]:
    async with kit.subscribed("full-resource") as desk:
        # of one resource: brokers need not keep the order between resources
        problems = await desk.send(8, resource_id=str(uuid.uuid4())) + await desk.until_delivered()
        values = [
            each["valueQuantity"]["value"]
            for notification in desk.endpoint.of_type("event-notification")
            for each in notification.resources
            if each["resourceType"] == "Observation"
        ]
        # a repeated notification repeats its values
        once = list(dict.fromkeys(values))
        return problems + ([] if once == desk.sent else [f"the values came as {once}, sent as {desk.sent}"])


async def _events(kit: Kit) -> list[str]:
    async with kit.subscribed() as desk:
        problems = await desk.send(4) + await desk.until_delivered()
        range_ = {"eventsSinceNumber": "2", "eventsUntilNumber": "3"}
        response = await kit.client.get(f"{desk.url}/$events", params=range_)
        if response.status_code in {404, 405, 501}:
            raise NotApplicable(f"$events answers {response.status_code}, and a broker need not have it")
        if response.status_code != 200:
            return [*problems, f"$events answers {response.status_code}"]
        answer = read_notification(response.content)
        numbers = [event.number for event in answer.events]
        if answer.type != "query-event":
            problems.append(f"the answer of $events is a {answer.type}")
        return problems + ([] if numbers == [2, 3] else [f"$events has {numbers}, not events 2 and 3"])


async def _status(kit: Kit) -> list[str]:
    async with kit.subscribed() as desk:
        problems = await desk.send(2) + await desk.until_delivered()
        response = await kit.client.get(f"{desk.url}/$status")
        if response.status_code != 200:
            return [*problems, f"$status answers {response.status_code}"]
        answer = response.json()
        if answer.get("type") != "searchset":
            problems.append(f"the answer of $status is a {answer.get('type')}")
        status = read_notification(response.content)
        if (status.type, status.events_since_start) != ("query-status", 2):
            problems.append(f"$status is a {status.type} of {status.events_since_start} events, not of 2")
        return problems


async def _kill(kit: Kit) -> list[str]:
    async with kit.subscribed() as desk:
        problems = await desk.send(5)
        await kit.restart()
        problems += await desk.send(5)
        return problems + await desk.until_delivered()


async def _key_rotation(kit: Kit) -> list[str]:
    async with kit.subscribed() as desk:
        secrets = []
        for _ in range(2):
            response = await kit.client.post(f"{desk.url}/$rotate-secret")
            if response.status_code != 200:
                raise NotApplicable(f"$rotate-secret answers {response.status_code}: nothing is signed")
            secrets.append(str(response.json()["parameter"][0]["valueString"]))
        problems = []
        for valid in secrets:  # both sign while a rotation goes on
            desk.endpoint.secrets = [valid]
            problems += await desk.send(1) + await desk.until_delivered()
        return problems + [each.problem for each in desk.endpoint.received if each.problem]


SCENARIOS = (
    Scenario(
        "handshake",
        "A new Subscription gets a handshake before anything else, and is active then.",
        ("R-261", "R-262"),
        _handshake,
    ),
    Scenario(
        "order",
        "Each reading is one event, numbered 1, 2, 3 without a gap and in order.",
        ("R-270", "R-274", "R-277"),
        _in_order,
    ),
    Scenario(
        "valid",
        "Each Bundle is valid, and has what its content level allows: nothing, foci, or resources.",
        ("R-200", "R-201", "R-240", "R-242", "R-243"),
        _valid,
    ),
    Scenario(
        "unavailable",
        "A subscriber that answers 503 gets the same Bundle again, and then the events behind it.",
        ("R-209", "R-305"),
        _unavailable,
    ),
    Scenario(
        "slow",
        "A subscriber that does not answer for a while holds up nobody else, and gets everything then.",
        ("R-277", "R-306"),
        _slow,
    ),
    Scenario(
        "lost-answer",
        "A subscriber whose answer got lost gets the same notification again, under the same numbers.",
        ("R-209", "R-274", "R-305"),
        _lost_answer,
    ),
    Scenario(
        "duplicate",
        "A reading that its gateway sends twice, as after a lost answer, is one event.",
        ("R-270",),
        _duplicate,
    ),
    Scenario(
        "heartbeat",
        "A subscriber that asks for heartbeats gets them, and they count no event.",
        ("R-263", "R-271"),
        _heartbeat,
    ),
    Scenario("gone", "A subscriber that answers 410 gets no more: its status changes.", ("R-307",), _gone),
    Scenario(
        "reorder",
        "The values of an Observation that is updated arrive in the order of the updates.",
        ("R-243", "R-277"),
        _updates,
    ),
    Scenario(
        "events",
        "A subscriber that missed events gets them with $events, under their numbers.",
        ("R-363", "R-266"),
        _events,
    ),
    Scenario("status", "$status reports how many events there were.", ("R-360", "R-361", "R-265"), _status),
    Scenario(
        "kill",
        "The broker is killed and started again: what it took is delivered, under the next numbers.",
        ("R-274",),
        _kill,
    ),
    Scenario(
        "key-rotation",
        "While a secret is rotated, the old and the new one verify each notification.",
        (),
        _key_rotation,
    ),
)
