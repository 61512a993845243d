"""The mappings of a broker: those that ship with it and those of the operator's folder.

A mapping of the folder replaces the shipped one of the same name, and goes before shipped ones that match
the same payload. Among equals a payload must match one, or several of one collection: else it is a problem
that names them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

from broker.errors import ConfigurationError
from broker.mapping.compiling import compile_mapping
from broker.mapping.device_mapping import DeviceMapping
from broker.mapping.errors import MappingError
from broker.mapping.expressions import ExpressionFailed
from broker.mapping.functions import Scope
from broker.mapping.reading import MappedReading, ReadingProblem


@dataclass(frozen=True, slots=True)
class MappingSet:
    """Immutable; a reload makes another."""

    mappings: tuple[DeviceMapping, ...] = ()
    _equalities: dict[tuple[str, ...], dict[str, list[DeviceMapping]]] = field(
        default_factory=dict, init=False
    )
    """By path and text, the mappings that match only if the payload has that text there."""
    _others: list[DeviceMapping] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        for mapping in self.mappings:
            if mapping.match.equality is None:
                self._others.append(mapping)
            else:
                path, text = mapping.match.equality
                names = tuple(path.split("."))
                self._equalities.setdefault(names, {}).setdefault(text, []).append(mapping)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(mapping.name for mapping in self.mappings)

    def find(self, name: str) -> DeviceMapping | None:
        return next((mapping for mapping in self.mappings if mapping.name == name), None)

    def matching(self, payload: object) -> Sequence[DeviceMapping]:
        """The mappings for a payload: those of the folder, or else the shipped ones. A mapping whose `match`
        cannot be evaluated on it does not match.
        """
        scope = Scope((payload,), 0)
        found: list[DeviceMapping] = []
        for names, by_text in self._equalities.items():
            value: object = payload
            for name in names:
                value = value.get(name) if isinstance(value, dict) else None
            if isinstance(value, str):
                found += (each for each in by_text.get(value, ()) if _is_for(each, scope))
        found += (each for each in self._others if _is_for(each, scope))
        return [mapping for mapping in found if not mapping.is_shipped] or found

    def map(
        self, payload: object, received: datetime, name: str = ""
    ) -> Sequence[MappedReading | ReadingProblem]:
        """See `reading.PayloadMapper`; who decodes a payload bounds its depth.

        `name`: the mapping that the sender says it is, '' to match.
        """
        if name:
            named = self.find(name)
            found: Sequence[DeviceMapping] = [named] if named else []
        else:
            found = self.matching(payload)
        if not found:
            text = (
                "no mapping is for this payload. Add one, or correct the `match` of the one that should be."
            )
            return [ReadingProblem("not-supported", "no-mapping", "", "match", "", text, self.names)]
        if len(found) > 1 and not _is_collection(found):
            names = tuple(mapping.name for mapping in found)
            text = f"several mappings are for this payload: {', '.join(names)}. Make their `match` narrower."
            return [ReadingProblem("multiple-matches", "ambiguous-mapping", "", "match", "", text, names)]
        return [result for mapping in found for result in mapping.map(payload, received)]


def _is_for(mapping: DeviceMapping, scope: Scope) -> bool:
    try:
        return mapping.match.is_true(scope)
    except ExpressionFailed:
        return False


def _is_collection(mappings: Sequence[DeviceMapping]) -> bool:
    """Whether the mappings may be for the same payload."""
    collections = {mapping.collection for mapping in mappings}
    return len(collections) == 1 and collections != {""}


@dataclass(slots=True)
class MappingHolder:
    """The mappings that a process uses now; a reload puts others in their place."""

    current: MappingSet


def load_mappings(directory: Path | None) -> MappingSet:
    """The shipped mappings and those of the folder. Raises `MappingError`, and `ConfigurationError` for a
    folder that cannot be read.
    """
    own = {} if directory is None else {mapping.name: mapping for mapping in read_folder(directory)}
    shipped = [mapping for mapping in shipped_mappings() if mapping.name not in own]
    return MappingSet((*own.values(), *shipped))


def reload_mappings(directory: Path, former: MappingSet) -> tuple[MappingSet, list[MappingError]]:
    """As `load_mappings`, with the errors of the files that cannot be used: each of them leaves its former
    mapping in force. Raises `ConfigurationError` for a folder that cannot be read.
    """
    if not directory.is_dir():
        raise ConfigurationError(f"{directory} is not a folder. Give the folder that has the mapping files.")
    by_file = {mapping.file: mapping for mapping in former.mappings if not mapping.is_shipped}
    own: dict[str, DeviceMapping] = {}
    errors = []
    for path in sorted(directory.glob("*.yaml")):
        try:
            mapping = read_file(path)
        except MappingError as error:
            errors.append(error)
            if str(path) not in by_file:
                continue
            mapping = by_file[str(path)]
        if mapping.name in own:
            errors.append(_same_name(mapping, own[mapping.name]))
        own.setdefault(mapping.name, mapping)
    shipped = [mapping for mapping in shipped_mappings() if mapping.name not in own]
    return MappingSet((*own.values(), *shipped)), errors


@cache
def shipped_mappings() -> Sequence[DeviceMapping]:
    """The mappings of the package, by name."""
    folder = files("broker").joinpath("mappings")
    names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".yaml"))
    texts = ((name, folder.joinpath(name).read_text(encoding="utf-8")) for name in names)
    return _distinct(compile_mapping(name, text, is_shipped=True) for name, text in texts)


def read_folder(directory: Path) -> list[DeviceMapping]:
    """The mappings of a folder, by file name. Raises as `load_mappings`."""
    if not directory.is_dir():
        raise ConfigurationError(f"{directory} is not a folder. Give the folder that has the mapping files.")
    return _distinct(read_file(path) for path in sorted(directory.glob("*.yaml")))


def read_file(path: Path) -> DeviceMapping:
    """Raises `MappingError`, and `ConfigurationError` for a file that cannot be read."""
    return compile_mapping(str(path), file_text(path))


def file_text(path: Path) -> str:
    """Raises as `read_file`."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise MappingError(str(path), 1, "", "the file is not UTF-8.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error


def _same_name(mapping: DeviceMapping, other: DeviceMapping) -> MappingError:
    return MappingError(mapping.file, 1, "name", f"{other.file} has the same name. Rename one.")


def _distinct(mappings: Iterable[DeviceMapping]) -> list[DeviceMapping]:
    by_name: dict[str, DeviceMapping] = {}
    for mapping in mappings:
        if mapping.name in by_name:
            raise _same_name(mapping, by_name[mapping.name])
        by_name[mapping.name] = mapping
    return list(by_name.values())
