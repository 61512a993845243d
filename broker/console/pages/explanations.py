"""Explains to people why a change is, or would be, an event of a Subscription."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from broker.console.page import Answer, PageRequest, View
from broker.errors import Issue, Malformed
from broker.fhir.topic_elements import topic_element
from broker.matching.explanations import (
    CriteriaReport,
    ExplainOutcome,
    Explanation,
    TermReport,
    TriggerReport,
)
from broker.model.audit import AuditEntity
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.wording import shorten_list
from broker.services.accessed import entity_of
from broker.services.explain import ExplainReport, ExplainService, HypotheticalChange
from broker.services.subscriptions import SubscriptionService

_WORDS = {
    ExplainOutcome.PASSED: "passes",
    ExplainOutcome.FAILED: "does not pass",
    ExplainOutcome.ERROR: "error",
    ExplainOutcome.NOT_EVALUATED: "not evaluated",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """One test: what it wants and finds, how it ends, and why unless it passes. `depth` is its
    level, from 0.
    """

    depth: int
    criterion: str
    wanted: str
    found: str
    outcome: str
    reason: str


class ExplanationPages:
    """The rows for `/subscriptions/{id}/explain`."""

    def __init__(self, subscriptions: SubscriptionService, explain: ExplainService) -> None:
        self._subscriptions = subscriptions
        self._explain = explain

    async def explain_stored(self, request: PageRequest) -> Answer:
        """The form, and the answer where it names a stored version."""
        reference = request.query.get("reference", "").strip()
        if not reference:
            return await self._form(request)
        report = await self._explain.explain_stored(request.principal, request.params["id"], reference)
        accessed = [_entity(request), entity_of(report.change.current)]
        return View(_TEMPLATE, {**_empty(request), **_values(report), "reference": reference}, 200, accessed)

    async def explain_pasted(self, request: PageRequest) -> Answer:
        """The answer about a resource that nobody sent."""
        text = request.form.get("resource", "").strip()
        if not text:
            raise Malformed(Issue("required", "The resource is missing. Paste one and send it again."))
        release = _release(request.form.get("release", ""))
        report = await self._explain.explain_hypothetical(
            request.principal, release, request.params["id"], HypotheticalChange(Resource(text.encode()))
        )
        values = {**_empty(request), **_values(report), "pasted": text, "release": release}
        return View(_TEMPLATE, values, accessed=[_entity(request)])

    async def _form(self, request: PageRequest) -> Answer:
        await self._subscriptions.get(request.principal, request.params["id"])
        return View(_TEMPLATE, _empty(request), accessed=[_entity(request)])


_TEMPLATE = "subscription_explain.html"


def _entity(request: PageRequest) -> AuditEntity:
    return AuditEntity("Subscription", request.params["id"])


def _release(text: str) -> Release:
    if text not in set(Release):
        raise Malformed(Issue("value", f"There is no release {text[:20]!r}. Choose {', '.join(Release)}."))
    return Release(text)


def _empty(request: PageRequest) -> Mapping[str, Any]:
    return {
        "id": request.params["id"],
        "reference": "",
        "pasted": "",
        "release": Release.R4,
        "releases": list(Release),
        "report": None,
        "rows": [],
    }


def _values(report: ExplainReport) -> Mapping[str, Any]:
    return {"report": report, "rows": list(_rows(report.explanation)) if report.explanation else []}


def _rows(explanation: Explanation) -> Iterator[_Row]:
    for trigger in explanation.triggers:
        name = f"{topic_element(trigger.location)}: {trigger.resource}"
        yield _row(0, name, "", "", trigger)
        for criteria in trigger.criteria:
            wanted = "" if criteria.terms else criteria.text
            yield _row(1, criteria.part, wanted, "", criteria)
            for term in criteria.terms:
                yield _term(term, 2, "")
    for term in explanation.filters:
        yield _term(term, 0, "filter ")


def _term(term: TermReport, depth: int, prefix: str) -> _Row:
    name, _, _ = term.text.partition("=")
    wanted = shorten_list(term.wanted, term.found)
    return _row(depth, prefix + name, wanted, ", ".join(term.found), term)


def _row(
    depth: int, criterion: str, wanted: str, found: str, report: TriggerReport | CriteriaReport | TermReport
) -> _Row:
    reason = "" if report.outcome is ExplainOutcome.PASSED else report.reason
    return _Row(depth, criterion, wanted, found, _WORDS[report.outcome], reason)
