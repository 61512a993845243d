"""The profiles of one release: their trees, compiled when they are first needed, and what they refer to."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from broker.fhir.resource_types import RESOURCE_TYPES
from broker.model.release import Release
from broker.profiles.base_checks import BaseChecks, Check, CompileInvariant
from broker.profiles.compiler import ProfileCompiler
from broker.profiles.definitions import BadDefinition, objects
from broker.profiles.discriminators import Discriminating
from broker.profiles.element_checks import all_of
from broker.profiles.extensions import ExtensionRules, extension_rules
from broker.profiles.packages import Definition, Definitions
from broker.profiles.profile_checks import imposed_check
from broker.profiles.trees import Node, lay_over
from broker.profiles.value_sets import ValueSets
from broker.profiles.vital_signs import HL7, US_CORE, US_CORE_TARGETS

_log = structlog.get_logger(__name__)
_VERSIONS = {"4.0": (Release.R4, Release.R4B), "4.3": (Release.R4, Release.R4B), "5.0": (Release.R5,)}
"""The releases that a definition is for: R4 and R4B differ in few resources, and in no vital sign."""
_IMPOSE_PROFILE = f"{HL7}structuredefinition-imposeProfile"
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
        self.base = BaseChecks(release, compile_invariant)
        self._profiles: dict[str, Profile | None] = {}
        self._trees: dict[str, Node | None] = {}
        self._extensions: dict[str, ExtensionRules | None] = {}
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
            check = self._compiler.compile(tree, root, name)
            imposed = [imposed_check(each, self.check) for each in _imposed(definition)]
            checks = [each for each in (check, *imposed) if each is not None]
            return Profile(definition.url, name, root, tree, all_of(checks))
        except BadDefinition as error:
            self._refuse(url, definition, error)
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
        """Without compiling it: profiles may refer to each other in a circle."""
        if url not in self._trees:
            definition = self._definition(url)
            try:
                self._trees[url] = None if definition is None else self._tree(definition)
            except BadDefinition:  # `find` reports it
                self._trees[url] = None
        return self._trees[url]

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

    def extension(self, url: str) -> ExtensionRules | None:
        if url not in self._extensions:
            self._extensions[url] = self._extension(url)
        return self._extensions[url]

    def _extension(self, url: str) -> ExtensionRules | None:
        profile, definition = self.find(url), self._definition(url)
        if profile is None or definition is None or profile.type != "Extension":
            return None
        try:
            return extension_rules(definition.fields, profile.check)
        except BadDefinition as error:
            self._refuse(url, definition, error)
            return None

    def _refuse(self, url: str, definition: Definition, error: BadDefinition) -> None:
        self.bad[url] = str(error)
        _log.warning("a profile cannot be used", profile=url, source=definition.source, reason=str(error))


def _imposed(definition: Definition) -> Sequence[str]:
    """The profiles that a resource has to meet too if it meets this one."""
    extensions = objects(definition.fields, "extension")
    urls = [each.get("valueCanonical") for each in extensions if each.get("url") == _IMPOSE_PROFILE]
    return [url for url in urls if isinstance(url, str)]


def _text(definition: Definition, name: str) -> str:
    value = definition.fields.get(name)
    if not isinstance(value, str) or not value:
        raise BadDefinition(f"{name} is missing")
    return value
