"""The topics this broker serves: one JSON file each, and those put while it runs.

The parser of topic files is given, so that release differences stay out of here. A folder is read whole or not at all, its
value sets (`valuesets/`) with it. A topic that was put stands before one of the same id from the folder, and outlives a reload.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from broker.errors import BrokerError, ConfigurationError
from broker.matching.definitions import ANY_TYPE
from broker.matching.derivation import check_derivation
from broker.matching.offers import unserved
from broker.matching.triggers import BadTopic, check_triggers
from broker.matching.valuesets import CurrentValueSets, ValueSetFolder, ValueSets
from broker.matching.versions import version_order
from broker.model.search import ParameterTable
from broker.model.topic import Topic, TopicStatus

VALUE_SETS = "valuesets"
"""The folder beside the topic files."""

Checked = list[tuple[Path, Topic | None, list[str]]]


@dataclass(frozen=True, slots=True)
class CatalogChanges:
    """What a reload came to, by canonical: what is new, what says something else than before, what is gone."""

    added: tuple[Topic, ...] = ()
    changed: tuple[Topic, ...] = ()
    removed: tuple[Topic, ...] = ()


@dataclass(slots=True)
class _Read:
    """One topic file."""

    path: Path
    topic: Topic | None
    errors: list[str]
    warnings: list[str]


class Catalog:
    """Topics by canonical, id and type; empty until `load`."""

    def __init__(self, parse: Callable[[bytes], Topic], table: ParameterTable) -> None:
        self._parse = parse
        self._table = table
        self._from_folder: dict[str, Topic] = {}
        self._put: dict[str, Topic] = {}
        self._topics: dict[str, Topic] = {}
        self._ids: dict[str, Topic] = {}
        self._value_sets = CurrentValueSets()
        self.revision = 0
        """Another number whenever the topics are others."""

    @property
    def value_sets(self) -> ValueSets:
        """Always the ones of the last load: give it to matcher and registration once."""
        return self._value_sets

    def load(self, folder: Path) -> None:
        """Replaces what was loaded; raises ConfigurationError and changes nothing if one file has an error."""
        self.reload(folder)

    def reload(self, folder: Path) -> CatalogChanges:
        """Reads the folder again; raises ConfigurationError and changes nothing if one file has an error."""
        value_sets = ValueSetFolder.read(folder / VALUE_SETS)
        topics: list[Topic] = []
        for one in self._read(folder, value_sets):
            if one.errors or one.topic is None:
                reason = one.errors[0] if one.errors else "not read"
                raise ConfigurationError(f"topic file {one.path}: {reason}")
            topics.append(one.topic)
        before = self._topics
        try:
            self._adopt({topic.id: topic for topic in topics}, self._put)
        except BadTopic as error:
            raise ConfigurationError(f"topics folder {folder}: {error}") from error
        self._value_sets.contents = value_sets
        return CatalogChanges(
            added=tuple(one for name, one in self._topics.items() if name not in before),
            changed=tuple(one for name, one in self._topics.items() if before.get(name, one) != one),
            removed=tuple(one for name, one in before.items() if name not in self._topics),
        )

    def examine(self, topic: Topic) -> tuple[list[str], list[str]]:
        """Errors that keep the topic from being put, and warnings for its author."""
        others = {name: one for name, one in self._topics.items() if one.id != topic.id}
        errors, warnings = self._examine(topic, [*others.values(), topic], self._value_sets)
        if topic.canonical in others:
            errors.append(f"canonical {topic.canonical} is taken by topic {others[topic.canonical].id}")
        return errors, warnings

    def put(self, topic: Topic) -> None:
        """Adds the topic, or replaces the one of its id; raises BadTopic and changes nothing if it has an error.

        A version that is replaced is no longer resolved: what becomes of its subscriptions is the caller's to decide.
        """
        errors, _ = self.examine(topic)
        if errors:
            raise BadTopic(errors[0])
        self._adopt(self._from_folder, self._put | {topic.id: topic})

    def remove(self, topic_id: str) -> None:
        """Unknown ids are passed over. A topic of the folder is back after a reload if its file still is."""
        self._adopt(*({key: one for key, one in some.items() if key != topic_id} for some in self._layers))

    def replace_all(self, topics: Iterable[Topic]) -> None:
        """These and no others, as examined before by whoever kept them; raises BadTopic where two share a canonical."""
        self._adopt({}, {topic.id: topic for topic in topics})

    def check(self, folder: Path) -> Checked:
        """Each file with its topic (None where it has errors) and what there is to say, errors first.

        Of value sets, those that can't be used.
        """
        value_sets, problems = ValueSetFolder.check(folder / VALUE_SETS)
        checked: Checked = [
            (
                one.path,
                None if one.errors else one.topic,
                [f"error: {text}" for text in one.errors] + [f"warning: {text}" for text in one.warnings],
            )
            for one in self._read(folder, value_sets)
        ]
        return [*checked, *((path, None, [f"error: {reason}"]) for path, reason in problems)]

    def resolve(self, canonical: str) -> Topic | None:
        """`url|version` exactly; `url` alone is its newest version that isn't retired (R-013)."""
        return _resolve(canonical, self._topics)

    def bound(self, canonical: str) -> Topic | None:
        """The very version a subscription was bound to, retired or not; None once it is gone (R-013, R-480)."""
        return self._topics.get(canonical)

    def get(self, topic_id: str) -> Topic | None:
        return self._ids.get(topic_id)

    def all(self) -> list[Topic]:
        return list(self._topics.values())

    def topics_for(self, resource_type: str) -> list[Topic]:
        """Those that can notify about a type."""
        return [topic for topic in self.all() if topic.focus_types & {resource_type, ANY_TYPE}]

    @property
    def _layers(self) -> tuple[dict[str, Topic], dict[str, Topic]]:
        return self._from_folder, self._put

    def _adopt(self, from_folder: dict[str, Topic], put: dict[str, Topic]) -> None:
        ids = from_folder | put
        topics: dict[str, Topic] = {}
        for topic in ids.values():
            first = topics.setdefault(topic.canonical, topic)
            if first is not topic:
                raise BadTopic(
                    f"canonical {topic.canonical} is that of topic {first.id} and of topic {topic.id}"
                )
        self._from_folder, self._put, self._ids, self._topics = from_folder, put, ids, topics
        self.revision += 1

    def _read(self, folder: Path, value_sets: ValueSets) -> list[_Read]:
        if not folder.is_dir():
            raise ConfigurationError(f"topics folder {folder}: no such folder")
        read: list[_Read] = []
        for path in sorted(folder.glob("*.json")):
            try:
                read.append(_Read(path, self._parse(path.read_bytes()), [], []))
            except (BrokerError, ValueError, OSError) as error:
                read.append(_Read(path, None, [" ".join(str(error).split()) or type(error).__name__], []))
        topics = [*self._put.values(), *(one.topic for one in read if one.topic is not None)]
        seen: dict[str, Path] = {}
        for one in read:
            if one.topic is None:
                continue
            one.errors, one.warnings = self._examine(one.topic, topics, value_sets)
            for name in (f"id {one.topic.id}", f"canonical {one.topic.canonical}"):
                first = seen.setdefault(name, one.path)
                if first is not one.path:
                    one.errors.append(f"{name} is taken by {first.name}")
        return read

    def _examine(
        self, topic: Topic, among: list[Topic], value_sets: ValueSets
    ) -> tuple[list[str], list[str]]:
        errors, warnings = check_triggers(topic, self._table, value_sets)
        broken, doubts = check_derivation(
            topic, lambda canonical: _resolve(canonical, {one.canonical: one for one in among})
        )
        return errors + broken, warnings + doubts + unserved(topic, self._table)


def _resolve(canonical: str, topics: dict[str, Topic]) -> Topic | None:
    url, bar, version = canonical.partition("|")
    if bar and version:
        return topics.get(canonical)
    versions = [one for one in topics.values() if one.url == url and one.status is not TopicStatus.RETIRED]
    return max(versions, key=lambda topic: version_order(topic.version), default=None)
