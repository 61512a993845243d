"""The resources of a simulated EHR, with every version of each. In memory, and in the order of the writes."""

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from broker.clock import Clock, to_instant
from broker.testing.ehr_outcomes import EhrRefusal
from broker.testing.ehr_search import Query, matches

Document = Mapping[str, Any]
Check = Callable[[Document], Sequence[str]]
"""What is wrong with a resource, a text for each problem."""
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_LINK_KEYS = frozenset({"reference", "url", "uri"})


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version. `resource` is None for a deletion."""

    type: str
    id: str
    version: int
    at_ms: int
    resource: Document | None

    @property
    def reference(self) -> str:
        return f"{self.type}/{self.id}"


class EhrStore:
    """`check` refuses what a write may not have with 422. `writes` are all versions, oldest first."""

    def __init__(self, clock: Clock, check: Check) -> None:
        self._clock = clock
        self._check = check
        self.writes: list[StoredVersion] = []
        self._current: dict[str, StoredVersion] = {}
        self._by_identifier: dict[tuple[str, str, str], dict[str, None]] = {}
        """References by type, system and value of an identifier that the resources have, or once had."""

    def resources(self, type: str) -> list[Document]:
        """The current resources of a type, oldest first."""
        return [
            stored.resource
            for stored in self._current.values()
            if stored.type == type and stored.resource is not None
        ]

    def read(self, type: str, id: str) -> StoredVersion:
        """Raises `EhrRefusal`: 404, or 410 for a deleted resource."""
        stored = self._current.get(f"{type}/{id}")
        if stored is None:
            raise EhrRefusal(404, "not-found", f"{type}/{id} does not exist.")
        if stored.resource is None:
            raise EhrRefusal(410, "deleted", f"{type}/{id} was deleted.")
        return stored

    def history(self, reference: str) -> list[StoredVersion]:
        """The versions of `Type/id`, newest first. Raises `EhrRefusal` if there is none."""
        versions = [stored for stored in reversed(self.writes) if stored.reference == reference]
        if not versions:
            raise EhrRefusal(404, "not-found", f"{reference} does not exist.")
        return versions

    def find(self, type: str, query: Query) -> list[StoredVersion]:
        """The current resources that fit, oldest first."""
        return [
            stored
            for stored in self._candidates(type, query)
            if stored.type == type
            and stored.resource is not None
            and matches(stored.resource, query, self._of_reference)
        ]

    def _candidates(self, type: str, query: Query) -> Iterable[StoredVersion]:
        """The resources that may fit: those with one of the identifiers, if the query names whole ones."""
        for name, text in query:
            pairs = [value.partition("|") for value in text.split(",")]
            if name == "identifier" and all(system and value for system, _, value in pairs):
                found = [self._by_identifier.get((type, system, value), {}) for system, _, value in pairs]
                return [self._current[reference] for reference in dict.fromkeys(chain(*found))]
        return self._current.values()

    def create(
        self, type: str, document: Document, if_none_exist: Query = (), new_id: str = ""
    ) -> tuple[StoredVersion, bool]:
        """The new version, or the only one that fits `if_none_exist`; whether it is new. 412 for several."""
        if if_none_exist:
            fitting = self._at_most_one(type, if_none_exist)
            if fitting is not None:
                return fitting, False
        return self._write(type, new_id or str(uuid.uuid4()), document), True

    def update(
        self, type: str, id: str, document: Document, if_match: int | None = None
    ) -> tuple[StoredVersion, bool]:
        """The new version; whether it is the first. 412 if another version than `if_match` is current."""
        if not _ID.fullmatch(id) or document.get("id") != id:
            raise EhrRefusal(400, "invalid", "The id of the resource is not that of the URL.", f"{type}.id")
        current = self._current.get(f"{type}/{id}")
        if if_match is not None and (current is None or current.version != if_match):
            raise EhrRefusal(412, "conflict", f"{type}/{id} does not have the version {if_match} now.")
        return self._write(type, id, document), current is None or current.resource is None

    def update_by(
        self, type: str, query: Query, document: Document, new_id: str = ""
    ) -> tuple[StoredVersion, bool]:
        """Updates the resource that fits, or creates one; whether it is new. 412 for several."""
        fitting = self._at_most_one(type, query)
        if fitting is None:
            return self._write(type, document.get("id") or new_id or str(uuid.uuid4()), document), True
        if document.get("id", fitting.id) != fitting.id:
            raise EhrRefusal(400, "invalid", f"The resource that fits is {fitting.reference}.", f"{type}.id")
        return self._write(type, fitting.id, document), False

    def touch(self, reference: str) -> None:
        """A new version of the resource with the same content; nothing if it does not exist."""
        current = self._current.get(reference)
        if current is not None and current.resource is not None:
            self._write(current.type, current.id, current.resource)

    def delete(self, type: str, id: str) -> None:
        """What does not exist is deleted already."""
        current = self._current.get(f"{type}/{id}")
        if current is not None and current.resource is not None:
            self._keep(StoredVersion(type, id, current.version + 1, self._clock.now_ms(), None))

    def delete_by(self, type: str, query: Query) -> None:
        """Deletes the resource that fits, if there is one. 412 for several."""
        fitting = self._at_most_one(type, query)
        if fitting is not None:
            self.delete(type, fitting.id)

    def all_or_nothing(self) -> "_Undo":
        """A context that undoes the writes in it if it ends with an error."""
        return _Undo(self)

    def undo_to(self, count: int) -> None:
        """Forgets all writes after the first `count`."""
        del self.writes[count:]
        self._current, self._by_identifier = {}, {}
        for stored in self.writes:
            self._current[stored.reference] = stored
            self._index(stored)

    def _at_most_one(self, type: str, query: Query) -> StoredVersion | None:
        if not query:
            raise EhrRefusal(400, "required", "A conditional request needs a condition.")
        fitting = self.find(type, query)
        if len(fitting) > 1:
            raise EhrRefusal(412, "multiple-matches", f"{len(fitting)} resources fit the condition.")
        return fitting[0] if fitting else None

    def _write(self, type: str, id: str, document: Document) -> StoredVersion:
        if document.get("resourceType") != type:
            raise EhrRefusal(400, "invalid", f"The body is no {type}.", "resourceType")
        problems = self._check(document)
        if problems:
            raise EhrRefusal(422, "invariant", "; ".join(problems), type)
        current = self._current.get(f"{type}/{id}")
        version = 1 if current is None else current.version + 1
        at_ms = self._clock.now_ms()
        meta = {**document.get("meta", {}), "versionId": str(version), "lastUpdated": to_instant(at_ms)}
        return self._keep(StoredVersion(type, id, version, at_ms, {**document, "id": id, "meta": meta}))

    def _keep(self, stored: StoredVersion) -> StoredVersion:
        self.writes.append(stored)
        self._current[stored.reference] = stored
        self._index(stored)
        return stored

    def _index(self, stored: StoredVersion) -> None:
        identifiers = (stored.resource or {}).get("identifier", [])
        for identifier in identifiers if isinstance(identifiers, list) else [identifiers]:
            key = (stored.type, identifier.get("system", ""), identifier.get("value", ""))
            self._by_identifier.setdefault(key, {})[stored.reference] = None

    def _of_reference(self, reference: str) -> Document | None:
        stored = self._current.get(reference)
        return None if stored is None else stored.resource


class _Undo:
    def __init__(self, store: EhrStore) -> None:
        self._store = store
        self._count = 0

    def __enter__(self) -> None:
        self._count = len(self._store.writes)

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is not None:
            self._store.undo_to(self._count)


def relinked(value: Any, references: Mapping[str, str]) -> Any:
    """A document whose links to the `fullUrl` of another entry name what the entry became."""
    if isinstance(value, dict):
        return {
            name: references.get(part, part)
            if name in _LINK_KEYS and isinstance(part, str)
            else relinked(part, references)
            for name, part in value.items()
        }
    return [relinked(each, references) for each in value] if isinstance(value, list) else value
