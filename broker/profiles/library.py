"""The profiles of one release: their trees, compiled when they are first needed, and what they refer to."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from broker.fhir.resource_types import RESOURCE_TYPES
from broker.model.release import Release
from broker.profiles.base_checks import Check
from broker.profiles.compiler import ProfileCompiler
from broker.profiles.definitions import BadDefinition, objects
from broker.profiles.found import Found
from broker.profiles.packages import Definition, Definitions
from broker.profiles.slicing import Discriminating
from broker.profiles.trees import Node, lay_over
from broker.profiles.value_rules import CompileInvariant
from broker.profiles.value_sets import ValueSets
from broker.profiles.vital_signs import HL7, US_CORE, US_CORE_TARGETS

_log = structlog.get_logger(__name__)
_VERSIONS = {"4.0": (Release.R4, Release.R4B), "4.3": (Release.R4, Release.R4B), "5.0": (Release.R5,)}
"""The releases that a definition is for: R4 and R4B differ in few resources, and in no vital sign."""
_MAX_DEPTH = 30
"""The longest chain of base definitions."""
_ABSTRACT = frozenset({"Resource", "DomainResource", "Element", "BackboneElement"})


class Profile(NamedTuple):
    """A compiled profile. `check` is None if it says nothing beyond its type."""

    url: str
    name: str
    type: str
    tree: Node
    check: Check | None

    @property
    def must_support(self) -> Sequence[str]:
        """The ids of the elements that a system has to support."""
        return [name for name, node in self.tree.walk(self.type) if node.rules.must_support]


class ProfileLibrary:
    """Finds profiles by their canonical URL, also those that profiles name (`value_rules.Library`)."""

    def __init__(
        self,
        release: Release,
        definitions: Definitions,
        value_sets: ValueSets,
        compile_invariant: CompileInvariant,
        *,
        is_strict: bool,
    ) -> None:
        self._release = release
        self._definitions = definitions
        self._compiler = ProfileCompiler(release, self, value_sets, compile_invariant, is_strict=is_strict)
        self._profiles: dict[str, Profile | None] = {}
        self.bad: dict[str, str] = {}

    @property
    def discriminating(self) -> Discriminating:
        """Tells the slices of this release's profiles apart."""
        return self._compiler.discriminating

    @property
    def unchecked(self) -> Sequence[str]:
        """The rules of compiled profiles that are not checked, and why."""
        return self._compiler.unchecked

    def find(self, url: str) -> Profile | None:
        """None for a profile that is not known, or whose definition is not sound (`bad` has the reason)."""
        if url not in self._profiles:
            self._profiles[url] = self._compile(url)
        return self._profiles[url]

    def _compile(self, url: str) -> Profile | None:
        definition = self._definition(url)
        if definition is None:
            return None
        try:
            tree, root = self._tree(definition), _text(definition, "type")
            name = definition.url.rpartition("/")[2]
            return Profile(definition.url, name, root, tree, self._compiler.compile(tree, root, name))
        except BadDefinition as error:
            self.bad[url] = str(error)
            _log.warning("a profile cannot be used", profile=url, source=definition.source, reason=str(error))
            return None

    def _definition(self, url: str) -> Definition | None:
        definition = self._definitions.find("StructureDefinition", url)
        if definition is None or definition.fields.get("derivation") != "constraint":
            return None
        releases = _VERSIONS.get(definition.fhir_version[:3], tuple(Release))
        return definition if self._release in releases else None

    def _tree(self, definition: Definition, depth: int = 0) -> Node:
        """The tree by the snapshot, else by the differential and the bases. Raises `BadDefinition`."""
        root = _text(definition, "type")
        for name in ("snapshot", "differential"):
            part = definition.fields.get(name)
            if isinstance(part, dict) and part.get("element"):
                base = Node() if name == "snapshot" else self._base(definition, depth)
                return lay_over(base, objects(part, "element"), self._release, root, definition.url)
        return self._base(definition, depth)

    def _base(self, definition: Definition, depth: int) -> Node:
        url, root = _text(definition, "baseDefinition"), _text(definition, "type")
        if url.partition("|")[0] in {f"{HL7}{root}", f"{HL7}DomainResource", f"{HL7}Resource"}:
            return Node()
        if depth == _MAX_DEPTH:
            raise BadDefinition(f"its base definitions are a circle, or more than {_MAX_DEPTH}")
        base = self._definition(url)
        if base is None:
            raise BadDefinition(f"its base definition {url} is not known. Add the package that has it.")
        return self._tree(base, depth + 1)

    def tree(self, url: str) -> Node | None:
        profile = self.find(url)
        return None if profile is None else profile.tree

    def check(self, url: str) -> Check | None:
        profile = self.find(url)
        return None if profile is None else profile.check

    def target_types(self, url: str) -> Sequence[str] | None:
        bare = url.partition("|")[0]
        name = bare.rpartition("/")[2]
        if bare.startswith(HL7) and (name in RESOURCE_TYPES[self._release] or name in _ABSTRACT):
            return [name]
        definition = self._definitions.find("StructureDefinition", url)
        if definition is not None:
            return [_text(definition, "type")]
        if bare.startswith(US_CORE) and name in US_CORE_TARGETS:
            return [US_CORE_TARGETS[name]]
        return None

    def check_extensions(self, value: Any, path: str, found: Found) -> None:
        """Extensions at any depth that have a definition meet it."""
        if isinstance(value, list):
            for n, item in enumerate(value):
                self.check_extensions(item, f"{path}[{n}]", found)
        elif isinstance(value, dict):
            for name, child in value.items():
                if isinstance(child, dict | list):
                    self.check_extensions(child, f"{path}.{name}", found)
            self._check_extension(value, path, found)

    def _check_extension(self, value: Mapping[str, Any], path: str, found: Found) -> None:
        url = value.get("url")
        if not isinstance(url, str) or "xtension" not in path.rpartition(".")[2]:
            return
        profile = self.find(url) if "/" in url else None
        if profile is not None and profile.type == "Extension" and profile.check is not None:
            profile.check(value, path, found)


def _text(definition: Definition, name: str) -> str:
    value = definition.fields.get(name)
    if not isinstance(value, str) or not value:
        raise BadDefinition(f"{name} is missing")
    return value
