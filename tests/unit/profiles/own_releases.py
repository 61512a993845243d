"""Profiles of our own for R4B and R5: those whose examples are resources of these releases too."""

from functools import cache

from broker.fhir.validation import StructureValidator
from broker.ingest.conformance import ConformanceValidator, ProfilePolicy
from broker.model.release import Release
from tests.unit.profiles.catalogs import catalog_of
from tests.unit.profiles.examples import Json
from tests.unit.profiles.own_definitions import all_own_examples, own_definitions

_VERSIONS = {Release.R4B: "4.3.0", Release.R5: "5.0.0"}
_NAMES = (
    *("summary-result", "ranges", "typed-parts", "bounded-result", "spelled-patient"),
    "report-document",
)


def definitions_of(release: Release) -> list[Json]:
    """The definitions as those of the release."""
    if release is Release.R4:
        return own_definitions()
    return [
        {**each, **({"fhirVersion": _VERSIONS[release]} if "fhirVersion" in each else {})}
        for each in own_definitions()
    ]


def examples_of(release: Release) -> dict[str, Json]:
    """The examples by their name, which is that of the profile and the release."""
    if release is Release.R4:
        return all_own_examples()
    examples = all_own_examples()
    return {f"{release}-{name}": examples[name] for name in _NAMES}


@cache
def validator_of(release: Release) -> ConformanceValidator:
    """What `BROKER_PROFILE_POLICY=reject` does with these definitions."""
    catalog = catalog_of(*definitions_of(release))
    return ConformanceValidator(StructureValidator(), catalog, ProfilePolicy.REJECT, {})
