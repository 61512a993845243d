"""`$dead-letters`, `$redrive-dead-letters` and `$discard-dead-letters`: what could not be processed, and what
becomes of it.

Redrive and discard take ids, a filter, or `all`. A filter is processed a thousand dead letters a request;
`next` in the response continues it.
"""

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.named_values import Part, embedded, flag, group, instant, render, text, whole
from broker.api.operation_input import Input, read_input, single
from broker.errors import Issue, Malformed
from broker.model.whole_number import whole_number
from broker.services.dead_letters import (
    EVERY,
    MAX_COUNT,
    DeadLetterService,
    Refusal,
    Selection,
    dead_letter_filter,
    entities_of,
)
from broker.store.dead_letters import DeadLetter

DEFAULT_COUNT = 100
MAX_PROBLEMS = 100
_FILTER = {"id", "kind", "subscription", "reason", "after"}


class DeadLetterHandlers:
    """The rows for dead letters."""

    def __init__(self, dead_letters: DeadLetterService) -> None:
        self._dead_letters = dead_letters

    async def list(self, request: FhirRequest) -> FhirResponse:
        """A page of dead letters; those named by id in full."""
        values = read_input(request, _FILTER | {"count"})
        selection = _selection(values, _count(values))
        page = await self._dead_letters.list(request.principal, selection)
        listed = [_dead_letter(each, in_full=bool(selection.ids)) for each in page.dead_letters]
        return FhirResponse(
            body=render(*listed, text("next", page.next)), accessed=entities_of(page.dead_letters)
        )

    async def redrive(self, request: FhirRequest) -> FhirResponse:
        """How many were redriven; each that was refused stays, with the reason."""
        report = await self._dead_letters.redrive(request.principal, _selected(request))
        problems = [
            group("problem", text("id", refusal.id), text("reason", _reason(refusal)))
            for refusal in report.refused[:MAX_PROBLEMS]
        ]
        return FhirResponse(
            body=render(
                whole("redriven", report.redriven),
                whole("refused", len(report.refused)),
                *problems,
                text("next", report.next),
            ),
            accessed=entities_of(report.selected),
        )

    async def discard(self, request: FhirRequest) -> FhirResponse:
        """How many were deleted; what they hold is never processed."""
        report = await self._dead_letters.discard(request.principal, _selected(request))
        body = render(whole("discarded", report.discarded), text("next", report.next))
        return FhirResponse(body=body, accessed=entities_of(report.selected))


def _reason(refusal: Refusal) -> str:
    if refusal.now == refusal.id:
        return refusal.reason
    return f"{refusal.reason} Its id is {refusal.now} now."


def _selected(request: FhirRequest) -> Selection:
    """What to redrive or discard. Raises `Malformed` unless exactly one of ids, filter and `all=true` is
    sent.
    """
    values = read_input(request, _FILTER | {"all"})
    selection, every = _selection(values, MAX_COUNT), single(values, "all")
    if every not in {"", "true", "false"}:
        raise Malformed(Issue("value", f"all takes true or false, not {every!r}.", "all"))
    if bool(selection.ids) + (selection.where != EVERY) + (every == "true") != 1:
        reason = "Nothing is selected. Send either id, or kind, subscription or reason, or all=true."
        raise Malformed(Issue("required", reason, "all"))
    return selection


def _selection(values: Input, count: int) -> Selection:
    where = dead_letter_filter(
        single(values, "kind"), single(values, "subscription"), single(values, "reason")
    )
    ids = list(dict.fromkeys(values.get("id", ())))
    return Selection(ids, where, single(values, "after"), count)


def _count(values: Input) -> int:
    count = whole_number(single(values, "count") or str(DEFAULT_COUNT))
    if count is None or not 0 < count <= MAX_COUNT:
        raise Malformed(Issue("value", f"count takes a number from 1 to {MAX_COUNT}.", "count"))
    return count


def _dead_letter(dead_letter: DeadLetter, *, in_full: bool) -> list[Part]:
    focus = dead_letter.focus
    entry = (dead_letter.entry or {}) if in_full else {}
    return group(
        "dead-letter",
        text("id", dead_letter.id),
        text("kind", dead_letter.kind, "Code"),
        instant("time", dead_letter.at_ms),
        text("reason", dead_letter.reason),
        text("reference", f"{focus.reference}/_history/{focus.version}" if focus else None),
        text("subscription", dead_letter.subscription),
        text("event-number", str(dead_letter.number) if dead_letter.number else None),
        flag("stored", value=dead_letter.is_kept),
        flag("redriving", value=dead_letter.is_waiting),
        *(
            group("field", text("name", _decoded(name)), text("value", _decoded(value)))
            for name, value in entry.items()
        ),
        embedded("outcome", dead_letter.explanation),
    )


def _decoded(value: bytes) -> str:
    return value.decode(errors="replace")
