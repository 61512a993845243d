"""Tokens, references, strings and URIs: a search value and a modifier against codes and identifiers.

The first line is the modifier, the second the search value, the third a text of the resource.
"""

from typing import Any

from broker.matching.problems import READ_ERRORS
from broker.matching.references import normal_reference, reference_test, referenced_type
from broker.matching.strings import string_test, uri_test
from broker.matching.tokens import parse_token, token_test
from broker.matching.values import BadFilter, BadValue, escape, split, unescape
from broker.model.search import Modifier
from tests.fuzz.target import Target, lines_of

_BASES = frozenset({"http://broker.example/r4"})


def check(data: bytes) -> None:
    name, value, text = lines_of(data, 3)
    modifier = Modifier(name) if name in set(Modifier) else None
    assert unescape(escape(value)) == value
    elements: list[Any] = [
        text,
        {"system": text, "value": value},
        {"system": value, "code": text, "display": text},
        {"coding": [{"system": value, "code": text}, {}], "text": text},
        {"reference": text, "type": value, "identifier": {"system": value, "value": text}},
        {"family": text, "given": [value, None]},
    ]
    referenced_type(text)
    normal_reference(text, _BASES)
    try:
        parse_token(value)
        tests = [token_test(part, modifier) for part in split(value, ",")]
        tests += [string_test(value, modifier), uri_test(value, modifier)]
        tests.append(reference_test(value, modifier, ("Patient", "Group"), _BASES))
    except (BadValue, BadFilter):
        return
    for element in elements:
        for test in tests:
            try:
                test(element, {})
            except READ_ERRORS:
                continue


TARGET = Target(
    check,
    [
        "\nhttp://loinc.org|8867-4\n8867-4",
        "\n|code\ncode",
        "\nsystem|\nsystem",
        "not\na,b\\,c|d\na",
        "of-type\na|b|c\nc",
        "text\nNÚÑEZ\nNúñez",
        "exact\nAna\nAna",
        "contains\n\u0130\u0307\ni\u0307\u0307",
        "identifier\nurn:gateway|17\n17",
        "below\nhttp://example.org/a\nhttp://example.org/a/b",
        "above\nhttp://example.org/a/b\nhttp://example.org",
        "\nPatient/1\nhttp://broker.example/r4/Patient/1/_history/2",
        "\nhttp://broker.example/r4\n//_history/",
        "\n|\n|",
        "\n\\\n\\|",
        "\n#a\n#",
    ],
    " ".join(Modifier)
    + r"""
    | , \ $ \| /_history/ urn:uuid: Patient/
    """,
    max_bytes=600,
)
