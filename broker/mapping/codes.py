"""Codes and code systems of Observations: short names in mapping files, MDC codes in 32 bits."""

from collections.abc import Mapping
from typing import NamedTuple

LOINC = "http://loinc.org"
MDC = "urn:iso:std:iso:11073:10101"
UCUM = "http://unitsofmeasure.org"
SNOMED = "http://snomed.info/sct"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
DATA_ABSENT_REASON = "http://terminology.hl7.org/CodeSystem/data-absent-reason"

SYSTEMS: Mapping[str, str] = {
    "loinc": LOINC,
    "mdc": MDC,
    "snomed": SNOMED,
    "ucum": UCUM,
    "observation-category": CATEGORY,
}
"""What a mapping file may write for the URL of a code system."""

_SCADA = 2
_PARTITION = 65_536


class Coding(NamedTuple):
    """A code of a code system. The system or the code may be ''."""

    system: str
    code: str
    display: str = ""

    def element(self) -> dict[str, object]:
        """As a FHIR Coding."""
        return {name: value for name, value in self._asdict().items() if value}


def concept(*codings: Coding, text: str = "") -> dict[str, object]:
    """A FHIR CodeableConcept."""
    element: dict[str, object] = {}
    if codings:
        element["coding"] = [coding.element() for coding in codings]
    return element | {"text": text} if text else element


def widen_mdc(code: int, partition: int = _SCADA) -> int:
    """The 32-bit number of an MDC code: partition x 65536 + term code (V-20). One that is wider than 16 bits
    has its partition already. Measurements are in partition 2.
    """
    return code if not 0 <= code < _PARTITION else partition * _PARTITION + code
