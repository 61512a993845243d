"""What a simulated EHR demands of a resource: the structure of its release, and the profiles it supports.

The structure is judged by the models of fhir.resources. The profiles are those of vital signs in FHIR: a
table of the code and the units of each. It shares no code with the profiles of the broker, so that the two
check each other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

PROFILES = "http://hl7.org/fhir/StructureDefinition/"
_LOINC = "http://loinc.org"
_UCUM = "http://unitsofmeasure.org"


class _VitalSign(NamedTuple):
    """The LOINC code of a profile, and the UCUM codes of its value; `components` those of its parts."""

    code: str
    units: frozenset[str] = frozenset()
    components: Mapping[str, frozenset[str]] = {}


_PRESSURE = frozenset({"mm[Hg]"})
_VITAL_SIGNS: Mapping[str, _VitalSign] = {
    "vitalsigns": _VitalSign(""),
    "heartrate": _VitalSign("8867-4", frozenset({"/min"})),
    "resprate": _VitalSign("9279-1", frozenset({"/min"})),
    "bodytemp": _VitalSign("8310-5", frozenset({"Cel", "[degF]"})),
    "bodyheight": _VitalSign("8302-2", frozenset({"cm", "[in_i]"})),
    "bodyweight": _VitalSign("29463-7", frozenset({"g", "kg", "[lb_av]"})),
    "headcircum": _VitalSign("9843-4", frozenset({"cm", "[in_i]"})),
    "bmi": _VitalSign("39156-5", frozenset({"kg/m2"})),
    "oxygensat": _VitalSign("2708-6", frozenset({"%"})),
    "bp": _VitalSign("85354-9", components={"8480-6": _PRESSURE, "8462-4": _PRESSURE}),
}
SUPPORTED = tuple(PROFILES + name for name in _VITAL_SIGNS)
"""The profiles that the EHR lists in its CapabilityStatement."""


def profile_problems(resource: Mapping[str, Any], required: Mapping[str, Sequence[str]]) -> list[str]:
    """Why a resource does not conform to a profile it claims; or that it claims none of those that are
    `required` of its type.
    """
    claimed = resource.get("meta", {}).get("profile", [])
    wanted = required.get(resource["resourceType"], ())
    problems = []
    if wanted and not set(wanted) & set(claimed):
        problems.append(f"meta.profile has none of {', '.join(wanted)}")
    for url in claimed:
        if url in SUPPORTED:
            problems += [
                f"{url}: {problem}"
                for problem in _vital_sign_problems(resource, _VITAL_SIGNS[url.removeprefix(PROFILES)])
            ]
    return problems


def _vital_sign_problems(resource: Mapping[str, Any], sign: _VitalSign) -> list[str]:
    problems = []
    if resource["resourceType"] != "Observation":
        return ["it is a profile of Observation"]
    categories = {code for each in resource.get("category", []) for _, code in _codings(each)}
    if "vital-signs" not in categories:
        problems.append("category has no vital-signs")
    problems += [f"{name} is missing" for name in ("status", "subject") if name not in resource]
    if not {"effectiveDateTime", "effectivePeriod"} & resource.keys():
        problems.append("effective[x] is missing")
    if sign.code and (_LOINC, sign.code) not in _codings(resource.get("code", {})):
        problems.append(f"code has no {_LOINC}|{sign.code}")
    if sign.units:
        problems += _quantity_problems(resource, sign.units, "")
    for code, units in sign.components.items():
        parts = [
            part for part in resource.get("component", []) if (_LOINC, code) in _codings(part.get("code", {}))
        ]
        if len(parts) == 1:
            problems += _quantity_problems(parts[0], units, f"component {code}: ")
        else:
            problems.append(f"it needs one component with {_LOINC}|{code}")
    return problems


def _quantity_problems(element: Mapping[str, Any], units: frozenset[str], where: str) -> list[str]:
    """A value may be absent if there is a reason."""
    quantity = element.get("valueQuantity")
    if quantity is None:
        return [] if "dataAbsentReason" in element else [f"{where}valueQuantity is missing"]
    if quantity.get("system") != _UCUM or quantity.get("code") not in units:
        return [f"{where}the unit is none of {', '.join(sorted(units))} of {_UCUM}"]
    return [] if "value" in quantity else [f"{where}valueQuantity.value is missing"]


def _codings(concept: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(coding.get("system", ""), coding.get("code", "")) for coding in concept.get("coding", [])]
