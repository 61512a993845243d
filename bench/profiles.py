"""What profiles cost: the check of an Observation against a profile, its structure, and compiling. Processor
time of this process, the lowest of several rounds, so a loaded machine changes little.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

from bench.figures import Figure
from bench.processor_time import lowest_us
from broker.fhir.validation import find_issues
from broker.matching.fhirpath import compile_invariant
from broker.model.release import Release
from broker.model.resource import Resource
from broker.profiles.catalog import ProfileCatalog
from broker.profiles.vital_signs import HL7, US_CORE, vital_signs
from broker.testing.readings import BLOOD_PRESSURE, HEART_RATE, observation

_MAX_US = 150.0
"""Of one vital-signs Observation (issue 14)."""


def _heart_rate(*profiles: str) -> Resource:
    fields: dict[str, Any] = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 71)
    return Resource(json.dumps(fields | {"meta": {"profile": list(profiles)}}).encode())


def _blood_pressure(*profiles: str) -> Resource:
    fields: dict[str, Any] = observation(BLOOD_PRESSURE, "ana", "2025-03-01T08:00:00Z", 128, 83)
    return Resource(json.dumps(fields | {"meta": {"profile": list(profiles)}}).encode())


def _catalog() -> ProfileCatalog:
    return ProfileCatalog.load(None, compile_invariant)


def _compile_all() -> None:
    catalog = _catalog()
    for row in vital_signs():
        catalog.find(Release.R4, f"{HL7}{row.profile}")
        catalog.find(Release.R4, f"{US_CORE}{row.us_core}")


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    """Of a heart rate and a blood pressure, which have the vital-signs profile by their code."""
    repeats = 200 if is_quick else 2_000
    catalog, plain = _catalog(), _heart_rate()
    both = _heart_rate(f"{US_CORE}us-core-heart-rate")

    def check(resource: Resource) -> float:
        return lowest_us(lambda: catalog.validate(Release.R4, resource), repeats)

    structure = lowest_us(lambda: find_issues(Release.R4, "Observation", Resource(plain.text)), repeats)
    yield Figure("profiles", "structure", structure, "µs")
    yield Figure("profiles", "vital-signs profile", check(plain), "µs", at_most=_MAX_US)
    yield Figure("profiles", "vital-signs and US Core profile", check(both), "µs", at_most=_MAX_US)
    pressure, name = _blood_pressure(), "blood pressure"
    yield Figure("profiles", f"{name}, vital-signs profile", check(pressure), "µs", at_most=_MAX_US)
    pressure = _blood_pressure(f"{US_CORE}us-core-blood-pressure")
    yield Figure(
        "profiles", f"{name}, vital-signs and US Core profile", check(pressure), "µs", at_most=_MAX_US
    )
    yield Figure("profiles", "compiling all built-in profiles", lowest_us(_compile_all, 1) / 1000, "ms")
