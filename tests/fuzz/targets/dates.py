"""Dates: a search value in the first line, the date of a resource in the second, compared in every way."""

from broker.matching.dates import compare_dates, date_interval, date_span
from broker.matching.values import BadValue, split_prefix
from broker.model.search import Comparator
from tests.fuzz.target import Target, lines_of


def check(data: bytes) -> None:
    value, element = lines_of(data, 2)
    _, text = split_prefix(value)
    try:
        searched = date_interval(text)
        spans = [date_span(element), date_span({"start": element}), date_span({"end": element})]
        spans.append(date_span({"event": [element, None]}))
    except BadValue:
        return
    assert searched.low < searched.high, text
    for span in spans:
        assert span is not None
        for comparator in Comparator:
            compare_dates(comparator, span, searched, now=0)
    own = date_span(text)
    assert own is not None
    assert compare_dates(Comparator.EQ, own, searched), text


TARGET = Target(
    check,
    [
        "2024\n2024-05",
        "ge2024-02-29\n2024-02-29T23:59:60Z",
        "eq2024-02-29T10:00\n2024-02-29T10:00:00.123456789+14:00",
        "9999-12-31T23:59:59.999999-14:00\n0001-01-01T00:00:00+14:00",
        "9999\n9999-12",
        "0000\n0000-00-00",
        "2023-02-29\n2024-13-01",
        "2024-01-01T24:00:00Z\n2024-01-01T10:61:00Z",
        "2024-01-01T10:00:00 01:00\n2024-01-01T10:00:00+99:99",
        "ap\n",
        "\u0662\u0660\u0662\u0664\n2024",
        "2024-01-01T10:00:00." + "1" * 300 + "Z\n2024",
    ],
    """
    T Z +01:00 -12:00 :60 .999 -02-29 0000 9999 sa eb ap
    """,
    max_bytes=400,
)
