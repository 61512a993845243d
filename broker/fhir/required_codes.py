"""Required code bindings that the broker relies on, which is all that is checked of bindings."""

from collections.abc import Mapping

from broker.model.release import Release

_OBSERVATION = frozenset(
    "registered preliminary final amended corrected cancelled entered-in-error unknown".split()  # noqa: SIM905 reads as the value set
)
_OPERATIONAL = frozenset({"on", "off", "standby", "entered-in-error"})
_METRIC = frozenset({"measurement", "setting", "calculation", "unspecified"})
_GENDER = frozenset({"male", "female", "other", "unknown"})
_DEVICE_R5 = frozenset({"active", "inactive", "entered-in-error"})
_ENCOUNTER_R5 = frozenset(
    {
        *("planned", "in-progress", "on-hold", "discharged", "completed", "cancelled", "discontinued"),
        *("entered-in-error", "unknown"),
    }
)
_ENCOUNTER_R4 = frozenset(
    {
        *("planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled"),
        *("entered-in-error", "unknown"),
    }
)
_CODES_EVERYWHERE: Mapping[str, Mapping[str, frozenset[str]]] = {
    "Observation": {"status": _OBSERVATION},
    "DeviceMetric": {"category": _METRIC, "operationalStatus": _OPERATIONAL},
    "Patient": {"gender": _GENDER},
}
_CODES_R4 = {
    **_CODES_EVERYWHERE,
    "Encounter": {"status": _ENCOUNTER_R4},
    "Device": {"status": _DEVICE_R5 | {"unknown"}},
}
REQUIRED_CODES: Mapping[Release, Mapping[str, Mapping[str, frozenset[str]]]] = {
    Release.R4: _CODES_R4,
    Release.R4B: _CODES_R4,
    Release.R5: {
        **_CODES_EVERYWHERE,
        "Encounter": {"status": _ENCOUNTER_R5},
        "Device": {"status": _DEVICE_R5},
    },
}
"""Release -> resource type -> element -> the codes that it may have."""
