"""Value-set files become codes, or a one-line error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ConfigurationError
from broker.matching import valuesets
from broker.matching.valuesets import ValueSetFolder

Folder = Callable[..., Path]
SHIPPED = Path(__file__).parents[3] / "topics" / "valuesets"
S = "http://system"
ONE = {"system": S, "concept": [{"code": "a"}, {"code": "b"}]}


def value_set(name: str, *include: dict[str, Any], **more: Any) -> dict[str, Any]:
    compose = {"compose": {"include": list(include)}} if include else {}
    return {"resourceType": "ValueSet", "url": f"http://sets/{name}", **compose, **more}


def code_system(*concepts: dict[str, Any], **more: Any) -> dict[str, Any]:
    plain = {"resourceType": "CodeSystem", "url": S, "content": "complete", "hierarchyMeaning": "is-a"}
    return plain | {"concept": list(concepts)} | more


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    def write(*documents: Any) -> Path:
        for n, document in enumerate(documents):
            text = document if isinstance(document, str) else json.dumps(document)
            (tmp_path / f"{n}.json").write_text(text)
        return tmp_path

    return write


def codes(found: frozenset[tuple[str, str]] | None) -> set[str]:
    assert found is not None
    assert {system for system, _ in found} <= {S}
    return {code for _, code in found}


def test_listed_concepts_are_its_codes(folder: Folder) -> None:
    found = ValueSetFolder.read(folder(value_set("x", ONE, {"system": S, "concept": [{"code": "c"}]})))
    assert codes(found.resolve("http://sets/x")) == {"a", "b", "c"}
    assert found.resolve("http://sets/y") is None


def test_excluded_concepts_are_not_its_codes(folder: Folder) -> None:
    document = value_set("x", ONE)
    document["compose"]["exclude"] = [{"system": S, "concept": [{"code": "a"}]}]
    assert codes(ValueSetFolder.read(folder(document)).resolve("http://sets/x")) == {"b"}


def test_an_expansion_counts_at_every_depth_without_abstract_entries(folder: Folder) -> None:
    inner = [{"system": S, "code": "a", "contains": [{"system": S, "code": "b"}]}]
    expansion = {"contains": [{"abstract": True, "system": S, "code": "h", "contains": inner}]}
    found = ValueSetFolder.read(folder(value_set("x", expansion=expansion)))
    assert codes(found.resolve("http://sets/x")) == {"a", "b"}
    assert found.ancestors(S, "b") is None  # its nesting is for navigation


def test_an_expansion_is_used_if_the_definition_needs_a_server(folder: Folder) -> None:
    filtered = {"system": S, "filter": [{"property": "p", "op": "=", "value": "v"}]}
    document = value_set("x", filtered, expansion={"contains": [{"system": S, "code": "a"}]})
    assert codes(ValueSetFolder.read(folder(document)).resolve("http://sets/x")) == {"a"}


def test_an_include_is_the_intersection_of_everything_it_names(folder: Folder) -> None:
    documents = [
        value_set("all", {"valueSet": ["http://sets/ab"]}, {"valueSet": ["http://sets/bc"]}),
        value_set("both", {"valueSet": ["http://sets/ab", "http://sets/bc"]}),
        value_set("one", {"valueSet": ["http://sets/ab|1"], "system": S, "concept": [{"code": "a"}]}),
        value_set("ab", ONE, version="1"),
        value_set("bc", {"system": S, "concept": [{"code": "b"}, {"code": "c"}]}),
    ]
    found = ValueSetFolder.read(folder(*documents))
    assert codes(found.resolve("http://sets/all")) == {"a", "b", "c"}
    assert codes(found.resolve("http://sets/both")) == {"b"}
    assert codes(found.resolve("http://sets/one")) == {"a"}


def test_a_whole_code_system_counts_if_its_file_is_there(folder: Folder) -> None:
    system = code_system({"code": "a", "concept": [{"code": "b"}]})
    found = ValueSetFolder.read(folder(value_set("x", {"system": S}), system))
    assert codes(found.resolve("http://sets/x")) == {"a", "b"}


def test_a_url_without_version_is_its_newest(folder: Folder) -> None:
    old = value_set("x", {"system": S, "concept": [{"code": "old"}]}, version="1.9")
    new = value_set("x", {"system": S, "concept": [{"code": "new"}]}, version="1.10")
    found = ValueSetFolder.read(folder(old, new))
    assert codes(found.resolve("http://sets/x")) == {"new"}
    assert codes(found.resolve("http://sets/x|1.9")) == {"old"}


def test_a_code_system_defines_the_ancestors_of_its_codes(folder: Folder) -> None:
    leaf = {"code": "leaf", "property": [{"code": "parent", "valueCode": "other"}]}
    root = {"code": "root", "concept": [leaf], "property": [{"code": "child", "valueCode": "other"}]}
    found = ValueSetFolder.read(folder(code_system(root, {"code": "other"}, {"code": "alone"})))
    assert found.ancestors(S, "leaf") == frozenset({"leaf", "root", "other"})
    assert found.ancestors(S, "other") == frozenset({"other", "root"})
    assert found.ancestors(S, "alone") == frozenset({"alone"})
    assert found.ancestors(S, "unknown") is None


def test_nesting_without_is_a_is_not_a_hierarchy(folder: Folder) -> None:
    system = code_system({"code": "a", "concept": [{"code": "b"}]}, hierarchyMeaning="part-of")
    assert ValueSetFolder.read(folder(system)).ancestors(S, "b") is None


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ("{", "0.json"),
        ("[]", "0.json"),
        ({"resourceType": "Patient"}, "neither a ValueSet"),
        ({"resourceType": "ValueSet"}, "no url"),
        (value_set("x"), "neither compose nor expansion"),
        (value_set("x", {"system": S}), f"includes all of {S}"),
        (value_set("x", {"system": S, "filter": [{"property": "p"}]}), "filter"),
        (value_set("x", {"valueSet": ["http://sets/missing"]}), "http://sets/missing"),
        (value_set("x", {"valueSet": ["http://sets/x"]}), "includes itself"),
        (value_set("x", {}), "names neither"),
        (value_set("x", expansion={"total": 5, "contains": [{"system": S, "code": "a"}]}), "one page"),
        (value_set("x", expansion={"offset": 9, "contains": []}), "one page"),
        (value_set("x", {"system": S, "concept": [{}]}), "not a valid ValueSet"),
        (code_system({"code": "a"}, content="fragment"), "not complete"),
    ],
)
def test_what_cannot_be_enumerated_is_refused(document: Any, word: str, folder: Folder) -> None:
    with pytest.raises(ConfigurationError, match=r"value set file .*0\.json") as raised:
        ValueSetFolder.read(folder(document))
    assert word in str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_files_with_the_same_canonical_are_refused(folder: Folder) -> None:
    with pytest.raises(ConfigurationError, match=r"is already defined in 0\.json"):
        ValueSetFolder.read(folder(value_set("x", ONE), value_set("x", ONE)))


def test_a_missing_folder_is_empty(tmp_path: Path) -> None:
    assert ValueSetFolder.read(tmp_path / "none").codes == {}


def test_the_shipped_value_sets_can_be_used_and_agree_with_their_topics() -> None:
    found = ValueSetFolder.read(SHIPPED)
    glucose = found.resolve("http://fhir-broker.org/valuesets/glucose")
    assert glucose is not None
    topic = json.loads((SHIPPED.parent / "glucose.json").read_text())
    terms = topic["resourceTrigger"][0]["queryCriteria"]["current"].removeprefix("code=").split(",")
    assert glucose == {tuple(term.split("|")) for term in terms}
    signs = found.resolve("http://fhir-broker.org/valuesets/vital-signs")
    assert signs is not None
    assert ("http://loinc.org", "8867-4") in signs


@given(st.dictionaries(st.integers(1, 12), st.integers(0, 11), max_size=12))
def test_ancestors_are_transitive(above: dict[int, int]) -> None:
    concepts = [
        {"code": str(code), "property": [{"code": "parent", "valueCode": str(parent)}]}
        for code, parent in above.items()
    ]
    parents: dict[str, set[str]] = {}
    valuesets._collect(concepts, None, parents)
    climbed = {code: valuesets._ancestors(code, parents) for code in parents}
    for found in climbed.values():
        for code in found:
            assert climbed.get(code, {code}) <= found


def test_a_code_without_system_is_listed_whatever_its_system(folder: Folder) -> None:
    value_sets = ValueSetFolder.read(folder(value_set("x", ONE, {"system": "t", "concept": [{"code": "c"}]})))
    assert [value_sets.lists("http://sets/x", code) for code in ("a", "b", "c", "d")] == [True] * 3 + [False]
    assert not value_sets.lists("http://sets/other", "a")
