"""How the simulated EHR searches: references, tokens, dates, chains, and what it does not search by."""

from typing import Any

import pytest

from broker.testing.ehr_outcomes import EhrRefusal
from broker.testing.ehr_search import matches

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "active": True,
    "identifier": [{"system": "urn:mrn", "value": "7"}],
}
READING: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "meta": {
        "lastUpdated": "2025-06-15T15:06:40.500Z",
        "tag": [{"system": "urn:tags", "code": "night"}],
        "profile": ["http://hl7.org/fhir/StructureDefinition/heartrate"],
    },
    "identifier": [{"system": "urn:ids", "value": "a,b|c"}],
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}, {"code": "hr"}]},
    "subject": {"reference": "https://ehr.example/r4/Patient/p1"},
    "device": {"identifier": {"system": "urn:serial", "value": "s1"}},
    "effectiveDateTime": "2025-06-15T17:06:00+02:00",
}
PERIOD = READING | {"effectivePeriod": {"start": "2025-06-01", "end": "2025-06-30"}}
del PERIOD["effectiveDateTime"]


def fits(resource: dict[str, Any], *query: tuple[str, str]) -> bool:
    return matches(resource, query, {"Patient/p1": PATIENT}.get)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("_id", "o1", True),
        ("_id", "o2,o1", True),
        ("_tag", "urn:tags|night", True),
        ("_tag", "urn:tags|", True),
        ("_tag", "night", True),
        ("_tag", "other|night", False),
        ("_profile", "http://hl7.org/fhir/StructureDefinition/heartrate", True),
        ("code", "http://loinc.org|8867-4", True),
        ("code", "|hr", True),
        ("code", "|8867-4", False),
        ("code:not", "http://loinc.org|8867-4", False),
        ("code:not", "other", True),
        ("identifier", r"urn:ids|a\,b\|c", True),
        ("identifier", r"urn:ids|x,urn:ids|a\,b\|c", True),
        ("identifier", "urn:ids|a,b|c", False),
        ("status", "final,amended", True),
        ("patient", "p1", True),
        ("patient", "Patient/p1", True),
        ("subject:Patient", "p1", True),
        ("patient", "p2", False),
        ("device:identifier", "urn:serial|s1", True),
        ("patient.identifier", "urn:mrn|7", True),
        ("patient.identifier", "urn:mrn|8", False),
        ("patient.active", "true", True),
        ("date", "2025-06-15", True),
        ("date", "2025-06", True),
        ("date", "2025", True),
        ("date", "2025-06-14", False),
        ("date", "ne2025-06-14", True),
        ("date", "gt2025-06-15", False),
        ("date", "ge2025-06-15", True),
        ("date", "lt2025-06-15T15:06:00Z", False),
        ("date", "le2025-06-15T15:06:00Z", True),
        ("date", "sa2025-06-14", True),
        ("date", "eb2025-06-16", True),
        ("_lastUpdated", "gt2025-06-15T15:06:40.400Z", True),
        ("_lastUpdated", "gt2025-06-15T15:06:40.500Z", False),
        ("_count", "5", True),
    ],
)
def test_a_parameter_fits_or_not(name: str, value: str, expected: bool) -> None:
    assert fits(READING, (name, value)) is expected


def test_a_period_is_in_a_range_as_a_whole_or_overlaps_it() -> None:
    assert fits(PERIOD, ("date", "2025-06"))
    assert not fits(PERIOD, ("date", "2025-06-15"))
    assert fits(PERIOD, ("date", "gt2025-06-15"), ("date", "lt2025-06-15"))
    assert not fits(PERIOD, ("date", "sa2025-06-15"))


@pytest.mark.parametrize(
    ("name", "value"), [("colour", "red"), ("date", "soon"), ("date:missing", "true"), ("colour.x", "1")]
)
def test_what_it_does_not_search_by_is_refused(name: str, value: str) -> None:
    with pytest.raises(EhrRefusal):
        fits(READING, (name, value))
