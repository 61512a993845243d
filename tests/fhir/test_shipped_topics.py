"""The topics that come with the broker are valid, can be evaluated, and offer only filters that exist."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from broker.fhir.search_parameters import SearchParameters
from broker.fhir.topics import parse_topic
from broker.fhir.validation import validate
from broker.matching.change_states import ChangeStates
from broker.matching.context import SearchContext
from broker.matching.references import reference_targets
from broker.matching.triggers import TopicTriggers
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Comparator, Modifier, ParameterType

TOPICS = Path(__file__).parents[2] / "topics"
PARAMETERS = SearchParameters()
NAMES = {
    *("vital-signs", "laboratory-results", "glucose", "device-reading", "device-status", "device-metric"),
    *("patient-demographics", "encounter-start", "encounter-end", "admission"),
    *("practitioner", "practitioner-role", "care-team", "medication-request", "care-plan", "appointment"),
}
CHANGED = {"patient-demographics": "1.1.0"}
"""The versions of topics that have changed."""
ORDERED = {ParameterType.DATE, ParameterType.NUMBER, ParameterType.QUANTITY}
MODIFIERS = {
    ParameterType.TOKEN: {"missing", "not", "text", "of-type", "code-text", "in", "not-in"},
    ParameterType.REFERENCE: {"missing", "identifier", "type"},
    ParameterType.STRING: {"missing", "exact", "contains", "text"},
    ParameterType.DATE: {"missing"},
    ParameterType.QUANTITY: {"missing"},
    ParameterType.COMPOSITE: set[str](),
}
paths = pytest.mark.parametrize("path", sorted(TOPICS.glob("*.json")), ids=lambda path: path.stem)


def types_of(resource_type: str, code: str) -> set[ParameterType]:
    """Of a chained parameter, the types of its last one."""
    link, dot, last = code.partition(".")
    if dot:
        references = [PARAMETERS.find(release, resource_type, link) for release in Release]
        targets = {target for each in references if each for target in reference_targets(each)}
        return {kind for target in targets for kind in types_of(target, last)}
    parameters = (PARAMETERS.find(release, resource_type, code) for release in Release)
    return {each.type for each in parameters if each is not None}


def focus_types(topic: dict[str, Any]) -> set[str]:
    return {each["resource"] for name in ("resourceTrigger", "eventTrigger") for each in topic.get(name, ())}


def terms(query: str) -> list[str]:
    return [term.split("=", 1)[0].split(":", 1)[0] for term in query.split("&")]


def test_the_shipped_topics_are_these() -> None:
    assert {path.stem for path in TOPICS.glob("*.json")} == NAMES


@paths
def test_a_topic_is_a_valid_r5_subscription_topic_named_like_its_file(path: Path) -> None:
    body = path.read_bytes()
    validate(Release.R5, "SubscriptionTopic", Resource(body))
    topic = orjson.loads(body)
    assert topic["id"] == path.stem
    assert topic["url"] == f"http://fhir-broker.org/topics/{path.stem}"
    assert (topic["version"], topic["status"]) == (CHANGED.get(path.stem, "1.0.0"), "active")
    assert topic["title"]
    assert topic["description"]
    assert topic["date"]


@paths
def test_criteria_use_known_parameters_and_one_form_only(path: Path) -> None:
    for trigger in orjson.loads(path.read_bytes()).get("resourceTrigger", ()):
        assert trigger["supportedInteraction"]
        assert not ("queryCriteria" in trigger and "fhirPathCriteria" in trigger)
        criteria = trigger.get("queryCriteria", {})
        for query in (criteria.get("previous"), criteria.get("current")):
            for code in terms(query) if query else ():
                assert len([r for r in Release if PARAMETERS.find(r, trigger["resource"], code)]) == 3


@paths
def test_filters_exist_and_offer_what_their_type_allows(path: Path) -> None:
    topic: dict[str, Any] = orjson.loads(path.read_bytes())
    foci = focus_types(topic)
    seen = set()
    for definition in topic["canFilterBy"]:
        resource_type, code = definition["resource"], definition["filterParameter"]
        assert resource_type in foci
        assert (resource_type, code) not in seen
        seen.add((resource_type, code))
        types = types_of(resource_type, code)
        assert len(types) == 1, (resource_type, code)
        kind = types.pop()
        assert set(definition.get("comparator", ())) <= set(Comparator)
        assert bool(definition.get("comparator")) is (kind in ORDERED)
        assert set(definition.get("modifier", ())) <= MODIFIERS[kind] & set(Modifier)
        assert definition["filterDefinition"].startswith("http://hl7.org/fhir/SearchParameter/")
        assert definition["description"]


@paths
def test_shapes_include_references_that_exist(path: Path) -> None:
    topic = orjson.loads(path.read_bytes())
    foci = focus_types(topic)
    for shape in topic.get("notificationShape", ()):
        assert shape["resource"] in foci
        for include in shape.get("include", ()):
            resource_type, code = include.split(":")
            assert resource_type == shape["resource"]
            assert types_of(resource_type, code) == {ParameterType.REFERENCE}


MDC = "urn:iso:std:iso:11073:10101"
LOINC = "http://loinc.org"
VITAL_SIGN = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}
    ]
}
PHD = {
    "coding": [{"system": "http://hl7.org/fhir/uv/phd/CodeSystem/PhdObservationCategories", "code": "phd"}]
}
READINGS: list[tuple[dict[str, Any], set[str]]] = [
    ({"category": [VITAL_SIGN]}, {"vital-signs"}),
    ({"code": (LOINC, "8867-4")}, {"vital-signs"}),
    ({"code": (LOINC, "8867-4"), "device": {"reference": "Device/d"}}, {"vital-signs", "device-reading"}),
    ({"code": (LOINC, "55423-8"), "device": {"display": "a watch"}}, {"device-reading"}),
    ({"code": (LOINC, "41653-7")}, {"glucose"}),
    ({"code": (MDC, "160368"), "category": [PHD]}, {"glucose", "device-reading"}),
    ({"code": (MDC, "160184")}, {"glucose", "device-reading"}),
    ({"code": (MDC, "160212")}, {"glucose", "device-reading"}),
    ({"code": (MDC, "29140")}, {"glucose", "device-reading"}),
    ({"code": (MDC, "149530"), "category": [PHD]}, {"vital-signs", "device-reading"}),
    ({"code": (MDC, "150456")}, {"vital-signs", "device-reading"}),
    ({"code": (MDC, "188736")}, {"vital-signs", "device-reading"}),
    ({"code": (MDC, "131328")}, {"device-reading"}),
    ({"code": ("urn:oid:2.16.840.1.113883.6.24", "131328")}, {"device-reading"}),
    ({"code": (LOINC, "718-7")}, set()),
    ({"code": ("http://other.example", "160368")}, set()),
]


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize(("elements", "expected"), READINGS)
def test_topics_fire_for_what_devices_send(
    elements: dict[str, Any], expected: set[str], release: Release
) -> None:
    """Readings with MDC codes, and readings without a category (HL7's guide for personal health devices)."""
    system, code = elements.get("code", (LOINC, "1-1"))
    reading = {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        **elements,
        "code": {"coding": [{"system": system, "code": code}]},
    }
    states = ChangeStates(Interaction.CREATE, "Observation", None, reading, release, release)
    fired = {
        path.stem
        for path in TOPICS.glob("*.json")
        if TopicTriggers(parse_topic(Resource(path.read_bytes())), SearchContext(PARAMETERS))
        .judge(states)
        .fired
    }
    assert fired == expected


def test_the_value_sets_have_the_codes_of_the_topics() -> None:
    for name, index in (("glucose", 0), ("vital-signs", 1)):
        topic = orjson.loads((TOPICS / f"{name}.json").read_bytes())
        query = topic["resourceTrigger"][index]["queryCriteria"]["current"]
        include = orjson.loads((TOPICS / "valuesets" / f"{name}.json").read_bytes())["compose"]["include"]
        listed = [f"{part['system']}|{concept['code']}" for part in include for concept in part["concept"]]
        assert query == f"code={','.join(listed)}"


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize(
    ("resource_type", "name"),
    [
        ("Patient", "patient-demographics"),
        ("Practitioner", "practitioner"),
        ("PractitionerRole", "practitioner-role"),
        ("CareTeam", "care-team"),
        ("MedicationRequest", "medication-request"),
        ("CarePlan", "care-plan"),
        ("Appointment", "appointment"),
    ],
)
def test_each_change_of_ehr_context_is_an_event(resource_type: str, name: str, release: Release) -> None:
    document = {"resourceType": resource_type, "id": "1"}
    topic = parse_topic(Resource((TOPICS / f"{name}.json").read_bytes()))
    triggers = TopicTriggers(topic, SearchContext(PARAMETERS))
    for interaction, before, after in (
        (Interaction.CREATE, None, document),
        (Interaction.UPDATE, document, document),
        (Interaction.DELETE, document, None),
    ):
        states = ChangeStates(interaction, resource_type, before, after, release, release)
        assert triggers.judge(states).fired, interaction
