"""`$dry-run`: what an unregistered Subscription would have received of the last changes. It looks and never writes."""

import asyncio

from broker.api.named_values import Given, flag, group, instant, read, render, resource, text, whole
from broker.api.registration import accept
from broker.api.responses import Call, Reply
from broker.errors import Issue, Malformed
from broker.fhir import documents
from broker.matching.naive import NaiveMatcher
from broker.matching.problems import Problem
from broker.model.change import Change

DEFAULT_COUNT = 1_000
MAX_COUNT = 10_000
MAX_SHOWN = 100
MAX_PROBLEMS = 5


async def dry_run(call: Call) -> Reply:
    """The newest first. A Subscription that would be refused is refused here for the same reasons.

    Chained filters see what they refer to as it is now, not as it was at the time of the change.
    """
    given = read(call.body, ("subscription", "count"))
    count = _count(given.get("count"))
    body = resource(given, "subscription")
    documents.check_type(body, "Subscription")
    now_ms = call.services.clock.now_ms()
    draft = accept(
        call, call.adapter.parse_subscription(body, tenant=call.tenant, id="dry-run", now_ms=now_ms)
    )
    topic = call.services.catalog.bound(draft.topic_canonical)
    if topic is None:
        raise Malformed(Issue("not-supported", f"the topic {draft.topic} is no longer served"))
    matcher = NaiveMatcher(call.services.catalog.search_context(call.services.bases))
    matcher.put(draft, topic)
    looked_at, oldest_ms, problems, matched, shown = 0, 0, 0, 0, list[Change]()
    told: list[Problem] = []
    async for change in call.services.changes.newest(call.tenant, count):
        looked_at, oldest_ms = looked_at + 1, change.current.at_ms
        if looked_at % 32 == 0:
            await asyncio.sleep(0)  # other requests get their turn
        wanted = matcher.needs(change)
        related = await call.services.resources.current_many(call.tenant, wanted) if wanted else {}
        if matcher.match(change, related):
            matched += 1
            if matched <= MAX_SHOWN:
                shown.append(change)
        found = matcher.drain_problems()
        problems += len(found)
        told += found[: MAX_PROBLEMS - len(told)]
    return Reply(
        body=render(
            whole("changes", looked_at),
            whole("matched", matched),
            instant("oldest", oldest_ms),
            flag("complete", value=looked_at < count),
            *(_match(change) for change in shown),
            whole("failed", problems) if problems else [],
            *(text("problem", str(one)) for one in told),
        )
    )


def _count(given: Given | None) -> int:
    if given is None:
        return DEFAULT_COUNT
    if not given.text.isdigit() or not 0 < int(given.text) <= MAX_COUNT:
        raise Malformed(Issue("value", f"count is a number from 1 to {MAX_COUNT}", "count"))
    return int(given.text)


def _match(change: Change) -> list[dict[str, object]]:
    key = change.current.key
    return group(
        "match",
        text("reference", f"{key.reference}/_history/{key.version}"),
        text("interaction", change.interaction, "Code"),
        instant("time", change.current.at_ms),
    )
