"""The catalog of topics that a process serves: those of the topics folder, and those that were put through
the API.

A topic of the folder takes precedence over a put topic with the same id, which stays hidden until the folder
no longer has that id. `TopicSync` (`workers/`) keeps the catalog of a running process in step with the folder
and the store, by the same rule. A folder is loaded as a whole or not at all, together with its value sets
(`valuesets/`). The caller supplies the parser of topic files, so release differences stay in `fhir/`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from broker.errors import BrokerError, ConfigurationError
from broker.matching.context import SearchContext
from broker.matching.criteria import BadTopic
from broker.matching.derivation import check_derivation
from broker.matching.offers import check_offers
from broker.matching.problems import TopicProblem
from broker.matching.topic_checks import check_names
from broker.matching.triggers import check_triggers
from broker.matching.valuesets import CurrentValueSets, ValueSetFolder, ValueSets
from broker.matching.versions import version_order
from broker.model.resource import Resource
from broker.model.search import ParameterTable
from broker.model.topic import Topic, TopicStatus

VALUE_SETS = "valuesets"
"""The name of the folder of value sets, beside the topic files."""


@dataclass(frozen=True, slots=True)
class CatalogChanges:
    """What a reload changed, by canonical: topics that are new, that differ, and that are gone."""

    added: tuple[Topic, ...] = ()
    changed: tuple[Topic, ...] = ()
    removed: tuple[Topic, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file of a topics folder with its problems. `topic` is None for a file that can't be loaded, and for a
    value set.
    """

    path: Path
    topic: Topic | None
    problems: tuple[TopicProblem, ...] = ()

    @property
    def errors(self) -> tuple[TopicProblem, ...]:
        return tuple(problem for problem in self.problems if problem.is_error)


class CatalogContents(NamedTuple):
    """Topics of the folder and put topics by id, and the value sets of the folder."""

    of_folder: dict[str, Topic]
    put: dict[str, Topic]
    value_sets: ValueSetFolder


class Catalog:
    """Topics by canonical, id and type. Empty until `load` or `put`."""

    def __init__(self, parse: Callable[[Resource], Topic], parameters: ParameterTable) -> None:
        self._parse = parse
        self._parameters = parameters
        self._of_folder: dict[str, Topic] = {}
        self._put: dict[str, Topic] = {}
        self._by_canonical: dict[str, Topic] = {}
        self._by_id: dict[str, Topic] = {}
        self._value_sets = CurrentValueSets()
        self.revision = 0
        """Increases whenever the topics change."""

    @property
    def value_sets(self) -> ValueSets:
        """The value sets of the last load. The same object sees later loads."""
        return self._value_sets

    def search_context(self, base_urls: frozenset[str]) -> SearchContext:
        """The context in which the filters of this catalog's topics are compiled."""
        return SearchContext(self._parameters, base_urls, self._value_sets)

    def load(self, folder: Path) -> CatalogChanges:
        """Replaces the topics of the folder. Raises ConfigurationError and changes nothing if one file has an
        error.
        """
        value_sets = ValueSetFolder.read(folder / VALUE_SETS)
        topics: list[Topic] = []
        for file in self._check_topics(folder, value_sets):
            if file.errors:
                raise ConfigurationError(f"topic file {file.path}: {file.errors[0]}")
            if file.topic is not None:
                topics.append(file.topic)
        before = self._by_canonical
        try:
            self._adopt({topic.id: topic for topic in topics}, self._put)
        except BadTopic as error:
            raise ConfigurationError(f"topics folder {folder}: {error}") from error
        self._value_sets.contents = value_sets
        now = self._by_canonical
        return CatalogChanges(
            added=tuple(topic for canonical, topic in now.items() if canonical not in before),
            changed=tuple(topic for canonical, topic in now.items() if before.get(canonical, topic) != topic),
            removed=tuple(topic for canonical, topic in before.items() if canonical not in now),
        )

    def examine(self, topic: Topic) -> list[TopicProblem]:
        """The errors that keep the topic from being put, and the warnings for its author."""
        others = {canonical: other for canonical, other in self._by_canonical.items() if other.id != topic.id}
        problems = self._examine(topic, others | {topic.canonical: topic}, self._value_sets)
        if topic.canonical in others:
            text = f"canonical {topic.canonical} already belongs to topic {others[topic.canonical].id}"
            problems.append(TopicProblem(text))
        return problems

    def put(self, topic: Topic) -> None:
        """Adds the topic, or replaces the put topic with its id. Raises BadTopic and changes nothing if it
        has an error.

        A replaced version is no longer resolved; the caller decides what happens to its subscriptions.
        """
        errors = [problem for problem in self.examine(topic) if problem.is_error]
        if errors:
            raise BadTopic(str(errors[0]))
        self._adopt(self._of_folder, self._put | {topic.id: topic})

    def remove(self, topic_id: str) -> None:
        """Ignores an unknown id. Loading the folder again restores a topic of the folder if its file still
        exists.
        """
        self._adopt(_without(self._of_folder, topic_id), _without(self._put, topic_id))

    def empty(self) -> "Catalog":
        """A catalog without topics that reads topics as this one does."""
        return Catalog(self._parse, self._parameters)

    @property
    def contents(self) -> CatalogContents:
        """What the catalog has now."""
        return CatalogContents(self._of_folder, self._put, self._value_sets.contents)

    def replace(self, contents: CatalogContents) -> None:
        """Takes the topics and value sets of another catalog, all at once."""
        self._adopt(contents.of_folder, contents.put)
        self._value_sets.contents = contents.value_sets

    def check(self, folder: Path) -> list[CheckedFile]:
        """Each topic file with its problems, errors first, and the value sets that can't be used."""
        value_sets, problems = ValueSetFolder.check(folder / VALUE_SETS)
        return [
            *self._check_topics(folder, value_sets),
            *(CheckedFile(path, None, (TopicProblem(reason),)) for path, reason in problems),
        ]

    def resolve(self, canonical: str) -> Topic | None:
        """`url|version` means exactly that version; `url` means its newest version that is not retired
        (R-013).
        """
        return _resolve(canonical, self._by_canonical)

    def bound(self, canonical: str) -> Topic | None:
        """The version to which a subscription was bound, retired or not.

        None if it is gone (R-013, R-480).
        """
        return self._by_canonical.get(canonical)

    def get(self, topic_id: str) -> Topic | None:
        return self._by_id.get(topic_id)

    def all(self) -> list[Topic]:
        return list(self._by_canonical.values())

    def _adopt(self, of_folder: dict[str, Topic], put: dict[str, Topic]) -> None:
        by_id = put | of_folder
        by_canonical: dict[str, Topic] = {}
        for topic in by_id.values():
            first = by_canonical.setdefault(topic.canonical, topic)
            if first is not topic:
                raise BadTopic(f"topics {first.id} and {topic.id} have the same canonical {topic.canonical}")
        self._of_folder, self._put, self._by_id, self._by_canonical = of_folder, put, by_id, by_canonical
        self.revision += 1

    def _check_topics(self, folder: Path, value_sets: ValueSets) -> list[CheckedFile]:
        if not folder.is_dir():
            raise ConfigurationError(f"topics folder {folder}: no such folder")
        files = [self._parse_file(path) for path in sorted(folder.glob("*.json"))]
        among = {topic.canonical: topic for topic in self._put.values()}
        among |= {file.topic.canonical: file.topic for file in files if file.topic is not None}
        owners: dict[str, Path] = {}
        checked = []
        for file in files:
            if file.topic is None:
                checked.append(file)
                continue
            problems = self._examine(file.topic, among, value_sets)
            for name in (f"id {file.topic.id}", f"canonical {file.topic.canonical}"):
                owner = owners.setdefault(name, file.path)
                if owner is not file.path:
                    problems.append(TopicProblem(f"{name} is already used in {owner.name}"))
            problems.sort(key=lambda problem: not problem.is_error)
            is_loadable = not any(problem.is_error for problem in problems)
            topic = file.topic if is_loadable else None
            checked.append(replace(file, topic=topic, problems=tuple(problems)))
        return checked

    def _parse_file(self, path: Path) -> CheckedFile:
        try:
            return CheckedFile(path, self._parse(Resource(path.read_bytes())))
        except (BrokerError, ValueError, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            return CheckedFile(path, None, (TopicProblem(reason),))

    def _examine(self, topic: Topic, among: dict[str, Topic], value_sets: ValueSets) -> list[TopicProblem]:
        context = SearchContext(self._parameters, value_sets=value_sets)
        return [
            *check_names(topic, context),
            *check_triggers(topic, context),
            *check_derivation(topic, lambda canonical: _resolve(canonical, among)),
            *check_offers(topic, self._parameters),
        ]


def _without(topics: dict[str, Topic], topic_id: str) -> dict[str, Topic]:
    return {other_id: topic for other_id, topic in topics.items() if other_id != topic_id}


def _resolve(canonical: str, topics: dict[str, Topic]) -> Topic | None:
    url, bar, version = canonical.partition("|")
    if bar and version:
        return topics.get(canonical)
    versions = [
        topic for topic in topics.values() if topic.url == url and topic.status is not TopicStatus.RETIRED
    ]
    return max(versions, key=lambda topic: version_order(topic.version), default=None)
