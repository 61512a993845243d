"""The table and the sentences by which `explain` shows an answer of `$explain`."""

from collections.abc import Iterator, Mapping

from broker.cli.broker_client import Parts, groups, value
from broker.cli.output import console, print_table
from broker.model.wording import count_of, shorten_list

_MARKS: Mapping[str, str] = {"passed": "✓", "failed": "✗", "error": "✗ error", "not-evaluated": "–"}
_TERM_OUTCOMES: Mapping[str, str] = {"passed": "passes", "failed": "does not pass"}
_TRIGGER_OUTCOMES: Mapping[str, str] = {"passed": "fires", "failed": "does not fire"}
_HEADERS = ("", "criterion", "wanted", "found", "outcome")
_Row = tuple[str, str, str, str, str]


def show(parts: Parts, *, wide: bool) -> None:
    output = console(wide=wide)
    print_table(output, _HEADERS, list(_rows(parts)))
    for line in (*_lines(parts), str(value(parts, "reason"))):
        output.print(line, markup=False, highlight=False)


def _rows(parts: Parts) -> Iterator[_Row]:
    for trigger in groups(parts, "trigger"):
        criteria = [
            (name, group) for name in ("previous", "current", "fhirPath") for group in groups(trigger, name)
        ]
        outcome = _outcome(trigger, _TRIGGER_OUTCOMES if criteria else {})
        yield _mark(trigger), str(value(trigger, "element")), str(value(trigger, "resource")), "", outcome
        for name, group in criteria:
            yield from _criteria_rows(name, group)
    for term in groups(parts, "filter"):
        yield _term_row(term, "filter ")


def _criteria_rows(name: str, parts: Parts) -> Iterator[_Row]:
    terms = groups(parts, "term")
    wanted = "" if terms else str(value(parts, "criteria") or "")
    yield _mark(parts), f"  {name}", wanted, "", _outcome(parts, _TERM_OUTCOMES if terms else {})
    for term in terms:
        yield _term_row(term, "    ")


def _term_row(parts: Parts, prefix: str) -> _Row:
    name, _, wanted = str(value(parts, "criteria")).partition("=")
    found = [str(part["valueString"]) for part in parts if part["name"] == "found"]
    is_compared = value(parts, "outcome") in _TERM_OUTCOMES
    values = "\n".join(found) or ("nothing" if is_compared else "")
    wanted = shorten_list(wanted, found)
    return _mark(parts), prefix + name, wanted, values, _outcome(parts, _TERM_OUTCOMES)


def _mark(parts: Parts) -> str:
    return _MARKS.get(str(value(parts, "outcome")), "")


def _outcome(parts: Parts, words: Mapping[str, str]) -> str:
    """The word for the outcome where the other columns and rows show the rest, otherwise the reason."""
    return words.get(str(value(parts, "outcome"))) or str(value(parts, "reason") or "")


def _lines(parts: Parts) -> Iterator[str]:
    for subscription in groups(parts, "subscription"):
        since = value(subscription, "counting-since")
        counting = f"counting since {since}" if value(subscription, "counting") and since else "not counting"
        yield (
            f"subscription {value(subscription, 'id')}: {value(subscription, 'status')}, {counting}, "
            f"{count_of(int(value(subscription, 'events')), 'event')}, "
            f"{value(subscription, 'delivered')} delivered"
        )
    for payload in groups(parts, "payload"):
        for limit in groups(payload, "limit"):
            names = [str(part["valueString"]) for part in limit if part["name"] == "element"]
            elements = ", ".join(names) or "nothing else"
            yield f"of {value(limit, 'resource')}, notifications have the mandatory elements and: {elements}"
    for delivery in groups(parts, "delivery"):
        if value(delivery, "state") == "waiting":
            next_attempt = value(delivery, "next-attempt")
            error = f", last error: {value(delivery, 'error')}" if value(delivery, "error") else ""
            due = f", next attempt at {next_attempt}" if next_attempt else ""
            yield f"delivery: {count_of(value(delivery, 'attempts'), 'failed attempt')}{error}{due}"
        if trace := value(delivery, "trace-id"):
            yield f"trace: {trace}"
