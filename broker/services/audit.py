"""The audit trail of the principal's tenant for its auditors: search, read, export and verify.

Everything that was recorded before the call is found: each of them chains what is in the journals first.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from broker.errors import Issue, Malformed, NotFound
from broker.matching.dates import date_interval
from broker.model.audit import ChainedEntry, ChainHead, ChainProblem
from broker.model.principal import Principal
from broker.model.whole_number import whole_number
from broker.store.audit_trail import AuditTrail
from broker.tasks import Slices

_EPOCH_US = 62_135_683_200_000_000
"""1970-01-01 on the scale of `matching.dates`: microseconds since year 1, whose first day is day 1."""
VERIFIED_AT_ONCE = 20_000
_NEVER_MS = 1 << 62


@dataclass(frozen=True, slots=True)
class Period:
    """From `low_ms` up to, not including, `high_ms`."""

    low_ms: int = 0
    high_ms: int = _NEVER_MS


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, and the number behind which the next page continues (0: there is none)."""

    entries: Sequence[ChainedEntry]
    next: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Verification:
    """How far the trail was verified. `head` is its end: where `reached` is the head, it is verified."""

    first: int
    reached: ChainHead
    head: ChainHead
    problem: ChainProblem | None


def period_of(dates: Sequence[str]) -> Period:
    """The narrowest period that contains what passes all of these values of `date`, which are valid."""
    low_ms, high_ms = 0, _NEVER_MS
    for date in dates:
        if "," in date:
            continue  # alternatives: each entry is looked at
        prefix = date[:2] if date[:1].isalpha() else "eq"
        interval = date_interval(date.removeprefix(prefix))
        start_ms, end_ms = _ms(interval.low), _ms(interval.high) + 1
        if prefix in {"eq", "ge", "gt", "sa"}:
            low_ms = max(low_ms, start_ms)
        if prefix in {"eq", "le", "lt", "eb"}:
            high_ms = min(high_ms, end_ms)
    return Period(low_ms, high_ms)


def _ms(microseconds: int) -> int:
    return (microseconds - _EPOCH_US) // 1000


class AuditService:
    """Reads the trail. Who may call it is the access check of its rows."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def search(
        self,
        principal: Principal,
        passes: Callable[[ChainedEntry], bool],
        period: Period,
        *,
        behind: int,
        count: int,
        is_ascending: bool = False,
        has_total: bool = False,
        max_examined: int = 0,
    ) -> AuditPage:
        """A page of entries that pass, the newest first unless it `is_ascending`, from behind number `behind`
        (0: from the start). It looks at `max_examined` entries at most (0: at all), so that it may have
        fewer than `count`, or none, and still continue.
        """
        found: list[ChainedEntry] = []
        total, examined, last, slices, has_more = 0, 0, 0, Slices(), False
        async for entry in self._walk(principal, period, 0 if has_total else behind, is_ascending):
            await slices.pause()
            if max_examined and examined == max_examined and len(found) < count:
                return AuditPage(found, last, None)
            examined, last = examined + 1, entry.sequence
            if not passes(entry):
                continue
            total += 1
            is_before = has_total and behind and (entry.sequence <= behind) is is_ascending
            if is_before or (behind and entry.sequence == behind):
                continue
            if len(found) < count:
                found.append(entry)
                continue
            has_more = True
            if not has_total:
                break
        following = found[-1].sequence if found and has_more else 0
        return AuditPage(found, following, total if has_total else None)

    async def _walk(
        self, principal: Principal, period: Period, behind: int, is_ascending: bool
    ) -> AsyncIterator[ChainedEntry]:
        """The entries of the period behind a number, in either direction."""
        tenant = principal.tenant
        await self._trail.chain(tenant)
        first = await self._trail.since(tenant, period.low_ms) if period.low_ms else 1
        last = (await self._trail.head(tenant)).sequence
        if period.high_ms != _NEVER_MS:
            last = await self._trail.since(tenant, period.high_ms) - 1
        if is_ascending:
            async for entry in self._trail.forward(tenant, max(first, behind + 1)):
                if entry.sequence > last:
                    return
                yield entry
            return
        async for entry in self._trail.backward(tenant, min(last, behind - 1) if behind else last):
            if entry.sequence < first:
                return
            yield entry

    async def export(self, principal: Principal, period: Period) -> AsyncGenerator[ChainedEntry]:
        """Every entry of the period, the oldest first."""
        slices = Slices()
        async for entry in self._walk(principal, period, 0, is_ascending=True):
            await slices.pause()
            yield entry

    async def read(self, principal: Principal, entry_id: str) -> ChainedEntry:
        """One entry; raises `NotFound`."""
        await self._trail.chain(principal.tenant)
        sequence = whole_number(entry_id)
        entry = await self._trail.get(principal.tenant, sequence) if sequence else None
        if entry is None:
            text = f"The audit trail has no entry {entry_id}, or its retention has passed. Search AuditEvent."
            raise NotFound(Issue("not-found", text))
        return entry

    async def verify(
        self, principal: Principal, after: str = "", recorded: Sequence[str] = ()
    ) -> Verification:
        """Verifies some entries behind a place of the chain that was verified before, '' at first.

        `recorded` are heads that were stored elsewhere. What retention has removed behind that place, also
        meanwhile, is not missing. Raises `Malformed` for one that is not a head.
        """
        tenant = principal.tenant
        heads = [_parse_head(text, "recorded") for text in recorded]
        verified = _parse_head(after, "after") if after else None
        if verified is None:
            await self._trail.chain(tenant)
        while True:
            anchor = await self._trail.anchor(tenant)
            start = anchor if verified is None or verified.sequence < anchor.sequence else verified
            reached, problem = await self._trail.problem_after(tenant, start, VERIFIED_AT_ONCE, heads)
            if problem is None or await self._trail.anchor(tenant) == anchor:
                return Verification(anchor.sequence + 1, reached, await self._trail.head(tenant), problem)


def _parse_head(text: str, name: str) -> ChainHead:
    sequence, _, digest = text.partition(":")
    number = whole_number(sequence)
    if number is None or len(digest) != 64 or not all(letter in "0123456789abcdef" for letter in digest):
        problem = f"{name} takes the number of an entry and its digest, as in 17:9f86…, not {text[:80]!r}."
        raise Malformed(Issue("value", problem, name))
    return ChainHead(number, digest)
