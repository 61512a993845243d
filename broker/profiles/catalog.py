"""The profiles that the broker knows, and the validation of resources against them.

The vital-signs profiles of FHIR R4 and US Core are built in; packages and folders add others. A profile is
compiled when it is first needed and kept. The validator of intake asks `validate`, the conformance report
asks `examine`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.errors import Issue, Unprocessable
from broker.model.release import Release
from broker.model.resource import Resource
from broker.profiles.base_checks import CompileInvariant
from broker.profiles.bundles import nested_resources
from broker.profiles.discriminators import Discriminating
from broker.profiles.extensions import check_extensions
from broker.profiles.found import Found
from broker.profiles.library import Profile, ProfileLibrary
from broker.profiles.packages import Definition, Definitions, read_directory
from broker.profiles.value_sets import ValueSets
from broker.profiles.vital_signs import HL7, profile_of_code, shipped_definitions

_LOINC = "http://loinc.org"


class ProfileCatalog:
    """All definitions, for all releases. `compile_invariant` compiles FHIRPath (`matching.fhirpath`).

    With `is_strict`, rules that HL7 calls unwanted are errors as they are written.
    """

    def __init__(
        self,
        definitions: Iterable[Definition],
        compile_invariant: CompileInvariant,
        *,
        is_strict: bool = False,
    ) -> None:
        self._definitions = Definitions()
        for definition in definitions:
            self._definitions.add(definition)
        for fields in shipped_definitions():
            self._definitions.add(Definition.of_fields(fields))
        value_sets = ValueSets(self._fields_of)
        self._libraries = {
            release: ProfileLibrary(
                release, self._definitions, value_sets, compile_invariant, is_strict=is_strict
            )
            for release in Release
        }

    @classmethod
    def load(
        cls, directory: Path | None, compile_invariant: CompileInvariant, *, is_strict: bool = False
    ) -> "ProfileCatalog":
        """Raises `ConfigurationError` for a file that cannot be read."""
        definitions = () if directory is None else read_directory(directory)
        return cls(definitions, compile_invariant, is_strict=is_strict)

    def _fields_of(self, kind: str, canonical: str) -> Mapping[str, Any] | None:
        found = self._definitions.find(kind, canonical)
        return None if found is None else found.fields

    def find(self, release: Release, url: str) -> Profile | None:
        """The profile of a canonical URL; None for one that is not known in the release."""
        return self._libraries[release].find(url)

    def discriminating(self, release: Release) -> Discriminating:
        """Tells slices apart, for who looks for the elements of a profile in a resource."""
        return self._libraries[release].discriminating

    def unchecked(self, release: Release) -> Sequence[str]:
        """The rules of the profiles compiled so far that are not checked, and why."""
        return self._libraries[release].unchecked

    def validate(self, release: Release, resource: Resource, profiles: Sequence[str] = ()) -> Sequence[Issue]:
        """The issues of a resource whose structure is sound.

        It is checked by its type, the profiles that it declares, the vital-signs profile of its code, and
        the profiles given. Raises `Unprocessable` for a given one that is not known.
        """
        has_extensions = b'xtension"' in resource.text
        return self.examine(release, resource.copy(), profiles, has_extensions=has_extensions).issues

    def examine(
        self,
        release: Release,
        fields: Mapping[str, Any],
        profiles: Sequence[str] = (),
        *,
        has_extensions: bool = True,
    ) -> Found:
        """What `validate` finds, with the elements of the profiles that it concerns."""
        library, found = self._libraries[release], Found(fields)
        root = str(fields.get("resourceType"))
        library.base.check_resource(found, root)
        if has_extensions:
            library.base.check_extension_values(fields, root, found)
            check_extensions(library, release, fields, root, found)
        for url in profiles:
            self._require(release, url, root)
        for profile in self.profiles_of(release, fields, profiles, found):
            if profile.check is not None:
                profile.check(fields, root, found)
        self._examine_nested(release, found, root)
        return found

    def _examine_nested(self, release: Release, found: Found, path: str) -> None:
        """Contained resources, entries of a Bundle and parameters, by their types and their own profiles."""
        for resource, inner_path in nested_resources(found.resource, path):
            inner = found.of_nested(resource)
            self._libraries[release].base.check_resource(inner, inner_path)
            for profile in self.profiles_of(release, resource, (), inner, inner_path):
                if profile.check is not None:
                    profile.check(resource, inner_path, inner)
            self._examine_nested(release, inner, inner_path)

    def profiles_of(
        self,
        release: Release,
        fields: Mapping[str, Any],
        profiles: Sequence[str] = (),
        found: Found | None = None,
        path: str = "",
    ) -> Sequence[Profile]:
        """The profiles that a resource at the path is checked against.

        Adds a warning for each that it declares and that is not known.
        """
        library, root = self._libraries[release], str(fields.get("resourceType"))
        applied: dict[str, Profile] = {}
        declared = _declared(fields)
        for url in (*profiles, *implied_profiles(fields), *declared):
            if url == f"{HL7}{root}":
                continue
            profile = library.find(url)
            if profile is not None and profile.type == root:
                applied[profile.url] = profile
            elif url in declared and found is not None:
                text = "is not known here" if profile is None else f"is for {profile.type}"
                at = f"{path or root}.meta.profile[{declared.index(url)}]"
                found.add("not-found", at, f"the profile {text}, so it was not checked", "warning")
        return list(applied.values())

    def _require(self, release: Release, url: str, root: str) -> None:
        if url.partition("|")[0] == f"{HL7}{root}":
            return
        library = self._libraries[release]
        profile = library.find(url)
        if profile is None:
            reason = library.bad.get(
                url, "It is not known here. Add it to BROKER_PROFILES_DIR, or leave it out."
            )
            raise Unprocessable(
                Issue("not-supported", f"The profile {url} is not checked: {reason}", "profile")
            )
        if profile.type != root:
            text = f"The profile {url} is for {profile.type}, not for {root}."
            raise Unprocessable(Issue("invalid", text, "profile"))


@dataclass(slots=True)
class ProfileHolder:
    """The profiles that a process uses now; a reload puts others in their place."""

    current: ProfileCatalog

    def validate(self, release: Release, resource: Resource, profiles: Sequence[str] = ()) -> Sequence[Issue]:
        """As `ProfileCatalog.validate`."""
        return self.current.validate(release, resource, profiles)


def _declared(fields: Mapping[str, Any]) -> list[str]:
    meta = fields.get("meta")
    declared = meta.get("profile", ()) if isinstance(meta, dict) else ()
    return [url for url in declared if isinstance(url, str)]


def implied_profiles(fields: Mapping[str, Any]) -> Sequence[str]:
    """An Observation with the LOINC code of a vital sign has to meet its profile (observation-vitalsigns)."""
    if fields.get("resourceType") != "Observation":
        return ()
    code = fields.get("code")
    codings = code.get("coding", ()) if isinstance(code, dict) else ()
    codes = [each.get("code") for each in codings if each.get("system") == _LOINC]
    profiles = profile_of_code()
    return [profiles[each] for each in codes if each in profiles]
