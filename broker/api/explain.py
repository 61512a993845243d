"""Renders the answer of `$explain` as a Parameters resource."""

from broker.api.named_values import Part, flag, group, instant, render, text, whole
from broker.api.payloads import payload
from broker.fhir.topic_elements import topic_element
from broker.matching.explanations import CriteriaReport, TermReport, TriggerReport
from broker.model.change import Change
from broker.model.trace import trace_id
from broker.services.delivery_progress import DeliveryProgress, DeliveryState
from broker.services.explain import ExplainReport
from broker.store.subscriptions import Record


def render_explanation(report: ExplainReport) -> bytes:
    """The verdict first, then all that led to it."""
    record, explanation, progress = report.record, report.explanation, report.progress
    return render(
        flag("verdict", value=report.is_event),
        text("reason", report.reason),
        _subscription(record),
        text("topic", record.subscription.topic_canonical, "Uri"),
        _change(report.change, is_stored=progress is not None),
        *(_trigger(trigger) for trigger in (explanation.triggers if explanation else ())),
        *(_term("filter", term) for term in (explanation.filters if explanation else ())),
        [] if report.limits is None else payload(record.subscription.channel.content, report.limits),
        [] if progress is None else _delivery(progress, record),
        group("authorization", text("tenant", record.subscription.tenant)),
    )


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


def _trigger(trigger: TriggerReport) -> list[Part]:
    return group(
        "trigger",
        text("element", topic_element(trigger.location)),
        text("resource", trigger.resource),
        text("outcome", trigger.outcome, "Code"),
        text("reason", trigger.reason),
        flag("require-both", value=True) if trigger.require_both else [],
        *(_criteria(criteria) for criteria in trigger.criteria),
    )


def _criteria(criteria: CriteriaReport) -> list[Part]:
    return group(
        criteria.part,
        text("criteria", criteria.text),
        text("outcome", criteria.outcome, "Code"),
        text("reason", criteria.reason),
        *(_term("term", term) for term in criteria.terms),
    )


def _term(name: str, term: TermReport) -> list[Part]:
    return group(
        name,
        text("criteria", term.text),
        text("applies-to", term.resource_type),
        text("parameter", term.parameter),
        text("expression", term.expression),
        text("wanted", term.wanted),
        *(text("found", value) for value in term.found),
        text("outcome", term.outcome, "Code"),
        text("reason", term.reason),
    )


def _delivery(progress: DeliveryProgress, record: Record) -> list[Part]:
    waiting = flag("waiting-to-be-matched", value=progress.is_waiting_to_be_matched)
    if progress.event is None:
        numbered = flag("numbered", value=False) if progress.is_search_complete else []
        return group("delivery", waiting, numbered)
    state = progress.state(record)
    parts = [
        waiting,
        flag("numbered", value=True),
        text("event-number", str(progress.event.number)),
        text("state", state, "Code"),
        text("trace-id", trace_id(progress.event.trace)),
    ]
    if state is DeliveryState.WAITING:
        parts += [
            whole("attempts", record.attempts),
            text("error", record.error.text if record.error else None),
            instant("next-attempt", progress.next_attempt_ms),
        ]
    return group("delivery", *parts)
