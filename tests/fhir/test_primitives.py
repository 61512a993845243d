"""The values of the primitive types, each with what is valid and what is not, in every release."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
import pytest

from broker.errors import Issue
from broker.fhir.primitives import MAX_STRING_CHARS
from broker.fhir.validation import find_issues
from broker.model.json_text import decode_received
from broker.model.release import Release
from broker.model.resource import Resource

R4, R4B, R5 = Release.R4, Release.R4B, Release.R5
DIV = '<div xmlns="http://www.w3.org/1999/xhtml">%s</div>'
WHITESPACE = ("a b", " a", "a ", "a\tb", "a\n", "\u00a0")
CONTROL = ("a\x00", "a\x01b", "\x1f", "a\x0b")


class Primitive(NamedTuple):
    """`valid` and `invalid` are values, or JSON texts of values as `bytes`."""

    name: str
    valid: Sequence[Any]
    invalid: Sequence[Any]
    releases: Sequence[Release] = tuple(Release)


ZONED = ("Z", "+00:00", "-13:59", "+14:00")
DAYS = ("2024-02-29", "0001-01-01", "0999-12-31", "9999-12-31", "1000-06-15")
NO_DAYS = ("2023-02-29", "2024-04-31", "0000-01-01", "2024-13-01", "2024-1-1", "24-01-01", "10000-01-01", "")
INSTANTS = [
    *(f"2024-02-29T23:59:59{zone}" for zone in ZONED),
    *("2016-12-31T23:59:60Z", "0001-01-01T00:00:00.000Z", "2024-01-01T00:00:00.123456789Z"),
]
NO_INSTANTS = [
    *("2024-02-30T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:61Z", "2024-01-01T00:60:00Z"),
    *("2024-01-01T00:00:00", "2024-01-01T00:00:00+14:01", "2024-01-01T00:00:00-15:00", "2024-01-01T00:00Z"),
    *("2024-01-01t00:00:00z", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00,5Z"),
    "2024-01-01T00:00:00Z\n",
]
PRIMITIVES = (
    Primitive("Boolean", [True, False], ["true", 1, 0, b"1.0", "", [], {}]),
    Primitive(
        "Integer",
        [0, -1, -(2**31), 2**31 - 1, b"-0"],
        [b"1.0", b"1e0", b"0.5", b"1E2", "1", 2**31, -(2**31) - 1, True, b"1e400", ""],
    ),
    Primitive("UnsignedInt", [0, 2**31 - 1], [-1, 2**31, b"1.0", b"1e0", "0"]),
    Primitive("PositiveInt", [1, 2**31 - 1], [0, -1, 2**31, b"1.0", b"1e0", "1"]),
    Primitive(
        "Integer64",
        ["0", "-9223372036854775808", "9223372036854775807", 2**40, -(2**63)],
        ["9223372036854775808", "-9223372036854775809", "1.0", "1e0", "+1", "01", b"1.0", "", " 1", True],
        [R5],
    ),
    Primitive(
        "Decimal",
        [
            0,
            -1,
            *(
                b"123456789012345678901234567890",
                b"2.00",
                b"-0.0",
                b"1e400",
                b"1E-400",
                b"0.1234567890123456789",
                b"1e+3",
                b"5e0",
            ),
        ],
        ["1", "", True, [1], {}],
    ),
    Primitive(
        "String", ["a", " a ", "a\tb\r\nc", "\u00e9", "\U0001f600", "\x7f", "1"], [*CONTROL, "", 1, True]
    ),
    Primitive("Markdown", ["# a\n\n* b", " "], [*CONTROL, "", 1]),
    Primitive(
        "Uri",
        ["urn:uuid:1", "http://x.org/a?b=c#d", "Patient/1", "#a", "http://x.org/\u00e9"],
        ["", *WHITESPACE, 1],
    ),
    Primitive("Url", ["http://x.org", "mailto:a@x.org", "mllp://h:1", "../a", "urn:a"], ["", *WHITESPACE]),
    Primitive("Canonical", ["http://x.org/a|1.0", "http://x.org/a#b", "#a"], ["", *WHITESPACE]),
    Primitive(
        "Code", ["a", "a b", "a-b", ">=", "\u00e9"], ["", "a  b", " a", "a ", "a\tb", "a\n", "\u00a0", 1]
    ),
    Primitive("Id", ["a", "A-1.b", "x" * 64], ["", "x" * 65, "a_b", "a/b", "a b", "\u00e9", "a\n", 1]),
    Primitive(
        "Oid",
        ["urn:oid:1.2.3", "urn:oid:2.16.840.1"],
        ["1.2.3", "urn:oid:3.1", "urn:oid:1.01", "urn:oid:1", ""],
    ),
    Primitive(
        "Uuid",
        ["urn:uuid:c757873d-ec9a-4326-a141-556f43239520", "urn:uuid:00000000-0000-0000-0000-000000000000"],
        [
            "c757873d-ec9a-4326-a141-556f43239520",
            "urn:uuid:C757873D-EC9A-4326-A141-556F43239520",
            "urn:uuid:1",
        ],
    ),
    Primitive(
        "Date", ["2024", "2024-02", *DAYS], [*NO_DAYS, "2024-01-01T00:00:00Z", "2024-00", 2024, "2024-"]
    ),
    Primitive(
        "DateTime",
        ["2024", "0001", "2024-02", *DAYS, *INSTANTS],
        [*NO_DAYS, *NO_INSTANTS, "2024-01-01Z", "2024-02T00:00:00Z", 2024],
    ),
    Primitive("Instant", INSTANTS, [*NO_INSTANTS, "2024", "2024-01", *DAYS, ""]),
    Primitive("Instant", ["2024-01-01T00:00:00.1234567890123Z"], [], [R4, R4B]),
    Primitive("Instant", [], ["2024-01-01T00:00:00.1234567890Z"], [R5]),
    Primitive(
        "Time",
        ["00:00:00", "23:59:59.5", "23:59:60", "12:00:00.123456"],
        ["24:00:00", "12:00", "12:60:00", "1:00:00", "12:00:00Z", "12:00:00.", 12, ""],
    ),
    Primitive(
        "Base64Binary",
        ["YQ==", "YWI=", "YWJj", "YWJj\nYWJj", " YWJj ", "+/+/"],
        ["", "YQ", "YQ=", "a", "YW Jj=", "====", "YW-_", "Y===", "YQ==YQ==", "\u00e9\u00e9\u00e9\u00e9", 1],
    ),
)


def observation(value: Any, *, name: str) -> bytes:
    """An Observation with an extension that has the value; `bytes` are JSON."""
    text = value if isinstance(value, bytes) else orjson.dumps(value)
    return (
        b'{"resourceType":"Observation","status":"final","code":{"text":"x"},'
        b'"extension":[{"url":"urn:x","value' + name.encode() + b'":' + text + b"}]}"
    )


def issues_of(release: Release, text: bytes) -> tuple[Issue, ...]:
    resource = Resource(text, decode_received)
    return find_issues(release, str(resource.fields["resourceType"]), resource)


CASES = [
    pytest.param(release, primitive, id=f"{primitive.name}-{release}-{n}")
    for n, primitive in enumerate(PRIMITIVES)
    for release in primitive.releases
]


@pytest.mark.parametrize(("release", "primitive"), CASES)
def test_valid_values_are_accepted(release: Release, primitive: Primitive) -> None:
    for value in primitive.valid:
        assert not issues_of(release, observation(value, name=primitive.name)), value


@pytest.mark.parametrize(("release", "primitive"), CASES)
def test_invalid_values_are_refused_and_the_element_is_named(release: Release, primitive: Primitive) -> None:
    for value in primitive.invalid:
        issues = issues_of(release, observation(value, name=primitive.name))
        element = f"Observation.extension[0].value{primitive.name}"
        assert [issue.expression for issue in issues] == [element], value
        assert element in issues[0].text


@pytest.mark.parametrize("release", list(Release))
def test_long_numbers_are_accepted(release: Release) -> None:
    assert not issues_of(release, observation(b"123456789012345678901234567890", name="Decimal"))
    assert not issues_of(release, observation(b"123456789012345678901234567890.10", name="Decimal"))


@pytest.mark.parametrize("release", list(Release))
def test_a_string_has_a_bounded_length(release: Release) -> None:
    assert not issues_of(release, observation("x" * MAX_STRING_CHARS, name="String"))
    assert issues_of(release, observation("x" * (MAX_STRING_CHARS + 1), name="String"))


def test_a_type_that_a_release_does_not_have_is_refused_there() -> None:
    for release in (R4, R4B):
        assert issues_of(release, observation("1", name="Integer64"))


SHARED_TYPES = """
    Address Age Annotation Attachment CodeableConcept Coding ContactPoint Count Distance Duration HumanName
    Identifier Money Period Quantity Range Ratio Reference SampledData Signature Timing ContactDetail
    DataRequirement Expression ParameterDefinition RelatedArtifact TriggerDefinition UsageContext Dosage Meta
"""
ONLY_IN = {
    "Contributor": {R4, R4B},
    "CodeableReference": {R4B, R5},
    "RatioRange": {R4B, R5},
    "Availability": {R5},
    "ExtendedContactDetail": {R5},
}
MINIMAL: dict[str, dict[str, Any]] = {
    "Annotation": {"text": "x"},
    "SampledData": {
        "origin": {"value": 1},
        "period": 1,
        "interval": 1,
        "intervalUnit": "ms",
        "dimensions": 1,
    },
    "Signature": {
        "type": [{"code": "x"}],
        "when": "2024-01-01T00:00:00Z",
        "who": {"display": "x"},
    },
    "DataRequirement": {"type": "Patient"},
    "Expression": {"language": "text/fhirpath", "expression": "true"},
    "ParameterDefinition": {"use": "in", "type": "string"},
    "RelatedArtifact": {"type": "citation"},
    "TriggerDefinition": {"type": "named-event", "name": "x"},
    "UsageContext": {"code": {"code": "x"}, "valueCodeableConcept": {"text": "x"}},
    "Contributor": {"type": "author", "name": "x"},
    "CodeableReference": {"concept": {"text": "x"}},
    "Reference": {"display": "x"},
    "Meta": {"source": "urn:x"},
}


def value_of(name: str, release: Release) -> dict[str, Any]:
    value = dict(MINIMAL.get(name, {"extension": [{"url": "urn:y", "valueString": "x"}]}))
    if name == "SampledData":
        for other in ("period",) if release is R5 else ("interval", "intervalUnit"):
            del value[other]
    return value


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize("name", [*SHARED_TYPES.split(), *ONLY_IN])
def test_an_extension_has_every_data_type_of_its_release_and_no_other(release: Release, name: str) -> None:
    issues = issues_of(release, observation(value_of(name, release), name=name))
    if release in ONLY_IN.get(name, set(Release)):
        assert not issues
    else:
        assert issues[0].expression == f"Observation.extension[0].value{name}"
