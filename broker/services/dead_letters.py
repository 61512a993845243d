"""Lists, redrives and discards the dead letters of the principal's tenant.

An operator names dead letters by id, or selects them by a filter, or takes all. A selection is processed a
page at a time; each page says where the next one starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from broker.errors import Issue, Malformed, NotFound
from broker.ingest.readings.redrive import ReadingRedrive
from broker.model.audit import AuditEntity
from broker.model.principal import Principal
from broker.model.subscription import SubscriptionId
from broker.store.dead_letter_actions import DeadLetterActions, RedriveResult
from broker.store.dead_letter_id import DeadLetterKind, DeadReadingId, parse_dead_letter_id
from broker.store.dead_letters import DeadLetter, DeadLetterFilter, DeadLetters

_log = structlog.get_logger(__name__)
MAX_COUNT = 1_000
"""The number of dead letters that one call lists, redrives or discards at most."""
EVERY = DeadLetterFilter()
"""The filter that includes every dead letter of the tenant."""
REFUSALS = {
    RedriveResult.UNKEPT: "The resource or event it is about is no longer stored. Discard the dead letter.",
    RedriveResult.INACTIVE: "Its subscription is not active. Redrive the dead letter once it is.",
    RedriveResult.FULL: "Too many events of its subscription wait to be sent again. Redrive it later.",
}
"""Why a dead letter was not redriven and what the operator does; other results mean it was, or is gone."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead letters by `ids`; without any, those that `where` includes, `count` at most, from behind the id
    `after`.
    """

    ids: Sequence[str] = ()
    where: DeadLetterFilter = EVERY
    after: str = ""
    count: int = MAX_COUNT


@dataclass(frozen=True, slots=True)
class Page:
    """Dead letters, and the `after` that continues the selection ('' at its end)."""

    dead_letters: Sequence[DeadLetter]
    next: str


class Refusal(NamedTuple):
    """Why a dead letter was not redriven. It stays under `now`, which may be another id."""

    id: str
    reason: str
    now: str


@dataclass(frozen=True, slots=True)
class RedriveReport:
    """How many dead letters were redriven, those refused with their reason, and where the selection
    continues. `selected` are all of them.
    """

    redriven: int
    refused: Sequence[Refusal]
    next: str
    selected: Sequence[DeadLetter] = ()


@dataclass(frozen=True, slots=True)
class DiscardReport:
    """How many of the `selected` dead letters were discarded, and where the selection continues."""

    discarded: int
    next: str
    selected: Sequence[DeadLetter] = ()


def dead_letter_filter(kind: str, subscription: str, reason: str) -> DeadLetterFilter:
    """The filter that a person or client wrote; '' stands for everything. `subscription` is an id or a
    reference. Raises `Malformed` for an unknown kind.
    """
    if kind and kind not in set(DeadLetterKind):
        raise Malformed(Issue("value", f"kind takes {', '.join(DeadLetterKind)}, not {kind!r}.", "kind"))
    return DeadLetterFilter(
        DeadLetterKind(kind) if kind else None,
        SubscriptionId(subscription.rpartition("/")[2]) if subscription else None,
        reason,
    )


class DeadLetterService:
    """Dead letters of the principal's tenant. Each action may be repeated."""

    def __init__(
        self, dead_letters: DeadLetters, actions: DeadLetterActions, readings: ReadingRedrive
    ) -> None:
        self._dead_letters = dead_letters
        self._actions = actions
        self._readings = readings

    async def list(self, principal: Principal, selection: Selection) -> Page:
        """One page. Raises `NotFound` for an id without a dead letter, `Malformed` for a selection that is
        invalid.
        """
        _check(selection)
        if selection.ids:
            return Page([await self._get(principal, each) for each in selection.ids], "")
        return Page(
            *await self._dead_letters.page(
                principal.tenant, selection.where, selection.after, selection.count
            )
        )

    async def counts(self, principal: Principal) -> Mapping[DeadLetterKind, int]:
        """How many the tenant has of each kind."""
        return await self._dead_letters.counts(principal.tenant)

    async def _get(self, principal: Principal, dead_letter_id: str) -> DeadLetter:
        dead_letter = await self._dead_letters.get(principal.tenant, dead_letter_id)
        if dead_letter is None:
            text = f"The dead letter {dead_letter_id} does not exist. List $dead-letters for those that do."
            raise NotFound(Issue("not-found", text, "id"))
        return dead_letter

    async def redrive(self, principal: Principal, selection: Selection) -> RedriveReport:
        """Processes them again. A refused one stays; a redriven one is gone when its processing is done."""
        page = await self.list(principal, selection)
        results = await self._actions.redrive(page.dead_letters)
        refused = [
            Refusal(each, REFUSALS[result], each) for each, result in results.items() if result in REFUSALS
        ]
        entries = [each.key.entry for each in page.dead_letters if isinstance(each.key, DeadReadingId)]
        problems = await self._readings.redrive(principal.tenant, entries) if entries else {}
        refused += [Refusal(str(DeadReadingId(entry)), *problem) for entry, problem in problems.items()]
        redriven = len(page.dead_letters) - len(refused)
        _log.info(
            "dead letters redriven",
            tenant=principal.tenant,
            client=principal.client_id,
            redriven=redriven,
            refused=len(refused),
        )
        return RedriveReport(redriven, refused, page.next, page.dead_letters)

    async def discard(self, principal: Principal, selection: Selection) -> DiscardReport:
        """Deletes them for good: what they hold is never processed."""
        page = await self.list(principal, selection)
        discarded = await self._actions.discard(page.dead_letters)
        _log.info(
            "dead letters discarded",
            tenant=principal.tenant,
            client=principal.client_id,
            discarded=discarded,
        )
        return DiscardReport(discarded, page.next, page.dead_letters)


def entities_of(dead_letters: Sequence[DeadLetter]) -> tuple[AuditEntity, ...]:
    """The versions that dead letters are about; a refused inbox entry has none."""
    return tuple(
        AuditEntity(each.focus.type, each.focus.id, each.focus.version)
        for each in dead_letters
        if each.focus is not None
    )


def _check(selection: Selection) -> None:
    if len(selection.ids) > MAX_COUNT:
        text = f"The request names more than {MAX_COUNT} ids. Send them in several requests."
        raise Malformed(Issue("too-costly", text, "id"))
    for each in selection.ids:
        if parse_dead_letter_id(each) is None:
            text = f"{each[:80]!r} is not the id of a dead letter. Take an id that $dead-letters lists."
            raise Malformed(Issue("value", text, "id"))
    if selection.after and parse_dead_letter_id(selection.after) is None:
        text = "The value of after is invalid. Send the `next` of an earlier response."
        raise Malformed(Issue("value", text, "after"))
