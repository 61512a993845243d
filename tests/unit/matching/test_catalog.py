"""Topic files become a catalog, or one line that says why not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigurationError, Issue, Malformed
from broker.matching.catalog import Catalog
from broker.model.change import Interaction
from broker.model.topic import FilterDefinition, QueryCriteria, ResourceTrigger, Topic, TopicStatus

Topics = Callable[..., Topic]
Folder = Callable[..., Path]
URL = "http://example.org/topics/t"


@pytest.fixture
def catalog(topic: Topics, table: Any) -> Catalog:
    """Reads a small form of our own: a topic's fields, `query` and `fhirpath` of its one trigger, `offers`."""

    def parse(body: bytes) -> Topic:
        said = json.loads(body)
        if "id" not in said:
            raise Malformed(Issue("required", "a topic\nneeds an id"))
        query = QueryCriteria(current=said.pop("query")) if "query" in said else None
        kind, fhirpath = said.pop("resource", "Encounter"), said.pop("fhirpath", None)
        offers = tuple(
            FilterDefinition(name, modifiers=frozenset(modifiers))
            for name, modifiers in said.pop("offers", {}).items()
        )
        status = TopicStatus(said.pop("status", "active"))
        triggers = (ResourceTrigger(kind, frozenset(Interaction), query, fhirpath),)
        return topic(resource_triggers=triggers, filters=offers, status=status, **said)

    return Catalog(parse, table)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    def write(**files: Any) -> Path:
        for name, said in files.items():
            text = said if isinstance(said, str) else json.dumps(said)
            (tmp_path / f"{name}.json").write_text(text)
        return tmp_path

    return write


def test_a_canonical_resolves_to_its_version_or_the_newest(catalog: Catalog, folder: Folder) -> None:
    versions = {"a": "1.9", "b": "1.10", "c": "1.10-beta", "d": "2.0", "e": None}
    files: dict[str, Any] = {name: {"id": name, "version": version} for name, version in versions.items()}
    files["d"]["status"] = "retired"
    catalog.load(folder(**files))
    newest = catalog.resolve(URL)
    retired = catalog.resolve(f"{URL}|2.0")
    assert newest is not None
    assert retired is not None
    assert (newest.id, retired.id) == ("b", "d")
    assert catalog.resolve(f"{URL}|3.0") is None
    assert catalog.resolve("http://example.org/other") is None


def test_topics_are_found_by_id_and_by_type(catalog: Catalog, folder: Folder) -> None:
    catalog.load(
        folder(
            a={"id": "a", "url": "http://a"},
            b={"id": "b", "url": "http://b", "resource": "Resource"},
            c={"id": "c", "url": "http://c", "resource": "Patient"},
        )
    )
    found = catalog.get("a")
    assert found is not None
    assert found.url == "http://a"
    assert catalog.get("z") is None
    assert {one.id for one in catalog.all()} == {"a", "b", "c"}
    assert {one.id for one in catalog.topics_for("Encounter")} == {"a", "b"}


@pytest.mark.parametrize(
    ("files", "name", "word"),
    [
        ({"bad": "{"}, "bad.json", ""),
        ({"bad": {}}, "bad.json", "a topic needs an id"),
        ({"bad": {"id": "x", "query": "nothing=1"}}, "bad.json", "nothing"),
        ({"bad": {"id": "x", "fhirpath": "("}}, "bad.json", "fhirPathCriteria"),
        ({"a": {"id": "x", "url": "http://a"}, "b": {"id": "x"}}, "b.json", "id x is taken by a.json"),
        ({"a": {"id": "x"}, "b": {"id": "y"}}, "b.json", f"canonical {URL}|1.0 is taken by a.json"),
    ],
)
def test_a_bad_file_keeps_the_folder_out_with_one_line(
    files: dict[str, Any], name: str, word: str, catalog: Catalog, folder: Folder
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        catalog.load(folder(**files))
    message = str(raised.value)
    assert name in message
    assert word in message
    assert "\n" not in message
    assert catalog.all() == []


def test_a_failed_load_keeps_what_was_loaded(catalog: Catalog, folder: Folder) -> None:
    catalog.load(folder(a={"id": "a"}))
    with pytest.raises(ConfigurationError):
        catalog.load(folder(b="{"))
    assert [one.id for one in catalog.all()] == ["a"]


def test_a_missing_folder_is_named(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        catalog.load(tmp_path / "nowhere")


def test_checking_tells_errors_and_warnings_file_by_file(catalog: Catalog, folder: Folder) -> None:
    checked = catalog.check(
        folder(
            a={"id": "a", "query": "status=x", "fhirpath": "true"},
            b={"id": "b", "url": "http://b", "offers": {"status": ["not", "in"], "_in": [], "unheard": []}},
            c="{",
            d={"id": "d", "url": "http://d"},
        )
    )
    said = {path.stem: (topic is not None, messages) for path, topic, messages in checked}
    assert said["a"][0]
    assert "either one" in said["a"][1][0]
    assert [one.split(":")[0] for one in said["b"][1]] == ["warning"] * 3
    assert not said["c"][0]
    assert said["c"][1][0].startswith("error: ")
    assert said["d"] == (True, [])
