"""Topic files become a catalog, or a one-line error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigurationError, Issue, Malformed
from broker.matching.catalog import Catalog, CatalogChanges
from broker.matching.criteria import BadTopic
from broker.model.change import Interaction
from broker.model.resource import Resource
from broker.model.topic import FilterDefinition, QueryCriteria, ResourceTrigger, Topic, TopicStatus

Topics = Callable[..., Topic]
Folder = Callable[..., Path]
URL = "http://example.org/topics/t"


@pytest.fixture
def catalog(topic: Topics, table: Any) -> Catalog:
    """Parses a simple format: fields of a topic, `query` and `fhirpath` of its trigger, and `offers`."""

    def parse(resource: Resource) -> Topic:
        document = resource.copy()
        if "id" not in document:
            raise Malformed(Issue("required", "a topic\nneeds an id"))
        query = QueryCriteria(current=document.pop("query")) if "query" in document else None
        kind, fhirpath = document.pop("resource", "Encounter"), document.pop("fhirpath", None)
        offers = tuple(
            FilterDefinition(name, modifiers=frozenset(modifiers))
            for name, modifiers in document.pop("offers", {}).items()
        )
        status = TopicStatus(document.pop("status", "active"))
        triggers = (ResourceTrigger(kind, frozenset(Interaction), query, fhirpath),)
        document["derived_from"] = tuple(document.pop("derived_from", ()))
        return topic(resource_triggers=triggers, filters=offers, status=status, **document)

    return Catalog(parse, table)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    def write(**files: Any) -> Path:
        for name, document in files.items():
            text = document if isinstance(document, str) else json.dumps(document)
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
    assert {topic.id for topic in catalog.all()} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("files", "name", "word"),
    [
        ({"bad": "{"}, "bad.json", ""),
        ({"bad": {}}, "bad.json", "a topic needs an id"),
        ({"bad": {"id": "x", "query": "nothing=1"}}, "bad.json", "nothing"),
        ({"bad": {"id": "x", "url": "example"}}, "bad.json", "not absolute"),
        ({"bad": {"id": "x", "url": "SubscriptionTopic/x"}}, "bad.json", "not absolute"),
        ({"bad": {"id": "x", "url": "http://a b"}}, "bad.json", "not absolute"),
        ({"bad": {"id": "x", "resource": "Encounters"}}, "bad.json", "do you mean Encounter?"),
        ({"bad": {"id": "x", "fhirpath": "%current.length > 5 'min'"}}, "bad.json", "compare .value"),
        ({"bad": {"id": "x", "offers": {"unheard": []}}}, "bad.json", "a topic must not offer"),
        ({"bad": {"id": "x", "offers": {"status:not": []}}}, "bad.json", "status:not has a colon"),
        ({"bad": {"id": "x", "offers": {"subject:Patient.name": []}}}, "bad.json", "has a colon"),
        ({"bad": {"id": "x", "offers": {"status": ["text-advanced"]}}}, "bad.json", "text-advanced"),
        ({"bad": {"id": "x", "fhirpath": "("}}, "bad.json", "FHIRPath criteria"),
        ({"a": {"id": "x", "url": "http://a"}, "b": {"id": "x"}}, "b.json", "id x is already used in a.json"),
        ({"a": {"id": "x"}, "b": {"id": "y"}}, "b.json", f"canonical {URL}|1.0 is already used in a.json"),
    ],
)
def test_a_bad_file_keeps_the_folder_from_loading_with_a_one_line_error(
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
    assert [topic.id for topic in catalog.all()] == ["a"]


def test_a_missing_folder_is_named(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        catalog.load(tmp_path / "nowhere")


def test_a_check_reports_errors_and_warnings_by_file(catalog: Catalog, folder: Folder) -> None:
    checked = catalog.check(
        folder(
            a={"id": "a", "query": "status=x", "fhirpath": "true"},
            b={"id": "b", "url": "http://b", "offers": {"status": ["not", "in"], "_in": [], "unheard": []}},
            c="{",
            d={"id": "d", "url": "http://d"},
        )
    )
    files = {file.path.stem: file for file in checked}
    assert files["a"].topic is not None
    assert "either of them fires it" in files["a"].problems[0].text
    assert [problem.text.split(" ")[0] for problem in files["b"].problems] == ["_in", "unheard"]
    assert len(files["b"].errors) == 2
    assert files["b"].topic is None
    assert files["c"].topic is None
    assert files["c"].errors
    assert files["d"].topic is not None
    assert files["d"].problems == ()


def value_set(code: str) -> str:
    include = [{"system": "http://s", "concept": [{"code": code}]}]
    return json.dumps({"resourceType": "ValueSet", "url": "http://sets/x", "compose": {"include": include}})


def test_value_sets_beside_the_topics_serve_their_criteria(catalog: Catalog, folder: Folder) -> None:
    path = folder(a={"id": "a", "query": "class:in=http://sets/x"})
    with pytest.raises(ConfigurationError, match="http://sets/x"):
        catalog.load(path)
    (path / "valuesets").mkdir()
    (path / "valuesets" / "x.json").write_text(value_set("one"))
    catalog.load(path)
    value_sets = catalog.value_sets
    assert value_sets.resolve("http://sets/x") == frozenset({("http://s", "one")})
    (path / "valuesets" / "x.json").write_text(value_set("two"))
    catalog.load(path)
    assert value_sets.resolve("http://sets/x") == frozenset({("http://s", "two")})
    (path / "valuesets" / "y.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"y\.json"):
        catalog.load(path)
    assert value_sets.resolve("http://sets/x") == frozenset({("http://s", "two")})
    (refused,) = (file for file in catalog.check(path) if file.topic is None)
    assert refused.path.name == "y.json"
    assert [problem.text for problem in refused.errors] == ["it is neither a ValueSet nor a CodeSystem"]


def test_a_load_returns_the_added_changed_and_removed_topics(catalog: Catalog, folder: Folder) -> None:
    first = catalog.load(folder(a={"id": "a", "url": "http://a"}, b={"id": "b", "url": "http://b"}))
    assert [topic.id for topic in first.added] == ["a", "b"]
    path = folder(b={"id": "b", "url": "http://b", "title": "new"}, c={"id": "c", "url": "http://c"})
    (path / "a.json").unlink()
    changes = catalog.load(path)
    ids = [[topic.id for topic in topics] for topics in (changes.added, changes.changed, changes.removed)]
    assert ids == [["c"], ["b"], ["a"]]
    assert changes.changed[0].title == "new"
    assert catalog.load(path) == CatalogChanges()


def test_a_broken_folder_keeps_the_old_state(catalog: Catalog, folder: Folder) -> None:
    path = folder(a={"id": "a", "url": "http://a"})
    catalog.load(path)
    folder(b={"id": "b", "url": "http://a"})
    with pytest.raises(ConfigurationError, match="already used"):
        catalog.load(path)
    assert [topic.id for topic in catalog.all()] == ["a"]


def test_a_topic_of_the_folder_takes_precedence_over_a_put_topic_with_its_id(
    catalog: Catalog, folder: Folder, topic: Topics
) -> None:
    path = folder(a={"id": "a", "url": "http://a", "title": "of the folder"})
    catalog.load(path)
    catalog.put(topic(id="a", url="http://a", title="put"))
    of_folder = catalog.get("a")
    assert of_folder is not None
    assert of_folder.title == "of the folder"
    assert catalog.resolve("http://a") is of_folder
    (path / "a.json").unlink()
    catalog.load(path)
    hidden_until_now = catalog.get("a")
    assert hidden_until_now is not None
    assert hidden_until_now.title == "put"


def test_a_put_topic_outlives_a_load_that_restores_a_removed_topic_of_the_folder(
    catalog: Catalog, folder: Folder, topic: Topics
) -> None:
    path = folder(a={"id": "a", "url": "http://a"})
    catalog.load(path)
    catalog.put(topic(id="n", url="http://n"))
    assert catalog.load(path) == CatalogChanges()
    assert catalog.get("n") is not None
    for topic_id in ("a", "n", "unheard-of"):
        catalog.remove(topic_id)
    assert catalog.all() == []
    assert [each.id for each in catalog.load(path).added] == ["a"]


def test_putting_another_version_replaces_the_topic_with_its_id(catalog: Catalog, topic: Topics) -> None:
    catalog.put(topic(version="1.0"))
    catalog.put(topic(version="2.0"))
    assert catalog.resolve(f"{URL}|1.0") is None
    assert [topic.canonical for topic in catalog.all()] == [f"{URL}|2.0"]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"id": "other"}, "already belongs to topic t"),
        ({"id": "t", "query": "nothing=1"}, "nothing"),
        (
            {"id": "child", "version": "2", "derived_from": (f"{URL}|1.0",), "filters": ()},
            "lacks the filter",
        ),
    ],
)
def test_a_topic_with_an_error_is_not_put(
    more: dict[str, Any], word: str, catalog: Catalog, topic: Topics
) -> None:
    catalog.put(topic())
    if "query" in more:
        query = QueryCriteria(current=more.pop("query"))
        more["resource_triggers"] = (ResourceTrigger("Encounter", frozenset(Interaction), query),)
    with pytest.raises(BadTopic, match=word):
        catalog.put(topic(**more))
    assert catalog.all() == [topic()]
    assert catalog.examine(topic()) == []


def test_a_catalog_takes_the_contents_of_another_at_once(
    catalog: Catalog, folder: Folder, topic: Topics
) -> None:
    catalog.load(folder(a={"id": "a", "url": "http://a"}))
    catalog.put(topic(id="b", url="http://b"))
    revision, other = catalog.revision, catalog.empty()
    other.put(topic(id="c", url="http://c"))
    assert {topic.id for topic in catalog.all()} == {"a", "b"}
    catalog.replace(other.contents)
    assert [topic.id for topic in catalog.all()] == ["c"]
    assert catalog.revision == revision + 1
    assert catalog.contents == other.contents


def test_a_derived_topic_in_a_folder_must_keep_what_its_parent_offers(
    catalog: Catalog, folder: Folder
) -> None:
    parent = {"id": "p", "url": "http://p", "offers": {"status": ["not"]}}
    child = {"id": "c", "url": "http://c", "derived_from": ["http://p|1.0"], "offers": {"status": []}}
    with pytest.raises(ConfigurationError, match=r"c\.json.*http://p\|1\.0.*modifier not"):
        catalog.load(folder(c=child, p=parent))
    catalog.load(folder(c=child | {"offers": {"status": ["not"], "class": []}}, p=parent))
    assert len(catalog.all()) == 2
