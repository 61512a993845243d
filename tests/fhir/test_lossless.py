"""A Subscription comes back as its client sent it: every element, extension and spelling but those the server
owns.
"""

import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import Unprocessable
from broker.fhir.release import adapter
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import Subscription
from broker.testing.registration import BACKPORT, subscription
from tests.fhir.rows import read_back

TOPIC = "http://example.org/t"
CROSS = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Subscription."
Document = dict[str, Any]
TEXT = st.from_regex(r"[A-Za-zäß0-9][A-Za-z0-9 _.:;\-\"\\/é]{0,20}[A-Za-z0-9]", fullmatch=True)
CODE = st.from_regex(r"[A-Za-zäß0-9_.:\-\"\\/é]{1,8}( [A-Za-z0-9_.:]{1,8}){0,2}", fullmatch=True)
"""A code has no two blanks in a row."""
# numbers whose spelling a float would lose
NUMBERS = st.sampled_from(["1.0", "2.00", "0.10", "-3.5", "1234567890.123456789", "7"])
MARKS = st.builds("⟦{}⟧".format, NUMBERS)
"""Text here and numbers in the body, so that no library changes their spelling."""
EXTENSIONS = st.lists(
    st.fixed_dictionaries(
        {"url": st.sampled_from(["http://example.org/a", "urn:oid:1.2"]), "valueDecimal": MARKS}
    )
    | st.fixed_dictionaries({"url": st.just("http://example.org/b"), "valueString": TEXT})
    | st.fixed_dictionaries(
        {
            "url": st.just("http://example.org/c"),
            "extension": st.just([{"url": "part", "valueReference": {"reference": "Patient/1"}}]),
        }
    ),
    min_size=1,
    max_size=3,
)
CODINGS = st.lists(st.fixed_dictionaries({"system": st.just("urn:x"), "code": CODE}), min_size=1, max_size=2)
META = st.fixed_dictionaries(
    {},
    optional={
        "tag": CODINGS,
        "security": CODINGS,
        "profile": st.just([f"{BACKPORT}backport-subscription"]),
        "source": st.just("urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7"),
        "extension": EXTENSIONS,
    },
)
CONTACTS = st.lists(
    st.fixed_dictionaries(
        {"system": st.sampled_from(["email", "phone"]), "value": TEXT}, optional={"extension": EXTENSIONS}
    ),
    min_size=1,
    max_size=2,
)
CONTAINED = st.just([{"resourceType": "Organization", "id": "o", "name": "Ward"}])
NARRATIVE = st.just(
    {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">é &amp; b</div>'}
)
ANYWHERE = {
    "meta": META.filter(bool),
    "language": st.just("de"),
    "text": NARRATIVE,
    "contained": CONTAINED,
    "extension": EXTENSIONS,
    "contact": CONTACTS,
    "end": st.just("2099-01-01T00:00:00.50+02:00"),
    "_end": st.fixed_dictionaries({"extension": EXTENSIONS}),
    "_reason": st.fixed_dictionaries({"id": st.just("r1"), "extension": EXTENSIONS}),
    "_status": st.fixed_dictionaries({"extension": EXTENSIONS}),
}
NATIVE = {
    "name": TEXT,
    "_name": st.fixed_dictionaries({"extension": EXTENSIONS}),
    "identifier": st.lists(
        st.fixed_dictionaries({"system": st.just("urn:x"), "value": TEXT}), min_size=1, max_size=2
    ),
    "managingEntity": st.fixed_dictionaries({"reference": st.just("#o"), "display": TEXT}),
}


def body_of(document: Document) -> bytes:
    """The document as JSON; marked numbers as they are to be spelt."""
    return json.dumps(document, ensure_ascii=False).replace('"⟦', "").replace('⟧"', "").encode()


def exact(body: bytes) -> Document:
    """Read with every number as it is spelt."""
    values: Document = json.loads(body, parse_float=str, parse_int=str)
    return values


def parse(release: Release, body: bytes) -> Subscription:
    return adapter(release).parse_subscription(Resource(body), tenant=DEFAULT_TENANT, id="s1")


def client_elements(document: Document) -> Document:
    """Without what the server owns."""
    meta = {
        name: value
        for name, value in document.get("meta", {}).items()
        if name not in {"versionId", "lastUpdated"}
    }
    rest = {name: value for name, value in document.items() if name not in {"id", "meta", "status", "error"}}
    return rest | ({"meta": meta} if meta else {})


@pytest.mark.parametrize("release", Release)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_client_reads_its_subscription_with_the_spelling_it_sent(
    release: Release, data: st.DataObject
) -> None:
    optional = ANYWHERE | (NATIVE if release is Release.R5 else {})
    more = data.draw(st.fixed_dictionaries({}, optional=optional))
    document = subscription(release, TOPIC, "https://example.org/hook", filters=["patient=Patient/1"])
    document |= {"reason": "because"} | more
    body = body_of(document)
    rendered = adapter(release).render_subscription(parse(release, body))
    assert client_elements(exact(rendered.text)) == client_elements(exact(body))
    read_back(release, rendered.text)
    again = adapter(release).render_subscription(parse(release, rendered.text))
    assert again == rendered, "what is read can be put, and changes nothing"


@pytest.mark.parametrize("release", [Release.R4, Release.R4B])
def test_only_the_server_sets_the_error(release: Release) -> None:
    document = subscription(release, TOPIC, "https://example.org/hook")
    forged = document | {
        "error": "forged",
        "_error": {"extension": [{"url": "urn:x", "valueString": "forged"}]},
    }
    parsed = parse(release, orjson.dumps(forged))
    assert b"forged" not in adapter(release).render_subscription(parsed).text
    failed = parsed.changed(error="no answer")
    assert orjson.loads(adapter(release).render_subscription(failed).text)["error"] == "no answer"


@pytest.mark.parametrize("release", Release)
def test_a_modifier_extension_is_refused(release: Release) -> None:
    modifier = {"modifierExtension": [{"url": "http://example.org/not", "valueBoolean": True}]}
    document = subscription(release, TOPIC, "https://example.org/hook") | modifier
    with pytest.raises(Unprocessable) as caught:
        parse(release, orjson.dumps(document))
    assert caught.value.issues[0].expression == "Subscription.modifierExtension"


@pytest.mark.parametrize("release", [Release.R4, Release.R4B])
@pytest.mark.parametrize("place", ["_criteria", "channel", "_type", "_payload"])
def test_r_081_other_extensions_in_the_places_of_the_guides_extensions_are_refused(
    release: Release, place: str
) -> None:
    document = subscription(release, TOPIC, "https://example.org/hook", filters=["patient=Patient/1"])
    holder = document if place == "_criteria" else document["channel"]
    if place == "channel":
        holder.setdefault("extension", []).append({"url": "http://example.org/e", "valueString": "x"})
    else:
        holder.setdefault(place, {}).setdefault("extension", []).append(
            {"url": "http://example.org/e", "valueString": "x"}
        )
    with pytest.raises(Unprocessable):
        parse(release, orjson.dumps(document))


def test_elements_that_only_r5_has_are_extensions_in_r4_and_restored_in_r5() -> None:
    native = subscription("r5", TOPIC, "https://example.org/hook") | {
        "name": "Vitals",
        "identifier": [{"system": "urn:x", "value": "1"}, {"value": "2"}],
        "managingEntity": {"reference": "Organization/o"},
        "contact": [{"system": "email", "value": "a@example.org"}],
        "extension": [{"url": "http://example.org/e", "valueString": "kept"}],
        "meta": {"tag": [{"code": "t"}]},
        "reason": "because",
    }
    for release in (Release.R4, Release.R4B):
        crossed = adapter(release).render_subscription(parse(Release.R5, orjson.dumps(native)))
        read_back(release, crossed.text)
        document = orjson.loads(crossed.text)
        assert [one["url"].removeprefix(CROSS) for one in document["extension"]] == [
            *("http://example.org/e", "name", "identifier", "identifier", "managingEntity")
        ]
        assert document["meta"]["tag"] == [{"code": "t"}]
        one = parse(release, crossed.text)
        assert one.name == "Vitals"
        back = orjson.loads(adapter(Release.R5).render_subscription(one).text)
        for name in ("name", "identifier", "managingEntity", "contact", "extension", "reason"):
            assert back[name] == native[name]
        read_back(Release.R5, orjson.dumps(back))


def test_numbers_in_extensions_keep_their_digits() -> None:
    body = body_of(
        subscription("r4", TOPIC, "https://example.org/hook")
        | {"extension": [{"url": "http://example.org/e", "valueDecimal": "⟦2.00⟧"}]}
    )
    rendered = adapter(Release.R4).render_subscription(parse(Release.R4, body)).text
    assert b'"valueDecimal":2.00' in rendered.replace(b": ", b":")
    assert json.loads(rendered, parse_float=Decimal)["extension"][0]["valueDecimal"] == Decimal("2.00")
