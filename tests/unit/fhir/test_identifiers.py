"""Business identifiers as the tokens of the identifier index."""

import orjson

from broker.fhir.identifiers import IdentifierToken, identifiers, index_entries
from broker.model.resource import Resource


def test_identifiers_are_system_and_value_each_once_and_one_line_each() -> None:
    body = orjson.dumps(
        {
            "identifier": [
                {"system": "http://s", "value": "a b"},
                {"value": "no-system"},
                {"system": "http://s", "value": "a b"},
                {"system": "http://s"},
                {"system": "http://s", "value": "two\nlines"},
                {"system": 3, "value": "x"},
                "junk",
            ]
        }
    )
    assert identifiers(Resource(body)) == [("http://s", "a b"), ("", "no-system")]
    assert index_entries(Resource(body)) == ["a b\x1fhttp://s\x1f", "no-system\x1f\x1f"]
    assert identifiers(Resource(b'{"identifier":{"system":"urn:s","value":"1"}}')) == [("urn:s", "1")]
    assert identifiers(Resource(b"{}")) == []


def test_the_prefix_of_a_token_is_that_of_the_entries_that_it_names() -> None:
    entries = ["1\x1furn:s\x1f", "1\x1f\x1f", "12\x1furn:s\x1f"]
    for token, named in (
        (IdentifierToken("urn:s", "1"), entries[:1]),
        (IdentifierToken("", "1"), entries[1:2]),
        (IdentifierToken(None, "1"), entries[:2]),
        (IdentifierToken("urn", "1"), []),
    ):
        assert [entry for entry in entries if entry.startswith(token.index_prefix)] == named
