"""A topic, a subscription, a search context and resources that the targets about matching share."""

from typing import Any

from broker.fhir.search_parameters import SearchParameters
from broker.matching.context import SearchContext
from broker.model.change import DEFAULT_TENANT, Interaction
from broker.model.release import Release
from broker.model.subscription import (
    Channel,
    ChannelType,
    PayloadContent,
    Subscription,
    SubscriptionId,
    SubscriptionStatus,
)
from broker.model.topic import ResourceTrigger, Topic, TopicStatus

CONTEXT = SearchContext(SearchParameters(), frozenset({"http://broker.example/r4"}))
TOPIC = Topic(
    id="every",
    url="http://example.org/topics/every",
    version="1",
    status=TopicStatus.ACTIVE,
    title=None,
    resource_triggers=tuple(
        ResourceTrigger(name, frozenset(Interaction)) for name in ("Observation", "Patient", "Encounter")
    ),
    event_triggers=(),
    filters=(),
    shapes=(),
    derived_from=(),
    document=b"{}",
    release=Release.R5,
)
SUBSCRIPTION = Subscription(
    tenant=DEFAULT_TENANT,
    id=SubscriptionId("s"),
    release=Release.R4,
    status=SubscriptionStatus.ACTIVE,
    topic=TOPIC.url,
    filters=(),
    channel=Channel(ChannelType("rest-hook"), None, (), "application/fhir+json", PayloadContent.EMPTY),
    document=b"{}",
)
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "reading",
    "meta": {"lastUpdated": "2024-03-10T08:00:00.000Z", "tag": [{"system": "urn:tags", "code": "ward"}]},
    "identifier": [{"system": "urn:gateway", "value": "17"}],
    "status": "final",
    "category": [{"coding": [{"code": "vital-signs"}]}],
    "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]},
    "subject": {"reference": "Patient/1", "display": "Ana Núñez", "identifier": {"value": "P1"}},
    "effectivePeriod": {"start": "2024-03-10T07:59:00Z", "end": "2024-03-10T08:00:00Z"},
    "valueQuantity": {"value": 72.5, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    "component": [
        {
            "code": {"coding": [{"code": "8480-6"}], "text": "Systolic"},
            "valueQuantity": {"value": 142, "system": "http://unitsofmeasure.org", "code": "mm[Hg]"},
        }
    ],
}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "1",
    "active": True,
    "name": [{"family": "Núñez", "given": ["Ana", "María"]}, {"text": "Anita"}],
    "telecom": [{"system": "phone", "value": "555-1"}],
    "birthDate": "1980-05",
    "deceasedBoolean": False,
}
ENCOUNTER: dict[str, Any] = {
    "resourceType": "Encounter",
    "id": "visit",
    "status": "finished",
    "class": {"system": "urn:classes", "code": "AMB"},
    "subject": {"reference": "Patient/1"},
    "period": {"start": "2024-03-01"},
}
RESOURCES = (OBSERVATION, PATIENT, ENCOUNTER)
