"""What `$events` can't give of the numbers it was asked for: told beside the events, so that nobody takes it for never sent."""

from collections.abc import Iterator, Sequence

from broker.model.notification import ErrorReport, Event
from broker.store.subscriptions import Record


def missing(
    record: Record, since: int | None, until: int | None, found: Sequence[Event], *, is_cut: bool
) -> tuple[ErrorReport, ...]:
    """Gaps in the range, and numbers from `since` on that are older than what is kept; `is_cut`: `found` goes on beyond its end."""
    if is_cut:
        until = found[-1].number
    gaps = [gap for gap in record.gaps if gap.overlaps(since, until)]
    texts = [gap.text for gap in gaps if gap not in record.unanswered]
    if since is not None:
        last = record.count if until is None else min(until, record.count)
        covered = [(gap.low, gap.high) for gap in gaps] + [(event.number, event.number) for event in found]
        texts += [_unkept(low, high) for low, high in _holes(max(since, 1), last, sorted(covered))]
    return tuple(ErrorReport(None, text) for text in texts)


def _unkept(low: int, high: int) -> str:
    numbers = f"event {low} is" if low == high else f"events {low} to {high} are"
    return f"{numbers} no longer kept: delivered, and older or more than is kept"


def _holes(first: int, last: int, covered: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What of `first` to `last` no range covers; the ranges are in order."""
    for low, high in covered:
        if low > first:
            yield first, min(low - 1, last)
        first = max(first, high + 1)
    if first <= last:
        yield first, last
