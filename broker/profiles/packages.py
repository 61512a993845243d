"""Reads FHIR packages (`.tgz`) and folders of JSON files, and finds definitions by their canonical URL.

Only StructureDefinitions, ValueSets and CodeSystems are kept, as text: a definition is parsed when it is
first needed. Whatever is no definition (examples, `package.json`) is passed over.
"""

import gzip
import json
import tarfile
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from broker.errors import ConfigurationError

_KINDS = frozenset({"StructureDefinition", "ValueSet", "CodeSystem"})
_MAX_FILE_BYTES = 64 << 20


class _Head(msgspec.Struct):
    """What is read of every file."""

    resourceType: str = ""  # noqa: N815 the names of FHIR
    url: str = ""
    version: str = ""
    fhirVersion: str = ""  # noqa: N815


class Definition:
    """One definition, parsed when it is needed. `source` says where it was read."""

    __slots__ = ("_fields", "_text", "fhir_version", "kind", "source", "url", "version")

    def __init__(
        self, head: _Head, source: str, text: bytes = b"", fields: Mapping[str, Any] | None = None
    ) -> None:
        self.kind, self.url, self.version = head.resourceType, head.url, head.version
        self.fhir_version = head.fhirVersion
        self.source = source
        self._text = text
        self._fields = fields

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> "Definition":
        """A definition of the broker itself."""
        texts = {name: fields.get(name, "") for name in ("resourceType", "url", "version", "fhirVersion")}
        return cls(_Head(**texts), "the broker", fields=fields)

    @property
    def fields(self) -> Mapping[str, Any]:
        """The members; decimals are exact."""
        if self._fields is None:
            self._fields = json.loads(self._text, parse_float=Decimal)
            self._text = b""
        return self._fields


class Definitions:
    """Definitions by kind and canonical URL. Of several versions, the one read first answers a URL without
    version.
    """

    def __init__(self) -> None:
        self._by_url: dict[tuple[str, str], list[Definition]] = {}

    def add(self, definition: Definition) -> None:
        self._by_url.setdefault((definition.kind, definition.url), []).append(definition)

    def find(self, kind: str, canonical: str) -> Definition | None:
        """The definition of `url` or `url|version`; `|1.0` also means 1.0.2.

        One without version is of any.
        """
        url, _, version = canonical.partition("|")
        found = self._by_url.get((kind, url), [])
        for definition in found:
            own = definition.version
            if not (version and own) or own == version or own.startswith(f"{version}."):
                return definition
        return None

    def of_kind(self, kind: str) -> Iterator[Definition]:
        for (each, _), found in self._by_url.items():
            if each == kind:
                yield from found


def read_directory(directory: Path) -> Iterator[Definition]:
    """All definitions below a directory, in the order of the file names. Raises `ConfigurationError` that
    names the file.
    """
    if not directory.is_dir():
        raise ConfigurationError(f"BROKER_PROFILES_DIR: {directory} is not a directory. Correct the path.")
    for path in sorted(directory.rglob("*")):
        if path.name.endswith((".tgz", ".tar.gz")):
            yield from _read_package(path)
        elif path.suffix == ".json" and path.is_file():
            text = _read(path)
            if text is not None:
                yield from _definition(text, str(path))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.stat().st_size <= _MAX_FILE_BYTES else None
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}). Correct its permissions."
        ) from None


def _read_package(path: Path) -> Iterator[Definition]:
    """The definitions of a package; those of its examples are left out."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = member.name
                if not member.isfile() or member.size > _MAX_FILE_BYTES or not name.endswith(".json"):
                    continue
                if "/example" in f"/{name}" or name.endswith((".index.json", "package.json")):
                    continue
                content = archive.extractfile(member)
                if content is not None:
                    yield from _definition(content.read(), f"{path}: {name}")
    except (OSError, tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        text = f"{path}: is not a FHIR package ({error}). Replace it by a .tgz of a package registry."
        raise ConfigurationError(text) from None


def _definition(text: bytes, source: str) -> Iterator[Definition]:
    try:
        head = msgspec.json.decode(text, type=_Head)
    except msgspec.ValidationError:
        return  # JSON of another kind
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigurationError(f"{source}: is not JSON ({error}). Correct it, or move it away.") from None
    if head.resourceType in _KINDS and head.url:
        yield Definition(head, source, text)
