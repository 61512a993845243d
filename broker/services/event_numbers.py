"""Which event numbers of a query have no event, and why. Pure; called by `EventService.query`.

A client that asks for a range learns about each number it does not get, so that it never takes a missing
number for an event that did not happen.
"""

from collections.abc import Iterable, Iterator, Sequence

from broker.model.notification import ErrorReport, Event
from broker.store.subscriptions import Record


def missing_numbers(
    record: Record, since: int | None, until: int | None, events: Sequence[Event], *, is_cut: bool
) -> tuple[ErrorReport, ...]:
    """Reports the gaps in the range and, where `since` is set, numbers whose events are no longer stored.

    `is_cut` says that the page of `events` ends before the range does: nothing is reported beyond its last
    event.
    """
    if is_cut:
        until = events[-1].number
    gaps = [gap for gap in record.gaps if gap.overlaps(since, until)]
    texts = [gap.text for gap in gaps if gap not in record.open_gaps]
    if since is not None:
        last = record.count if until is None else min(until, record.count)
        covered = [(gap.low, gap.high) for gap in gaps] + [(event.number, event.number) for event in events]
        texts += [_no_longer_stored(low, high) for low, high in _holes(max(since, 1), last, sorted(covered))]
    return tuple(ErrorReport(None, text) for text in texts)


def _no_longer_stored(low: int, high: int) -> str:
    numbers = f"event {low} is" if low == high else f"events {low} to {high} are"
    return f"{numbers} no longer stored: delivered, and past the retention"


def _holes(first: int, last: int, covered: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of `first` to `last` that no range covers; the ranges are in order."""
    for low, high in covered:
        if low > first:
            yield first, min(low - 1, last)
        first = max(first, high + 1)
    if first <= last:
        yield first, last


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges, both ends inclusive."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
