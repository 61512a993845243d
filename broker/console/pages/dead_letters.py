"""Dead letters and quarantined readings: what happened, what to do, the payload; redrive or discard, one or
many. What a filter includes is processed in the background.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from broker.console.page import Answer, Events, PageRequest, SeeOther, View
from broker.errors import Issue, Malformed
from broker.model.wording import count_of
from broker.services.dead_letter_advice import happened, next_step
from broker.services.dead_letter_payloads import DeadLetterPayloads
from broker.services.dead_letter_runs import DeadLetterRunService
from broker.services.dead_letters import (
    DeadLetterService,
    Refusal,
    Selection,
    dead_letter_filter,
    entities_of,
)

PAGE = 50
_FILTER = ("kind", "subscription", "reason")
_MAX_REFUSALS = 5
_READING = "reading"


class Place(NamedTuple):
    """Where a list of dead letters is, and what it is called."""

    path: str
    title: str
    kind: str = ""


DEAD_LETTERS = Place("/dead-letters", "Dead letters")
READINGS = Place("/quarantined-readings", "Quarantined readings", _READING)


class DeadLetterPages:
    """The rows for `/dead-letters` and `/quarantined-readings`."""

    def __init__(
        self, dead_letters: DeadLetterService, payloads: DeadLetterPayloads, runs: DeadLetterRunService
    ) -> None:
        self._dead_letters = dead_letters
        self._payloads = payloads
        self._runs = runs

    async def list(self, request: PageRequest) -> Answer:
        """Of all kinds, or of one."""
        return await self._list(request, DEAD_LETTERS)

    async def readings(self, request: PageRequest) -> Answer:
        """Quarantined readings alone."""
        return await self._list(request, READINGS)

    async def _list(self, request: PageRequest, place: Place) -> Answer:
        query = {name: request.query.get(name, "").strip() for name in _FILTER}
        query["kind"] = place.kind or query["kind"]
        where = dead_letter_filter(**query)
        after = request.query.get("after", "")
        page = await self._dead_letters.list(
            request.principal, Selection(where=where, after=after, count=PAGE)
        )
        values = {
            "place": place,
            "query": query,
            "is_filtered": any(query[name] for name in _FILTER if not (place.kind and name == "kind")),
            "counts": await self._dead_letters.counts(request.principal),
            "letters": page.dead_letters,
            "happened": happened,
            "next_step": next_step,
            "is_continued": bool(after),
            "first": _path(place, query),
            "next": _path(place, query | {"after": page.next}) if page.next else "",
            "run": await self._runs.current(request.principal),
        }
        return View("dead_letters.html", values, accessed=entities_of(page.dead_letters))

    async def follow(self, request: PageRequest) -> Answer:
        """How far the run is, again and again."""

        async def compose() -> View:
            run = await self._runs.current(request.principal)
            return View("dead_letters_run.html", {"run": run})

        return Events(compose)

    async def show(self, request: PageRequest) -> Answer:
        """One dead letter, without its payload."""
        page = await self._dead_letters.list(request.principal, Selection([request.params["id"]]))
        (letter,) = page.dead_letters
        values: dict[str, Any] = {
            "letter": letter,
            "place": READINGS if letter.kind == _READING else DEAD_LETTERS,
            "happened": happened(letter),
            "next_step": next_step(letter),
        }
        return View("dead_letter.html", values, accessed=entities_of([letter]))

    async def payload(self, request: PageRequest) -> Answer:
        """What a dead letter holds; the audit trail says who saw it."""
        payload = await self._payloads.read(request.principal, request.params["id"])
        values = {
            "letter": payload.dead_letter,
            "fields": payload.fields,
            "reading": payload.as_trial,
        }
        entities = entities_of([payload.dead_letter])
        return View("dead_letter_payload.html", values, accessed=entities, detail=payload.dead_letter.id)

    async def redrive(self, request: PageRequest) -> Answer:
        """Those that were chosen, at once."""
        selection = _chosen(request)
        report = await self._dead_letters.redrive(request.principal, selection)
        words = [f"{count_of(report.redriven, 'dead letter')} redriven."]
        if report.refused:
            words.append(f"{len(report.refused)} refused:")
            words += [_refusal(each) for each in report.refused[:_MAX_REFUSALS]]
        return SeeOther(_back(request), " ".join(words), entities_of(report.selected))

    async def confirm_discard(self, request: PageRequest) -> Answer:
        """Asks once more: what is discarded is never processed."""
        ids = _chosen(request).ids
        values = {
            "ids": ids,
            "back": _back(request),
            "place": request.form.get("place", ""),
            "shown": {name: request.form.get(f"shown-{name}", "") for name in _FILTER},
        }
        return View("dead_letters_discard.html", values)

    async def discard(self, request: PageRequest) -> Answer:
        """Those that were chosen, for good."""
        report = await self._dead_letters.discard(request.principal, _chosen(request))
        notice = f"{count_of(report.discarded, 'dead letter')} discarded."
        return SeeOther(_back(request), notice, entities_of(report.selected))

    async def start(self, request: PageRequest) -> Answer:
        """Processes all that the filter includes, in the background."""
        form = request.form
        where = dead_letter_filter(*(form.get(name, "") for name in _FILTER))
        action = form.get("action", "")
        if form.get("sure") != "yes":
            text = "Nothing was started. Tick the box that says that all of them are meant."
            raise Malformed(Issue("required", text, "sure"))
        await self._runs.start(request.principal, request.address, action, where)
        return SeeOther(_back(request), f"The {action} of all of them has started.", detail=action)

    async def stop(self, request: PageRequest) -> Answer:
        """Ends the run after its page."""
        await self._runs.stop(request.principal)
        return SeeOther(_back(request), "The run is stopped.", detail="stop")


def _chosen(request: PageRequest) -> Selection:
    ids: Sequence[str] = list(dict.fromkeys(request.form_list("id")))
    if not ids:
        raise Malformed(Issue("required", "Nothing is chosen. Tick the dead letters that are meant.", "id"))
    return Selection(ids)


def _refusal(refusal: Refusal) -> str:
    return f"{refusal.id}: {refusal.reason}"


def _back(request: PageRequest) -> str:
    """The list that the form was on; nothing else is believed."""
    place = READINGS if request.form.get("place") == READINGS.path else DEAD_LETTERS
    return _path(place, {name: request.form.get(f"shown-{name}", "") for name in _FILTER})


def _path(place: Place, query: dict[str, str]) -> str:
    words = {name: value for name, value in query.items() if value and not (place.kind and name == "kind")}
    return f"{place.path}?{urlencode(words)}" if words else place.path
