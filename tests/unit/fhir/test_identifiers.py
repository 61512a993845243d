"""Business identifiers as the tokens of the identifier index."""

import orjson

from broker.fhir.identifiers import identifiers
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
    assert identifiers(Resource(body)) == ["http://s|a b", "|no-system"]
    assert identifiers(Resource(b'{"identifier":{"system":"urn:s","value":"1"}}')) == ["urn:s|1"]
    assert identifiers(Resource(b"{}")) == []
