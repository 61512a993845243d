"""The FHIR releases that the broker supports. Only `broker/fhir/` knows their differences."""

from enum import StrEnum


class Release(StrEnum):
    """A FHIR release; the value is also the path of its base (`/r4`)."""

    R4 = "r4"
    R4B = "r4b"
    R5 = "r5"
