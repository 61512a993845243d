"""The topics this broker serves: one JSON file each, loaded at start.

The parser of topic files is given, so that release differences stay out of here. A folder is loaded whole or not at all.
"""

import re
from collections.abc import Callable
from pathlib import Path

from broker.errors import BrokerError, ConfigurationError
from broker.matching.filters import unsupported
from broker.matching.triggers import ANY_TYPE, check_triggers
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable, SearchParameter
from broker.model.topic import FilterDefinition, Topic, TopicStatus

Checked = list[tuple[Path, Topic | None, list[str]]]


class Catalog:
    """Topics by canonical, id and type; empty until `load`."""

    def __init__(self, parse: Callable[[bytes], Topic], table: ParameterTable) -> None:
        self._parse = parse
        self._table = table
        self._topics: dict[str, Topic] = {}
        self._ids: dict[str, Topic] = {}

    def load(self, folder: Path) -> None:
        """Replaces what was loaded; raises ConfigurationError and changes nothing if one file has an error."""
        topics: dict[str, Topic] = {}
        for path, topic, errors, _ in self._read(folder):
            if errors or topic is None:
                raise ConfigurationError(f"topic file {path}: {errors[0] if errors else 'not read'}")
            topics[topic.canonical] = topic
        self._topics = topics
        self._ids = {topic.id: topic for topic in topics.values()}

    def check(self, folder: Path) -> Checked:
        """Each file with its topic (None where it has errors) and what there is to say, errors first."""
        return [
            (
                path,
                None if errors else topic,
                [f"error: {one}" for one in errors] + [f"warning: {one}" for one in warnings],
            )
            for path, topic, errors, warnings in self._read(folder)
        ]

    def resolve(self, canonical: str) -> Topic | None:
        """`url|version` exactly; `url` alone is its newest version that isn't retired (R-013)."""
        url, bar, version = canonical.partition("|")
        if bar and version:
            return self._topics.get(canonical)
        versions = [
            topic
            for topic in self._topics.values()
            if topic.url == url and topic.status is not TopicStatus.RETIRED
        ]
        return max(versions, key=lambda topic: _age(topic.version), default=None)

    def get(self, topic_id: str) -> Topic | None:
        return self._ids.get(topic_id)

    def all(self) -> list[Topic]:
        return list(self._topics.values())

    def topics_for(self, resource_type: str) -> list[Topic]:
        """Those that can notify about a type."""
        return [topic for topic in self.all() if topic.focus_types & {resource_type, ANY_TYPE}]

    def _read(self, folder: Path) -> list[tuple[Path, Topic | None, list[str], list[str]]]:
        if not folder.is_dir():
            raise ConfigurationError(f"topics folder {folder}: no such folder")
        read: list[tuple[Path, Topic | None, list[str], list[str]]] = []
        seen: dict[str, Path] = {}
        for path in sorted(folder.glob("*.json")):
            try:
                topic = self._parse(path.read_bytes())
            except (BrokerError, ValueError, OSError) as error:
                read.append((path, None, [" ".join(str(error).split()) or type(error).__name__], []))
                continue
            errors, warnings = check_triggers(topic, self._table)
            for n, definition in enumerate(topic.filters):
                warnings += self._unserved(n, definition, topic)
            for name in (f"id {topic.id}", f"canonical {topic.canonical}"):
                first = seen.setdefault(name, path)
                if first is not path:
                    errors.append(f"{name} is taken by {first.name}")
            read.append((path, topic, errors, warnings))
        return read

    def _unserved(self, n: int, definition: FilterDefinition, topic: Topic) -> list[str]:
        """What a topic offers and registration will refuse; HL7's own topics offer group membership (R-066, R-409)."""
        types = [definition.resource] if definition.resource else sorted(topic.focus_types)
        found = [self._table.find(release, one, definition.parameter) for one in types for release in Release]
        parameters = [one for one in found if one is not None]
        where = f"canFilterBy[{n}] {definition.parameter}"
        if not parameters:
            return [f"{where}: no such search parameter, subscriptions that use it are refused"]
        asked = [Filter(definition.parameter, "")]
        asked += [Filter(definition.parameter, "", modifier=one) for one in sorted(definition.modifiers)]
        asked += [Filter(definition.parameter, "", comparator=one) for one in sorted(definition.comparators)]
        reasons = [reason for one in asked if (reason := _reason(one, parameters))]
        return [f"{where} {reason}, subscriptions that use it are refused" for reason in reasons]


def _reason(wanted: Filter, parameters: list[SearchParameter]) -> str | None:
    """Why none of the parameters serves the filter."""
    reasons = [unsupported(wanted, parameter) for parameter in parameters]
    return None if None in reasons else reasons[0]


def _age(version: str | None) -> tuple[tuple[int, int, str], ...]:
    """Orders versions: numbers by value, words by letters, `1.0-beta` before `1.0`, none before any."""
    if version is None:
        return ()
    core, dash, label = version.partition("-")
    return (*_parts(core), (-1, 0, label) if dash else (0, 0, ""))


def _parts(text: str) -> list[tuple[int, int, str]]:
    return [(1, int(one), "") if one.isdigit() else (0, 0, one) for one in re.findall(r"\d+|[A-Za-z]+", text)]
