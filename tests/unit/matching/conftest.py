"""Shared by the matching tests: a few search parameters, sample resources, and builders."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from broker.matching.context import SearchContext
from broker.model.change import DEFAULT_TENANT, Interaction
from broker.model.release import Release
from broker.model.search import Component, Filter, ParameterType, SearchParameter
from broker.model.subscription import (
    Channel,
    ChannelType,
    PayloadContent,
    Subscription,
    SubscriptionId,
    SubscriptionStatus,
)
from broker.model.topic import FilterDefinition, ResourceTrigger, Topic, TopicStatus

T = ParameterType
PATIENT = "{0}.subject.where(resolve() is Patient)"
EVERY = [
    SearchParameter("_id", T.TOKEN, "Resource.id"),
    SearchParameter("_lastUpdated", T.DATE, "Resource.meta.lastUpdated"),
    SearchParameter("_tag", T.TOKEN, "Resource.meta.tag"),
    SearchParameter("_security", T.TOKEN, "Resource.meta.security"),
    SearchParameter("_profile", T.URI, "Resource.meta.profile"),
    SearchParameter("_source", T.URI, "Resource.meta.source"),
    SearchParameter("_language", T.TOKEN, "Resource.language"),
    SearchParameter("_in", T.REFERENCE, "Resource.id"),
    SearchParameter("_content", T.SPECIAL, ""),
]
OBSERVATION = [
    SearchParameter("status", T.TOKEN, "Observation.status"),
    SearchParameter("code", T.TOKEN, "Observation.code"),
    SearchParameter("category", T.TOKEN, "Observation.category"),
    SearchParameter("identifier", T.TOKEN, "Observation.identifier"),
    SearchParameter("date", T.DATE, "Observation.effective"),
    SearchParameter(
        "value-quantity", T.QUANTITY, "(Observation.value as Quantity) | (Observation.value as SampledData)"
    ),
    SearchParameter("value-concept", T.TOKEN, "(Observation.value as CodeableConcept)"),
    SearchParameter("subject", T.REFERENCE, "Observation.subject", ("Patient", "Group", "Device")),
    SearchParameter("patient", T.REFERENCE, PATIENT.format("Observation"), ("Patient", "Group")),
    SearchParameter("device", T.REFERENCE, "Observation.device", ("Device", "DeviceMetric")),
    SearchParameter("component-code", T.TOKEN, "Observation.component.code"),
    SearchParameter("component-value-quantity", T.QUANTITY, "Observation.component.value.ofType(Quantity)"),
    SearchParameter(
        "combo-code-value-quantity",
        T.COMPOSITE,
        "Observation | Observation.component",
        components=(
            Component("combo-code", T.TOKEN, "code"),
            Component("combo-value-quantity", T.QUANTITY, "value.as(Quantity)"),
        ),
    ),
]
PERSON = [
    SearchParameter("active", T.TOKEN, "Patient.active"),
    SearchParameter("name", T.STRING, "Patient.name"),
    SearchParameter("family", T.STRING, "Patient.name.family"),
    SearchParameter("phone", T.TOKEN, "Patient.telecom.where(system='phone')"),
    SearchParameter("identifier", T.TOKEN, "Patient.identifier"),
    SearchParameter("birthdate", T.DATE, "Patient.birthDate"),
    SearchParameter("deceased", T.TOKEN, "Patient.deceased.exists() and Patient.deceased != false"),
    SearchParameter("death-date", T.DATE, "(Patient.deceased as dateTime)"),
    SearchParameter("phonetic", T.STRING, "Patient.name"),
]
ENCOUNTER = [
    SearchParameter("status", T.TOKEN, "Encounter.status"),
    SearchParameter("class", T.TOKEN, "Encounter.class"),
    SearchParameter("date", T.DATE, "Encounter.period"),
    SearchParameter("length", T.QUANTITY, "Encounter.length"),
    SearchParameter("patient", T.REFERENCE, PATIENT.format("Encounter"), ("Patient",)),
]
RISK = [SearchParameter("probability", T.NUMBER, "RiskAssessment.prediction.probability")]
BY_TYPE = {"Observation": OBSERVATION, "Patient": PERSON, "Encounter": ENCOUNTER, "RiskAssessment": RISK}


class FakeTable:
    """The same parameters in every release; a parameter in `only` exists in that release alone."""

    def __init__(self) -> None:
        self.only: dict[str, Release] = {}

    def find(self, release: Release, resource_type: str, code: str) -> SearchParameter | None:
        if self.only.get(code, release) is not release:
            return None
        parameters = [*BY_TYPE.get(resource_type, []), *EVERY]
        return next((parameter for parameter in parameters if parameter.code == code), None)


@pytest.fixture
def table() -> FakeTable:
    return FakeTable()


@pytest.fixture
def context(table: FakeTable) -> SearchContext:
    return SearchContext(table, frozenset({"http://broker.example/r4"}))


@pytest.fixture
def resources() -> dict[str, dict[str, Any]]:
    """Resources written for these tests."""
    ucum = "http://unitsofmeasure.org"
    loinc = "http://loinc.org"

    def concept(code: str, text: str) -> dict[str, Any]:
        return {"coding": [{"system": loinc, "code": code, "display": text}], "text": text}

    def quantity(value: float, unit: str) -> dict[str, Any]:
        return {"value": value, "unit": unit, "system": ucum, "code": unit}

    pressure = {
        "resourceType": "Observation",
        "id": "pressure",
        "meta": {
            "lastUpdated": "2024-03-10T08:00:00.000Z",
            "profile": ["http://example.org/pressure|2.0"],
            "source": "http://gateway.example/ward/3",
            "tag": [{"system": "http://example.org/tags", "code": "ward-3"}],
            "security": [{"system": "http://example.org/labels", "code": "R"}],
        },
        "language": "en",
        "identifier": [
            {
                "system": "urn:gateway",
                "value": "17",
                "type": {"coding": [{"system": "http://t", "code": "SNO"}], "text": "Serial number"},
            }
        ],
        "status": "final",
        "category": [{"coding": [{"code": "vital-signs"}]}],
        "code": concept("85354-9", "Blood pressure"),
        "subject": {"reference": "Patient/1", "display": "Ana Núñez", "identifier": {"value": "P1"}},
        "device": {"reference": "http://broker.example/r4/Device/9"},
        "effectivePeriod": {"start": "2024-03-10T07:59:00Z", "end": "2024-03-10T08:00:00Z"},
        "component": [
            {"code": concept("8480-6", "Systolic"), "valueQuantity": quantity(142, "mm[Hg]")},
            {"code": concept("8462-4", "Diastolic"), "valueQuantity": quantity(91, "mm[Hg]")},
        ],
    }
    temperature = {
        "resourceType": "Observation",
        "id": "temperature",
        "status": "final",
        "code": concept("8310-5", "Body temperature"),
        "subject": {"reference": "Group/1"},
        "effectiveDateTime": "2024-03-10T23:30:00-02:00",
        "valueQuantity": quantity(37.5, "Cel"),
    }
    patient = {
        "resourceType": "Patient",
        "id": "1",
        "active": True,
        "name": [{"family": "Núñez", "given": ["Ana", "María"]}, {"text": "Anita"}],
        "telecom": [{"system": "phone", "value": "555-1"}, {"system": "email", "value": "a@example.org"}],
        "birthDate": "1980-05",
        "deceasedDateTime": "2024-01-02",
    }
    encounter = {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "class": {"system": "http://classes", "code": "AMB"},
        "subject": {"reference": "Patient/1"},
        "period": {"start": "2024-03-01"},
        "length": quantity(90, "min"),
    }
    risk = {"resourceType": "RiskAssessment", "id": "r", "prediction": [{"probabilityDecimal": 0.25}]}
    return {
        "pressure": pressure,
        "temperature": temperature,
        "patient": patient,
        "encounter": encounter,
        "risk": risk,
    }


@pytest.fixture
def topic() -> Callable[..., Topic]:
    """Builds a topic about Encounters that fires on every change, unless its fields say otherwise."""
    plain = Topic(
        id="t",
        url="http://example.org/topics/t",
        version="1.0",
        status=TopicStatus.ACTIVE,
        title=None,
        resource_triggers=(ResourceTrigger("Encounter", frozenset(Interaction)),),
        event_triggers=(),
        filters=(FilterDefinition("patient"), FilterDefinition("status")),
        shapes=(),
        derived_from=(),
        document=b"{}",
        release=Release.R5,
    )
    return lambda **more: replace(plain, **more)


@pytest.fixture
def subscription() -> Callable[..., Subscription]:
    """Builds an active R4 subscription with the given filters."""

    def build(*filters: Filter, **more: Any) -> Subscription:
        plain = Subscription(
            tenant=DEFAULT_TENANT,
            id=SubscriptionId("s"),
            release=Release.R4,
            status=SubscriptionStatus.ACTIVE,
            topic="http://example.org/topics/t",
            filters=filters,
            channel=Channel(
                ChannelType("rest-hook"), None, (), "application/fhir+json", PayloadContent.EMPTY
            ),
            document=b"{}",
        )
        return plain.changed(**more)

    return build
