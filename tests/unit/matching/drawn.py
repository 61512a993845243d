"""Topics, subscriptions, changes and operations for the test that compares the index with the naive matcher.

The values of filters and of resources are drawn from the same few values, so that they match often. A few
elements are not as FHIR defines them.
"""

import json
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from broker.fhir.search_parameters import SearchParameters
from broker.matching.postings import SPLIT_SIZE
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Tenant, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Comparator, Filter, ParameterType, SearchParameter
from broker.model.subscription import (
    Channel,
    ChannelType,
    PayloadContent,
    Subscription,
    SubscriptionId,
    SubscriptionStatus,
)
from broker.model.topic import (
    Coding,
    EventTrigger,
    FilterDefinition,
    QueryCriteria,
    ResourceTrigger,
    Topic,
    TopicStatus,
)

BASES = frozenset({"http://broker.example/r4", "http://broker.example/r5/"})
UCUM = "http://unitsofmeasure.org"
EVERY = frozenset(Interaction)
OBSERVATION = "Observation"
TENANTS = (DEFAULT_TENANT, Tenant("other"))


class TwistedTable:
    """The parameters of FHIR, but the releases differ more than they do."""

    def find(self, release: Release, resource_type: str, code: str) -> SearchParameter | None:
        found = SearchParameters().find(release, resource_type, code)
        if found is None or resource_type != OBSERVATION:
            return found
        if code == "subject" and release is Release.R4:
            return replace(found, targets=("Patient",))
        if code == "subject" and release is Release.R4B:
            return replace(found, targets=("Device",))
        if code == "device" and release is Release.R5:
            return replace(found, type=ParameterType.TOKEN)
        if code == "status" and release is Release.R4B:
            return None
        return found


_REFERENCES = (
    "Patient/1",
    "Patient/2",
    "1",
    "Device/1",
    "http://broker.example/r4/Patient/1",
    "http://broker.example/r5/Patient/1/_history/3",
    "Patient/1/_history/2",
    "http://elsewhere.example/Patient/1",
    "http://elsewhere.example/Patient/1|2",
    "urn:uuid:1",
    "#inside",
    "Group/1",
)
_TOKENS = (
    "a",
    "b",
    "http://s|a",
    "http://s|b",
    "http://t|a",
    "|a",
    "http://s|",
    "true",
    "final",
    r"a\|b",
    "",
)
_URIS = ("http://p/1", "http://p/1|2.0", "http://p/2", "http://p")
_STRINGS = ("Ana", "ana", "Núñez", "an", r"a\,b")
_NUMBERS = ("5", "5.0", "5.5", "10", "1e1", "-3", "x")
_UNITS = ("", f"|{UCUM}|mg", f"|{UCUM}|g", "||mg", f"|{UCUM}|Cel")
_DATES = ("2024", "2024-03", "2024-03-10", "2024-03-10T08:00:00Z", "2024-03-10T23:30:00-02:00", "soon")
_PREFIXES = ("", "gt", "ge", "lt", "le", "sa", "eb", "ne", "ap", "eq")

picked = st.sampled_from


def joined(pool: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.lists(picked(pool), min_size=1, max_size=2).map(",".join)


ordered_numbers = st.tuples(picked(_PREFIXES), picked(_NUMBERS)).map("".join)
quantities = st.tuples(picked(_PREFIXES), picked(_NUMBERS), picked(_UNITS)).map("".join)
dates = st.tuples(picked(_PREFIXES), picked(_DATES)).map("".join)
composites = st.tuples(picked(_TOKENS), quantities).map("$".join)


def one_or_two(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return values | st.tuples(values, values).map(",".join)


def filters_on(
    parameters: tuple[str, ...], values: st.SearchStrategy[str], *modifiers: str | None
) -> st.SearchStrategy[Filter]:
    return st.builds(
        Filter,
        picked(parameters),
        values,
        st.none() | st.none() | st.none() | picked(Comparator),
        picked((None, None, None, *modifiers)),
        st.none() | st.none() | picked((OBSERVATION, "Patient", "Resource")),
    )


filters = st.one_of(
    filters_on(("patient", "subject", "device", "performer"), joined(_REFERENCES), "Patient", "type"),
    filters_on(("subject",), joined(_TOKENS), "identifier"),
    filters_on(("subject", "patient"), picked(("true", "false")), "missing"),
    filters_on(
        ("code", "status", "category", "identifier", "_id", "_tag", "device"), joined(_TOKENS), "not", "text"
    ),
    filters_on(("identifier",), picked(("http://k|MR|a", "http://k|MR|b", "a")), "of-type"),
    filters_on(("code",), picked(("http://sets/x", "http://sets/y")), "in", "not-in"),
    filters_on(("_profile",), joined(_URIS), "below", "above"),
    filters_on(("value-quantity",), one_or_two(quantities)),
    filters_on(("date", "_lastUpdated"), one_or_two(dates)),
    filters_on(("probability",), one_or_two(ordered_numbers)),
    filters_on(("code-value-quantity", "component-code-value-quantity"), one_or_two(composites)),
    filters_on(("family", "name", "value-string"), joined(_STRINGS), "exact", "exact", "contains"),
    filters_on(
        ("patient.identifier", "subject.identifier", "subject:Patient.active"), joined(_TOKENS), "not"
    ),
    filters_on(("patient.birthdate",), dates),
    filters_on(("patient.family",), joined(_STRINGS), "exact"),
    filters_on(("nothing", "a.b.c"), picked(_TOKENS)),
)

broken: st.SearchStrategy[Any] = picked(
    (None, 5, "x", [], {}, [None], {"coding": None}, {"coding": ["x"]}, {"coding": {}}, 1.5, True)
)


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 15).flatmap(lambda n: broken if n == 0 else good)


def element(*always: str, **elements: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    rest = {name: mostly(strategy) for name, strategy in elements.items()}
    return st.fixed_dictionaries({name: rest.pop(name) for name in always}, optional=rest)


def lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(mostly(values), min_size=1, max_size=3)


texts = picked(("Ana", "ana", "Núñez", "a,b", "a"))
codes = picked(("a", "b", "final", "a|b"))
systems = picked(("http://s", "http://t", ""))
codings = element("code", system=systems, code=codes, display=texts)
concepts = element("coding", coding=lists(codings), text=texts)
identifiers = element(
    system=systems,
    value=codes,
    type=st.just({"coding": [{"system": "http://k", "code": "MR"}]}),
)
references = element("reference", reference=picked(_REFERENCES), identifier=identifiers, display=texts)
amounts = element(
    "value",
    value=picked((4.9, 5, 5.5, 10, 10.01, 0.01, -3)),
    system=st.just(UCUM),
    code=picked(("mg", "g", "Cel")),
    unit=st.just("mg"),
    comparator=picked(("<", ">=", ">", "<=")),
)
times = picked(_DATES)
meta = element(lastUpdated=times, profile=lists(picked(_URIS)), tag=lists(codings))
components = element(code=concepts, valueQuantity=amounts)
resources: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    OBSERVATION: element(
        "code",
        "subject",
        "valueQuantity",
        meta=meta,
        status=codes,
        code=concepts,
        category=lists(concepts),
        identifier=lists(identifiers),
        subject=references,
        device=references,
        performer=lists(references),
        effectiveDateTime=times,
        effectivePeriod=element(start=times, end=times),
        valueQuantity=amounts,
        valueString=texts,
        component=lists(components),
    ),
    "Patient": element(
        meta=meta,
        active=st.booleans(),
        identifier=lists(identifiers),
        name=lists(element(family=texts, given=lists(texts))),
        birthDate=times,
    ),
    "RiskAssessment": element(
        status=codes,
        subject=references,
        prediction=lists(
            element(
                probabilityDecimal=picked((5, 5.5, 10)), probabilityRange=element(low=amounts, high=amounts)
            )
        ),
    ),
}


@st.composite
def versions(draw: st.DrawFn, kind: str, interaction: Interaction, tenant: Tenant) -> Version:
    body: bytes | None = None
    if interaction is not Interaction.DELETE:
        state = draw(resources[kind]) | {"resourceType": kind, "id": draw(picked(("a", "b")))}
        body = json.dumps(state).encode()
    release = draw(picked(Release))
    return Version(
        VersionKey(tenant, kind, "a", 1), release, interaction, 0, None if body is None else Resource(body)
    )


@st.composite
def changes(draw: st.DrawFn) -> Change:
    kind = draw(picked((OBSERVATION, OBSERVATION, OBSERVATION, "Patient", "RiskAssessment")))
    interaction = draw(picked(Interaction))
    tenant = draw(picked((DEFAULT_TENANT, *TENANTS)))
    current = draw(versions(kind, interaction, tenant))
    previous = None
    if interaction is not Interaction.CREATE and draw(st.integers(0, 5)):
        previous = draw(versions(kind, Interaction.CREATE, tenant))
    events = () if draw(st.integers(0, 4)) else (Coding("http://v2", "A01"),)
    return Change("1-0", 0, current, previous, events)


@st.composite
def topics(draw: st.DrawFn) -> Topic:
    """Topics of three canonicals, so that topics replace each other."""
    query = st.builds(
        QueryCriteria,
        picked((None, "status:not=final", "code=a")),
        picked((None, "status=final,a,b", "category=a", "nothing=1")),
        st.none() | st.booleans(),
        st.none() | st.booleans(),
        st.booleans(),
    )
    trigger = st.builds(
        ResourceTrigger,
        picked((OBSERVATION, OBSERVATION, "Patient", "Resource", "RiskAssessment")),
        st.just(EVERY) | st.sets(picked(Interaction), min_size=1).map(frozenset),
        st.none() | st.none() | st.none() | query,
        picked(
            (
                None,
                None,
                None,
                None,
                None,
                "%previous.exists()",
                "%current.status = 'final'",
                "%current.status",
            )
        ),
    )
    offers = st.builds(
        FilterDefinition,
        picked(("patient", "subject", "code", "identifier", "patient.identifier", "date")),
        st.none() | picked((OBSERVATION, "Patient", "Resource")),
        definition=st.none() | picked(("http://hl7.org/fhir/SearchParameter/clinical-patient",)),
    )
    return Topic(
        id="t",
        url=draw(picked(("http://t/1", "http://t/2", "http://t/3"))),
        version=None,
        status=TopicStatus.ACTIVE,
        title=None,
        resource_triggers=tuple(draw(st.lists(trigger, min_size=1, max_size=2))),
        event_triggers=draw(picked(((), (EventTrigger(OBSERVATION, (Coding("http://v2", "A01"),)),)))),
        filters=tuple(draw(st.lists(offers, max_size=3))),
        shapes=(),
        derived_from=(),
        document=b"{}",
        release=Release.R5,
        sends_unfiltered_types=draw(picked((True, True, False))),
    )


def subscribed(name: str, tenant: Tenant, release: Release, *filters: Filter) -> Subscription:
    channel = Channel(ChannelType("rest-hook"), None, (), "application/fhir+json", PayloadContent.EMPTY)
    return Subscription(
        tenant, SubscriptionId(name), release, SubscriptionStatus.ACTIVE, "t", filters, channel, b"{}"
    )


tenants = picked((DEFAULT_TENANT, *TENANTS))
names = st.integers(0, 25)
puts = st.tuples(
    st.just("put"),
    names,
    st.integers(1, 2 * SPLIT_SIZE),
    tenants,
    picked(Release),
    st.lists(filters, max_size=2),
    st.lists(st.lists(filters, max_size=1), min_size=1, max_size=4),
    st.integers(0, 2),
)
removals = st.tuples(st.just("remove"), names, tenants)
meetings = st.tuples(st.just("change"), changes())
operations = st.lists(puts | puts | removals | meetings | meetings, min_size=4, max_size=25)
