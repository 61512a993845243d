"""`$explain`: why a change, stored or imagined, is or isn't an event of a subscription, and how far its delivery is.

It looks and never writes. An imagined change is made exactly as the intake would make it: validated, with id and meta.
"""

import re
from collections.abc import Mapping

from broker.api.named_values import Given, Part, flag, group, instant, read, render, resource, text, whole
from broker.api.responses import Call, Reply
from broker.clock import to_instant
from broker.errors import Issue, Malformed, NotFound, Unprocessable
from broker.fhir import documents
from broker.fhir.topic_elements import topic_element
from broker.matching.explain import explain, needed_targets
from broker.matching.explanations import CriteriaReport, Explanation, TermReport, TriggerReport
from broker.model.change import Change, Interaction, Version, VersionKey
from broker.model.eligibility import Eligibility, eligibility
from broker.model.notification import Event
from broker.model.subscription import SubscriptionId
from broker.model.topic import Topic
from broker.store.subscriptions import Record

MAX_SEARCHED = 100_000
"""So many of the newest events are searched for a stored change."""
_PAGE = 1_000
_REFERENCE = re.compile(r"([A-Z][A-Za-z]*)/([A-Za-z0-9.-]{1,64})(?:/_history/(\d{1,15}))?")
_PLACEHOLDER = "new"


async def explain_change(call: Call) -> Reply:
    """One subscription, one change."""
    record = await _record(call)
    given = read(call.body, ("resource", "reference", "previous", "interaction"))
    if ("resource" in given) is ("reference" in given):
        raise Malformed(Issue("required", "give either a resource or a reference to a stored one"))
    is_stored = "reference" in given
    change = await (_stored(call, given) if is_stored else _imagined(call, given))
    topic = call.services.catalog.bound(record.subscription.topic_canonical)
    found = None if topic is None else await _explained(call, record, topic, change)
    standing = await _Standing.of(call, record, change.current) if is_stored else None
    verdict, reason = _verdict(record, change, found, standing)
    return Reply(
        body=render(
            flag("verdict", value=verdict),
            text("reason", reason),
            _subscription(record),
            text("topic", record.subscription.topic_canonical, "Uri"),
            _change(change, is_stored=is_stored),
            *(_trigger(one) for one in (found.triggers if found else ())),
            *(_term("filter", one) for one in (found.filters if found else ())),
            [] if standing is None else standing.parts(record),
            group("authorization", text("tenant", record.subscription.tenant)),
        )
    )


async def _record(call: Call) -> Record:
    one = SubscriptionId(call.params["id"])
    record = await call.services.subscriptions.get(call.tenant, one)
    if record is None:
        raise NotFound(Issue("not-found", f"there is no Subscription/{one}"))
    return record


async def _explained(call: Call, record: Record, topic: Topic, change: Change) -> Explanation:
    services, subscription = call.services, record.subscription
    context = services.catalog.search_context(services.bases)
    targets = needed_targets(subscription, topic, change, context)
    related = await services.resources.current_many(call.tenant, targets)
    return explain(subscription, topic, change, context, related)


async def _stored(call: Call, given: Mapping[str, Given]) -> Change:
    """The change that made a stored version."""
    for name in ("previous", "interaction"):
        if name in given:
            raise Malformed(Issue("invalid", f"a stored version tells its {name} itself", name))
    reference = given["reference"].text
    for base in call.services.bases:
        reference = reference.removeprefix(f"{base}/")
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise Malformed(
            Issue("value", f"{reference[:80]!r} is not Type/id or Type/id/_history/n", "reference")
        )
    kind, one, number = parts.groups()
    if number is None:
        version = await call.services.resources.current(call.tenant, kind, one)
    else:
        version = await call.services.resources.version(VersionKey(call.tenant, kind, one, int(number)))
    if version is None:
        raise NotFound(Issue("not-found", f"{reference} is not stored here, or no longer", "reference"))
    previous = None
    if version.interaction is not Interaction.CREATE:
        before = VersionKey(call.tenant, kind, one, version.key.version - 1)
        previous = await call.services.resources.version(before)
    return _made(call, version, previous)


async def _imagined(call: Call, given: Mapping[str, Given]) -> Change:
    """The change that sending `resource` now would be, after `previous` or else what is stored under its id."""
    body = resource(given, "resource")
    kind, one = documents.resource_type(body), documents.resource_id(body) or _PLACEHOLDER
    if kind not in call.adapter.resource_types:
        text_of = f"{kind!r} is no resource type of FHIR {call.adapter.version}"
        raise Unprocessable(Issue("not-supported", text_of, "resource"))
    documents.check_id(one)
    call.adapter.validate(kind, body)
    stored = await call.services.resources.current(call.tenant, kind, one)
    number = stored.key.version if stored is not None else 0
    previous = stored if stored is not None and stored.body is not None else None
    if "previous" in given:
        before = resource(given, "previous")
        documents.check_type(before, kind)
        call.adapter.validate(kind, before)
        number = max(number, 1)
        previous = _version(call, kind, one, number, Interaction.CREATE, before)
    interaction = _interaction(given, Interaction.CREATE if previous is None else Interaction.UPDATE)
    if interaction is Interaction.DELETE:
        if "previous" in given:
            raise Malformed(
                Issue("invalid", "for a deletion, resource is the state that is deleted", "previous")
            )
        number = max(number, 1)
        previous = _version(call, kind, one, number, Interaction.CREATE, body)
    elif interaction is Interaction.CREATE:
        if "previous" in given:
            raise Malformed(Issue("invalid", "a created resource has no previous state", "previous"))
        previous = None
    is_gone = interaction is Interaction.DELETE
    current = _version(call, kind, one, number + 1, interaction, None if is_gone else body)
    return _made(call, current, previous)


def _interaction(given: Mapping[str, Given], default: Interaction) -> Interaction:
    if "interaction" not in given:
        return default
    try:
        return Interaction(given["interaction"].text)
    except ValueError:
        raise Malformed(
            Issue("value", f"interaction takes {', '.join(Interaction)}", "interaction")
        ) from None


def _version(
    call: Call, kind: str, one: str, number: int, interaction: Interaction, body: bytes | None
) -> Version:
    now_ms = call.services.clock.now_ms()
    if body is not None:
        head, tail = documents.split(body, type=kind, id=one)
        body = head + f'"versionId":"{number}","lastUpdated":"{to_instant(now_ms)}"'.encode() + tail
    return Version(VersionKey(call.tenant, kind, one, number), call.release, interaction, now_ms, body)


def _made(call: Call, current: Version, previous: Version | None) -> Change:
    return Change("0-0", call.services.resources.partition_of(call.tenant, current.key.id), current, previous)


class _Standing:
    """Where a stored change is on its way to the subscriber. `is_searched` is False where the event may be older than what was looked through."""

    def __init__(
        self, event: Event | None, *, is_searched: bool, is_waiting: bool, next_attempt_ms: int | None
    ) -> None:
        self.event = event
        self.is_searched = is_searched
        self.is_waiting = is_waiting
        self._next_attempt_ms = next_attempt_ms

    @classmethod
    async def of(cls, call: Call, record: Record, version: Version) -> "_Standing":
        # the backlog first: what leaves it in between is found in the outbox then
        is_waiting = await call.services.changes.is_waiting(version)
        event, is_searched = await _event(call, record, version)
        following = await call.services.schedule.next_attempt_ms(call.tenant, record.subscription.id)
        return cls(
            event,
            is_searched=is_searched,
            is_waiting=is_waiting and event is None,
            next_attempt_ms=following,
        )

    def sentence(self, record: Record) -> str:
        if self.event is not None:
            state = "delivered" if self.event.number <= record.cursor else "waiting to be delivered"
            return f" It is event {self.event.number}, {state}."
        if self.is_waiting:
            return " It is waiting to be matched."
        return " It got no event number." if self.is_searched else ""

    def parts(self, record: Record) -> list[Part]:
        common = flag("waiting-to-be-matched", value=self.is_waiting)
        if self.event is None:
            known = flag("numbered", value=False) if self.is_searched else []
            return group("delivery", common, known)
        parts = [common, flag("numbered", value=True), text("event-number", str(self.event.number))]
        if self.event.number <= record.cursor:
            return group("delivery", *parts, text("state", "delivered", "Code"))
        return group(
            "delivery",
            *parts,
            text("state", "waiting", "Code"),
            whole("attempts", record.attempts),
            text("error", record.error.text if record.error else None),
            instant("next-attempt", self._next_attempt_ms),
        )


async def _event(call: Call, record: Record, version: Version) -> tuple[Event | None, bool]:
    """The event a version became, and whether all events that are kept were looked through."""
    upper, least = record.count, max(0, record.count - MAX_SEARCHED)
    while upper > least:
        lower = max(1, upper - _PAGE + 1)
        page = await call.services.outboxes.read(
            call.tenant, record.subscription.id, lower, upper, limit=_PAGE
        )
        for event in reversed(page):
            # a business event about the version has the same focus at another time
            if event.focus == version.key and event.at_ms == version.at_ms:
                return event, True
        if not page:
            return None, False  # older ones were dropped after their time
        upper = lower - 1
    return None, least == 0


def _verdict(
    record: Record, change: Change, found: Explanation | None, standing: _Standing | None
) -> tuple[bool, str]:
    """Whether the subscriber is or would be notified: the matcher's word, and that the subscription counts."""
    subscription = record.subscription
    told = "" if standing is None else standing.sentence(record)
    if found is None:
        reason = f"The topic {subscription.topic_canonical} is no longer served: nothing is an event of it."
        return False, reason + told
    if not found.matches:
        return False, found.reason + told
    answer = eligibility(record.activation, change.current.at_ms)
    if answer is Eligibility.ELIGIBLE:
        return True, found.reason + told
    reason = f"But the subscription is {subscription.status}: nothing is counted."
    if answer is Eligibility.BEFORE_ACTIVATION:
        reason = f"But the subscription counts since {to_instant(record.activated_ms)} only."
    return False, f"{found.reason} {reason}{told}"


def _subscription(record: Record) -> list[Part]:
    subscription = record.subscription
    return group(
        "subscription",
        text("id", subscription.id),
        text("status", subscription.status, "Code"),
        flag("counting", value=record.activation.counts_events),
        instant("counting-since", record.activated_ms),
        text("events", str(record.count)),
        text("delivered", str(record.cursor)),
    )


def _change(change: Change, *, is_stored: bool) -> list[Part]:
    key = change.current.key
    return group(
        "change",
        text("focus", f"{key.reference}/_history/{key.version}"),
        text("interaction", change.interaction, "Code"),
        text("release", change.release, "Code"),
        instant("time", change.current.at_ms),
        flag("stored", value=is_stored),
        flag("previous", value=change.previous is not None),
    )


def _trigger(one: TriggerReport) -> list[Part]:
    return group(
        "trigger",
        text("element", topic_element(one.location)),
        text("resource", one.resource),
        text("outcome", one.outcome, "Code"),
        text("reason", one.reason),
        flag("require-both", value=True) if one.require_both else [],
        *(_criteria(each) for each in one.criteria),
    )


def _criteria(one: CriteriaReport) -> list[Part]:
    return group(
        one.part,
        text("criteria", one.text),
        text("outcome", one.outcome, "Code"),
        text("reason", one.reason),
        *(_term("term", each) for each in one.terms),
    )


def _term(name: str, one: TermReport) -> list[Part]:
    return group(
        name,
        text("criteria", one.text),
        text("applies-to", one.resource_type),
        text("parameter", one.parameter),
        text("expression", one.expression),
        text("wanted", one.wanted),
        *(text("found", each) for each in one.found),
        text("outcome", one.outcome, "Code"),
        text("reason", one.reason),
    )
