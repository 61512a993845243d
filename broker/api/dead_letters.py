"""`$dead-letters`, `$redrive-dead-letters` and `$discard-dead-letters`: what could not be done, and what an operator wants done about it.

Retry and skip take ids, or a filter, or `all`; a filter is worked off a thousand letters a request, and `next` says where to go on.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import structlog

from broker.api.named_values import Part, flag, group, instant, render, text, whole
from broker.api.operations import parameters, refuse_unknown
from broker.api.responses import Call, Reply
from broker.errors import Issue, Malformed, NotFound
from broker.model.subscription import SubscriptionId
from broker.store.dead_letter_actions import RedriveResult
from broker.store.dead_letters import DeadLetter, Kind, Where, is_letter_id

_log = structlog.get_logger(__name__)
DEFAULT_COUNT = 100
MAX_COUNT = 1_000
MAX_PROBLEMS = 100
_WHY_NOT = {
    RedriveResult.UNKEPT: "what it is about is no longer stored: it can only be skipped",
    RedriveResult.INACTIVE: "its subscription is not active: letters are sent again while it is",
    RedriveResult.FULL: "too much of its subscription waits to be sent again already: retry it later",
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request names: letters by id, or those of a filter behind `after`."""

    ids: Sequence[str]
    where: Where
    after: str
    count: int


async def dead_letters(call: Call) -> Reply:
    """A page of the caller's letters, or those of the ids given."""
    asked = _asked(call, {"id", "kind", "subscription", "count", "after"})
    letters, following = await _chosen(call, asked)
    return Reply(
        body=render(
            *(_letter(letter, in_full=bool(asked.ids)) for letter in letters), text("next", following)
        )
    )


async def redrive_dead_letters(call: Call) -> Reply:
    """Those that were accepted are on their way; each that wasn't stays, with the reason."""
    letters, following = await _chosen(call, _wanted(call))
    results = await call.services.dead_letter_actions.retry(letters)
    refused = [(one, why) for one, result in results.items() if (why := _WHY_NOT.get(result))]
    _log.info("dead letters retried", tenant=call.tenant, letters=len(letters), refused=len(refused))
    return Reply(
        body=render(
            whole("retried", len(letters) - len(refused)),
            whole("refused", len(refused)),
            *(group("problem", text("id", one), text("reason", why)) for one, why in refused[:MAX_PROBLEMS]),
            text("next", following),
        )
    )


async def discard_dead_letters(call: Call) -> Reply:
    """They are forgotten: what they hold is not done."""
    letters, following = await _chosen(call, _wanted(call))
    skipped = await call.services.dead_letter_actions.drop(letters)
    _log.info("dead letters skipped", tenant=call.tenant, letters=skipped)
    return Reply(body=render(whole("skipped", skipped), text("next", following)))


def _wanted(call: Call) -> _Asked:
    """What to retry or skip; everything only if that is said."""
    asked = _asked(call, {"id", "kind", "subscription", "all", "after"})
    everything = parameters(call).get("all", [])
    if everything not in ([], ["true"], ["false"]):
        raise Malformed(Issue("value", f"all takes true or false, not {everything[0]!r}", "all"))
    has_filter = asked.where != Where()
    if (bool(asked.ids) + has_filter + (everything == ["true"])) != 1:
        said = "name letters by id, or choose them by kind and subscription, or say all=true"
        raise Malformed(Issue("required", said))
    return asked


def _asked(call: Call, known: set[str]) -> _Asked:
    given = parameters(call)
    refuse_unknown(given, known)
    ids = list(dict.fromkeys(given.get("id", [])))
    if len(ids) > MAX_COUNT:
        raise Malformed(Issue("too-costly", f"id takes at most {MAX_COUNT} ids at a time", "id"))
    for one in ids:
        if not is_letter_id(one):
            raise Malformed(Issue("value", f"{one[:80]!r} is no id of a dead letter", "id"))
    kind, subscription, after = (_one(given, name) for name in ("kind", "subscription", "after"))
    if kind and kind not in set(Kind):
        raise Malformed(Issue("value", f"kind takes {', '.join(Kind)}, not {kind!r}", "kind"))
    if after and not is_letter_id(after):
        raise Malformed(Issue("value", "after takes the `next` of an earlier answer", "after"))
    count = _one(given, "count")
    if count and not (count.isascii() and count.isdigit() and 0 < int(count) <= MAX_COUNT):
        raise Malformed(Issue("value", f"count is a number from 1 to {MAX_COUNT}", "count"))
    where = Where(
        Kind(kind) if kind else None,
        SubscriptionId(subscription.rpartition("/")[2]) if subscription else None,
    )
    return _Asked(ids, where, after, int(count or (DEFAULT_COUNT if "count" in known else MAX_COUNT)))


def _one(given: dict[str, list[str]], name: str) -> str:
    values = given.get(name, [])
    if len(values) > 1:
        raise Malformed(Issue("value", f"{name} may be given once", name))
    return values[0] if values else ""


async def _chosen(call: Call, asked: _Asked) -> tuple[list[DeadLetter], str]:
    """The letters, and the id of the last where more follow."""
    if asked.ids:
        found = [await call.services.dead_letters.get(call.tenant, one) for one in asked.ids]
        for one, letter in zip(asked.ids, found, strict=True):
            if letter is None:
                raise NotFound(Issue("not-found", f"there is no dead letter {one}", "id"))
        return [letter for letter in found if letter], ""
    letters: list[DeadLetter] = []
    walk: AsyncIterator[DeadLetter] = call.services.dead_letters.walk(call.tenant, asked.where, asked.after)
    async for letter in walk:
        if len(letters) == asked.count:
            return letters, letters[-1].id
        letters.append(letter)
    return letters, ""


def _letter(letter: DeadLetter, *, in_full: bool) -> list[Part]:
    focus = letter.focus
    entry = (letter.entry or {}) if in_full else {}
    return group(
        "letter",
        text("id", letter.id),
        text("kind", letter.kind, "Code"),
        instant("time", letter.at_ms),
        text("reason", letter.reason),
        text("reference", f"{focus.reference}/_history/{focus.version}" if focus else None),
        text("subscription", letter.subscription),
        text("event-number", str(letter.number) if letter.number else None),
        flag("kept", value=letter.is_kept),
        flag("waiting", value=letter.is_waiting),
        *(
            group("field", text("name", _text(name)), text("value", _text(value)))
            for name, value in entry.items()
        ),
    )


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
