"""Links between the entries of a transaction: which elements they are in, and what they become."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.fhir.element_tables import table_of_type
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.transaction_links import (
    LINK_MEMBERS,
    LinkTargets,
    link_targets,
    replace_links,
    targets_of_entry,
)
from broker.model.release import Release
from broker.model.resource import Resource

URN = "urn:uuid:5f339d06-b1d0-466b-8578-1dffecfe4f07"
OID = "urn:oid:1.2.3"
URL = "http://ehr.example/fhir/Patient/7"
XHTML = '<div xmlns="http://www.w3.org/1999/xhtml">'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)


def replaced(resource: dict[str, Any], full_url: str = "") -> Any:
    urls = link_targets({URN: "Patient/1", OID: "Device/2", URL: "Patient/3", "Patient/4": "Patient/5"})
    targets = targets_of_entry(full_url, urls, {"Patient?identifier=1": "Patient/6"})
    return orjson.loads(replace_links(Resource(orjson.dumps(resource)), targets).text)


def test_whole_values_are_replaced_and_numbers_keep_their_spelling() -> None:
    resource = Resource(
        b'{"subject":{"reference":"urn:uuid:0b1c"},"urn:uuid:0b1c":1.50,'
        b'"instantiatesUri":["urn:uuid:0b1c","\\u0075rn:uuid:0b1c"],'
        b'"identifier":[{"system":"urn:ietf:rfc:3986","value":"urn:uuid:0b1c"}],"valueQuantity":{"value":2.00}}'
    )
    assert replace_links(resource, LinkTargets({"urn:uuid:0b1c": "Patient/9"}, {})).text == (
        b'{"subject":{"reference":"Patient/9"},"urn:uuid:0b1c":1.50,'
        b'"instantiatesUri":["Patient/9","Patient/9"],'
        b'"identifier":[{"system":"urn:ietf:rfc:3986","value":"urn:uuid:0b1c"}],"valueQuantity":{"value":2.00}}'
    )
    assert replace_links(resource, LinkTargets({}, {})) is resource


@pytest.mark.parametrize("name", ["reference", "url", "valueUri", "valueUrl", "valueOid", "valueUuid"])
def test_references_uris_urls_oids_and_uuids_are_links(name: str) -> None:
    assert replaced({"x": {name: URN}}) == {"x": {name: "Patient/1"}}
    assert replaced({"x": [{name: OID}, {name: URL}]}) == {"x": [{name: "Device/2"}, {name: "Patient/3"}]}


@pytest.mark.parametrize(
    "name", ["value", "valueString", "text", "display", "id", "valueCode", "valueCanonical"]
)
def test_texts_identifiers_and_canonicals_are_no_links(name: str) -> None:
    assert replaced({"x": {name: URN}}) == {"x": {name: URN}}


def test_a_search_is_replaced_in_references_only() -> None:
    search = "Patient?identifier=1"
    assert replaced({"reference": search, "url": search}) == {"reference": "Patient/6", "url": search}


def test_relative_references_count_from_the_base_of_the_entry() -> None:
    relative = {"subject": {"reference": "Patient/7"}, "url": "Patient/7"}
    assert replaced(relative) == relative
    assert replaced(relative, URN) == relative
    assert replaced(relative, "http://other.example/fhir/Observation/1") == relative
    assert replaced(relative, "http://ehr.example/fhir/Observation/1") == {
        "subject": {"reference": "Patient/3"},
        "url": "Patient/7",
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f'<a href="{URN}">p</a>', '<a href="Patient/1">p</a>'),
        (f"<a title='>' href='{URN}'>p</a>", "<a title='>' href=\"Patient/1\">p</a>"),
        (f'<img alt="x"\n src = "{URL}"/>', '<img alt="x"\n src = "Patient/3"/>'),
        (f'<a href="{URN}"><img src="{OID}"/></a>', '<a href="Patient/1"><img src="Device/2"/></a>'),
        (f'<a href="#{URN}">{URN}</a>', f'<a href="#{URN}">{URN}</a>'),
        (f'<abbr href="{URN}">p</abbr><b title="{URN}"/>', f'<abbr href="{URN}">p</abbr><b title="{URN}"/>'),
    ],
)
def test_links_of_narratives_are_replaced_and_their_text_is_not(before: str, after: str) -> None:
    assert replaced({"text": {"div": f"{XHTML}{before}</div>"}}) == {"text": {"div": f"{XHTML}{after}</div>"}}


@given(json_values)
def test_replacing_what_does_not_occur_changes_no_byte(value: object) -> None:
    resource = Resource(orjson.dumps({"a": value, "div": value, "url": value}))
    assert replace_links(resource, LinkTargets({"urn:uuid:never-here": "Patient/1"}, {})) == resource


_NEARLY_ALWAYS_A_CODE = {"type", "code", "name", "property", "identifier", "path", "resourceType"}


def test_every_member_of_a_uri_type_is_in_the_table() -> None:
    missing: dict[str, str] = {}
    pending, seen = set(RESOURCE_TYPES[Release.R5]), set[str]()
    while pending:
        type_name = pending.pop()
        seen.add(type_name)
        for element in table_of_type(Release.R5, type_name).elements.values():
            if element.type_name in {"uri", "url", "oid", "uuid"}:
                missing[element.name] = f"{type_name}.{element.name}"
            elif element.has_elements and element.type_name not in seen:
                pending.add(element.type_name)
    assert {
        name: where for name, where in missing.items() if name not in LINK_MEMBERS | _NEARLY_ALWAYS_A_CODE
    } == {}
