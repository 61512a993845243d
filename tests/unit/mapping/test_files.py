"""Mapping files: what is an error, where it is, and that editors and the broker agree on it."""

import copy
import json
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.mapping import schema as mapping_schema
from broker.mapping.compiling import compile_mapping
from broker.mapping.errors import MappingError
from broker.mapping.schema import check, schema
from broker.mapping.yaml_document import YamlDocument, parse_yaml
from tests.spawning import ROOT

FILE = """\
name: device
match: kind == 'device'
select: readings
device:
  identifier: {system: 'http://example.org/devices', value: id}
time:
  value: at
observations:
  - name: blood-pressure
    type: blood-pressure
    components:
      - name: systolic
        type: systolic
        value: sys
        unit: mmHg
      - {name: diastolic, type: diastolic, value: dia, unit: mmHg}
  - name: heart-rate
    type: heart-rate
    value: hr
    unit: bpm
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "text"),
    [
        ("match:", "matches:", 2, "matches", "unknown key. Did you mean match?"),
        ("match: kind == 'device'\n", "", 1, "", "match is missing"),
        ("name: device\n", "name: The Device\n", 1, "name", "must have the form"),
        ("== 'device'", "==", 2, "match", "not a JMESPath expression"),
        ("select: readings", "select: nothing(x)", 3, "select", "there is no function nothing()"),
        ("select: readings", "select: 5", 3, "select", "must be"),
        ("select: readings", "select: {jsonpath: '$.a[?@.b =~ /(?=x)/]'}", 3, "select", "regular expression"),
        ("value: id}", "value: id, vlaue: x}", 5, "device.identifier.vlaue", "Did you mean value?"),
        ("  value: at", "  value: at\n  zone: Mars/Olympus", 8, "time.zone", "the time zone is unknown"),
        (
            "  value: at",
            "  value: at\n  end: to\n  duration: {value: d, unit: s}",
            9,
            "time.duration",
            "has an end",
        ),
        ("type: heart-rate", "type: hart-rate", 18, "observations[1].type", "no such type"),
        ("unit: bpm", "unit: kg", 20, "observations[1].unit", "kg is unknown, or does not convert to /min"),
        ("    unit: bpm\n", "", 17, "observations[1]", "unit is missing"),
        ("    value: hr\n", "", 17, "observations[1]", "needs a value"),
        (
            "unit: mmHg\n      -",
            "unti: mmHg\n      -",
            15,
            "observations[0].components[0].unti",
            "unknown key",
        ),
        (
            "type: diastolic",
            "type: mean-pressure",
            11,
            "observations[0].components",
            "one component of type diastolic",
        ),
        ("name: heart-rate", "name: blood-pressure", 17, "observations[1].name", "has the name"),
        (
            "type: heart-rate",
            "type: heart-rate\n    group: time",
            19,
            "observations[1].group",
            "components is grouped",
        ),
        (
            "type: heart-rate",
            "type: heart-rate\n    members: [x]",
            19,
            "observations[1].members[0]",
            "has the name",
        ),
        (
            "type: blood-pressure",
            "type: blood-pressure\n    group: time\n    merge: day",
            12,
            "observations[0].merge",
            "no group and no members",
        ),
        (
            "unit: bpm",
            "unit: bpm\n    merge: hour\n    time: {value: at, missing: received}",
            22,
            "observations[1].time",
            "needs the time of the device",
        ),
        (
            "value: hr\n    unit: bpm",
            "sampled-data: {samples: hr, period: 10}\n    unit: bpm\n    merge: hour",
            19,
            "observations[1].sampled-data.period",
            "more than 100000 such periods",
        ),
        (
            "value: hr\n    unit: bpm",
            "sampled-data: {samples: hr, period: p}\n    unit: bpm\n    merge: {by: x}",
            19,
            "observations[1].sampled-data.period",
            "a period that is a number",
        ),
        (
            "type: heart-rate",
            "code: [{system: lonic, code: '1'}]",
            18,
            "observations[1].code[0]",
            "must be a URL",
        ),
        (
            "type: heart-rate",
            "code: [{system: mdc, code: abc}]",
            18,
            "observations[1].code[0].code",
            "is a number",
        ),
        ("unit: bpm", "unit: kg\n    to: kg", 21, "observations[1].to", "the type is in /min"),
        ("value: hr", "value: hr\n    value: pulse", 20, "observations[1].value", "there twice"),
        ("value: hr", "value: hr\n    kind: concept", 17, "observations[1]", "a concept needs codes"),
        ("name: device", "name: device\n\tx: y", 2, "", "not YAML"),
        ("name: device", "name: !!python/object/new:os.system [x]", 1, "name", "tags are not used"),
    ],
)
def test_an_error_names_file_line_and_field(old: str, new: str, line: int, field: str, text: str) -> None:
    assert old in FILE
    with pytest.raises(MappingError) as caught:
        compile_mapping("device.yaml", FILE.replace(old, new, 1))
    error = caught.value
    assert (error.file, error.line, error.field) == ("device.yaml", line, field), str(error)
    assert text in error.text
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "text", ["", "# nothing", "[]", "text", "a: &x [*x]", "{" * 5_000, "? [a]\n: b", "--- a\n--- b"]
)
def test_a_file_that_is_no_mapping_is_an_error(text: str) -> None:
    with pytest.raises(MappingError):
        compile_mapping("device.yaml", text)


def test_scalars_are_read_as_json_reads_them() -> None:
    text = (
        "{on: no, t: 08:30, d: 2026-03-02, n: 1.50, i: 7, b: true, e: ~, q: '7', o: 010, x: 0x1F, s: 1_000}"
    )
    assert parse_yaml("a.yaml", text).value == {
        "on": "no", "t": "08:30", "d": "2026-03-02", "n": Decimal("1.50"), "i": 7, "b": True,
        "e": None, "q": "7", "o": "010", "x": "0x1F", "s": "1_000",
    }  # fmt: skip


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    return [path, *(inner for key, each in members for inner in _paths(each, (*path, key)))]


_DOCUMENTS = [
    parse_yaml(path.name, path.read_text(encoding="utf-8")).value
    for path in sorted((ROOT / "mappings").glob("*.yaml"))
]
_JUNK: list[Any] = [
    None,
    True,
    5,
    Decimal("-1.5"),
    "",
    "text",
    [],
    ["x"],
    {},
    {"from": "a"},
    {"jsonpath": "$.a"},
    {"x": 1},
]


@settings(max_examples=300)
@given(data=st.data())
def test_editors_and_the_broker_agree_on_what_satisfies_the_schema(data: st.DataObject) -> None:
    document = copy.deepcopy(data.draw(st.sampled_from(_DOCUMENTS)))
    path = data.draw(st.sampled_from(_paths(document)[1:]))
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = data.draw(st.sampled_from(_JUNK))
    by_editors = jsonschema.Draft202012Validator(schema()).is_valid(
        json.loads(json.dumps(document, default=float))
    )
    try:
        check(YamlDocument("a.yaml", document, {}))
        by_broker = True
    except MappingError:
        by_broker = False
    assert by_broker == by_editors


def test_a_rule_that_has_no_words_of_ours_is_reported_in_those_of_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        mapping_schema, "_validator", lambda: jsonschema.Draft202012Validator({"maxItems": 1})
    )
    with pytest.raises(MappingError, match=r"\[1, 2\] is too long\."):
        check(YamlDocument("a.yaml", [1, 2], {}))
