"""Topics, subscriptions and changes for the tests of explanations."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from broker.fhir.search_parameters import SearchParameters
from broker.matching.context import SearchContext
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Tenant, Version, VersionKey
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import Filter
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

Topics = Callable[..., Topic]
Subscriptions = Callable[..., Subscription]
BASES = frozenset({"http://broker.example/r4"})
CONTEXT = SearchContext(SearchParameters(), BASES)
ADMIT = Coding("http://v2", "A01")
OTHER = Tenant("other")

REFERENCES = st.sampled_from(
    ["Patient/1", "Patient/2", "Group/1", "http://broker.example/r4/Patient/1", "#p"]
)
OBSERVATIONS = st.fixed_dictionaries(
    {"status": st.sampled_from(["final", "amended", "preliminary"])},
    optional={
        "code": st.sampled_from(["8867-4", "8310-5"]).map(
            lambda code: {"coding": [{"system": "http://loinc.org", "code": code}]}
        ),
        "subject": REFERENCES.map(lambda text: {"reference": text}),
        "effectiveDateTime": st.sampled_from(["2024", "2024-03-10T08:00:00Z", "soon"]),
        "valueQuantity": st.sampled_from([{"value": 91, "code": "/min"}, {"value": 91.5}, {"value": "?"}]),
        "component": st.just("not a list"),
    },
)
TERMS = st.sampled_from(
    [
        ("status", "final", None),
        ("status", "final,amended", None),
        ("status", "final", "not"),
        ("code", "http://loinc.org|8867-4", None),
        ("code", "true", "missing"),
        ("date", "ge2024-03", None),
        ("date", "never", None),
        ("value-quantity", "gt90", None),
        ("patient", "Patient/1", None),
        ("patient", "1", None),
        ("code-value-quantity", "8867-4$gt90", None),
        ("status", "http://sets/none", "in"),
        ("_id", "x", None),
        ("nonsense", "1", None),
        ("patient.gender", "female", None),
        ("subject", "Patient.gender", "identifier"),
        ("subject", "female", "Patient.gender"),
    ]
)
FILTERS = st.builds(
    lambda term, kind: Filter(term[0], term[1], modifier=term[2], resource_type=kind),
    TERMS,
    st.sampled_from([None, None, "Observation", "Patient", "Resource"]),
)
QUERIES = st.lists(TERMS, min_size=1, max_size=3).map(
    lambda terms: "&".join(
        f"{name}{f':{modifier}' if modifier else ''}={value}" for name, value, modifier in terms
    )
)
RESULTS = st.sampled_from([None, True, False])
CRITERIA = st.builds(
    QueryCriteria, st.none() | QUERIES, st.none() | QUERIES, RESULTS, RESULTS, require_both=st.booleans()
)
PATHS = st.sampled_from(
    [
        "%current.status = 'final'",
        "%previous.status != %current.status",
        "%previous.empty() or %previous.status = 'preliminary'",
        "%current.status",
        "status.nonsense(",
    ]
)
TYPES = st.sampled_from(["Observation", "Observation", "Patient", "Resource"])
TRIGGERS = st.builds(
    ResourceTrigger,
    TYPES,
    st.frozensets(st.sampled_from(Interaction), min_size=1),
    st.none() | CRITERIA,
    st.none() | PATHS,
)
EVENT_TRIGGERS = st.builds(EventTrigger, TYPES, st.sampled_from([(ADMIT,), (Coding(None, "x"), ADMIT), ()]))
OFFERS = st.lists(
    st.builds(
        FilterDefinition,
        st.sampled_from(["status", "patient", "code"]),
        st.sampled_from([None, "Observation", "Patient"]),
    ),
    max_size=3,
).map(tuple)
TOPICS = st.builds(
    Topic,
    id=st.just("t"),
    url=st.just("http://example.org/topics/t"),
    version=st.just("1.0"),
    status=st.just(TopicStatus.ACTIVE),
    title=st.none(),
    resource_triggers=st.lists(TRIGGERS, max_size=3).map(tuple),
    event_triggers=st.lists(EVENT_TRIGGERS, max_size=2).map(tuple),
    filters=OFFERS,
    shapes=st.just(()),
    derived_from=st.just(()),
    document=st.just(b"{}"),
    release=st.sampled_from(Release),
    sends_unfiltered_types=st.booleans(),
)
SUBSCRIPTIONS = st.builds(
    Subscription,
    tenant=st.sampled_from([DEFAULT_TENANT, DEFAULT_TENANT, OTHER]),
    id=st.just(SubscriptionId("s")),
    release=st.sampled_from(Release),
    status=st.just(SubscriptionStatus.ACTIVE),
    topic=st.just("http://example.org/topics/t"),
    filters=st.lists(FILTERS, max_size=3).map(tuple),
    channel=st.just(Channel(ChannelType("rest-hook"), None, (), "json", PayloadContent.EMPTY)),
    document=st.just(b"{}"),
)


def version(
    state: dict[str, Any] | None, number: int, interaction: Interaction, release: Release, kind: str
) -> Version:
    body = None if state is None else json.dumps({"resourceType": kind, "id": "x", **state}).encode()
    return Version(
        VersionKey(DEFAULT_TENANT, kind, "x", number),
        release,
        interaction,
        0,
        None if body is None else Resource(body),
    )


@st.composite
def changes(draw: st.DrawFn) -> Change:
    interaction = draw(st.sampled_from(Interaction))
    kind = draw(st.sampled_from(["Observation", "Observation", "Patient"]))
    current = None if interaction is Interaction.DELETE else draw(OBSERVATIONS)
    previous = None
    if interaction is not Interaction.CREATE and draw(st.booleans()):
        previous = version(draw(OBSERVATIONS), 1, Interaction.CREATE, draw(st.sampled_from(Release)), kind)
    events = draw(st.sampled_from([(), (), (ADMIT,), (Coding("http://v2", "A02"),)]))
    now = version(current, 2, interaction, draw(st.sampled_from(Release)), kind)
    return Change("1-0", 0, now, previous, events)


RELATED = st.dictionaries(
    st.sampled_from([("Patient", "1"), ("Patient", "2")]),
    st.builds(
        lambda gender, release: version({"gender": gender}, 1, Interaction.CREATE, release, "Patient"),
        st.sampled_from(["female", "male"]),
        st.sampled_from(Release),
    ),
)
