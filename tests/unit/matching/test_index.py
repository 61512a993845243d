"""The index finds what the naive matcher finds, whatever is put, removed and changed; it keeps little and looks at little."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from broker.fhir.parameters import Parameters
from broker.matching.index import IndexedMatcher
from broker.matching.matcher import Match, Matcher, NaiveMatcher
from broker.matching.postings import GROWN
from broker.matching.states import Related
from broker.matching.valuesets import CurrentValueSets, ValueSetFolder
from broker.model.change import DEFAULT_TENANT, Change, Interaction, Tenant, Version, VersionKey
from broker.model.release import Release
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

Topics = Callable[..., Topic]
Subscriptions = Callable[..., Subscription]
BASES = frozenset({"http://broker.example/r4", "http://broker.example/r5/"})
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
EVERY = frozenset(Interaction)
OBSERVATION = "Observation"
TENANTS = (DEFAULT_TENANT, Tenant("other"))


class TwistedTable:
    """The parameters of FHIR, but releases disagree more than they do."""

    def find(self, release: Release, resource_type: str, code: str) -> SearchParameter | None:
        found = Parameters().find(release, resource_type, code)
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


# what filters ask for and resources say is drawn from the same few values, so that they meet
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


def several(one: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return one | st.tuples(one, one).map(",".join)


def asking(
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
    asking(("patient", "subject", "device", "performer"), joined(_REFERENCES), "Patient", "type"),
    asking(("subject",), joined(_TOKENS), "identifier"),
    asking(("subject", "patient"), picked(("true", "false")), "missing"),
    asking(
        ("code", "status", "category", "identifier", "_id", "_tag", "device"), joined(_TOKENS), "not", "text"
    ),
    asking(("identifier",), picked(("http://k|MR|a", "http://k|MR|b", "a")), "of-type"),
    asking(("code",), picked(("http://sets/x", "http://sets/y")), "in", "not-in"),
    asking(("_profile",), joined(_URIS), "below", "above"),
    asking(("value-quantity",), several(quantities)),
    asking(("date", "_lastUpdated"), several(dates)),
    asking(("probability",), several(ordered_numbers)),
    asking(("code-value-quantity", "component-code-value-quantity"), several(composites)),
    asking(("family", "name", "value-string"), joined(_STRINGS), "exact", "exact", "contains"),
    asking(("patient.identifier", "subject.identifier", "subject:Patient.active"), joined(_TOKENS), "not"),
    asking(("patient.birthdate",), dates),
    asking(("patient.family",), joined(_STRINGS), "exact"),
    asking(("nothing", "a.b.c"), picked(_TOKENS)),
)

broken: st.SearchStrategy[Any] = picked(
    (None, 5, "x", [], {}, [None], {"coding": None}, {"coding": ["x"]}, {"coding": {}}, 1.5, True)
)


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 15).flatmap(lambda n: broken if n == 0 else good)


def some(*always: str, **elements: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    rest = {name: mostly(one) for name, one in elements.items()}
    return st.fixed_dictionaries({name: rest.pop(name) for name in always}, optional=rest)


def lists(one: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(mostly(one), min_size=1, max_size=3)


texts = picked(("Ana", "ana", "Núñez", "a,b", "a"))
codes = picked(("a", "b", "final", "a|b"))
systems = picked(("http://s", "http://t", ""))
codings = some("code", system=systems, code=codes, display=texts)
concepts = some("coding", coding=lists(codings), text=texts)
identifiers = some(
    system=systems,
    value=codes,
    type=st.just({"coding": [{"system": "http://k", "code": "MR"}]}),
)
references = some("reference", reference=picked(_REFERENCES), identifier=identifiers, display=texts)
amounts = some(
    "value",
    value=picked((4.9, 5, 5.5, 10, 10.01, 0.01, -3)),
    system=st.just(UCUM),
    code=picked(("mg", "g", "Cel")),
    unit=st.just("mg"),
    comparator=picked(("<", ">=", ">", "<=")),
)
times = picked(_DATES)
meta = some(lastUpdated=times, profile=lists(picked(_URIS)), tag=lists(codings))
components = some(code=concepts, valueQuantity=amounts)
resources: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    OBSERVATION: some(
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
        effectivePeriod=some(start=times, end=times),
        valueQuantity=amounts,
        valueString=texts,
        component=lists(components),
    ),
    "Patient": some(
        meta=meta,
        active=st.booleans(),
        identifier=lists(identifiers),
        name=lists(some(family=texts, given=lists(texts))),
        birthDate=times,
    ),
    "RiskAssessment": some(
        status=codes,
        subject=references,
        prediction=lists(
            some(probabilityDecimal=picked((5, 5.5, 10)), probabilityRange=some(low=amounts, high=amounts))
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
    return Version(VersionKey(tenant, kind, "a", 1), release, interaction, 0, body)


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
    """Three canonicals: a topic is replaced when another of its canonical comes along."""
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
    )


def subscribed(name: str, tenant: Tenant, release: Release, *wanted: Filter) -> Subscription:
    channel = Channel(ChannelType("rest-hook"), None, (), "application/fhir+json", PayloadContent.EMPTY)
    return Subscription(
        tenant, SubscriptionId(name), release, SubscriptionStatus.ACTIVE, "t", wanted, channel, b"{}"
    )


tenants = picked((DEFAULT_TENANT, *TENANTS))
names = st.integers(0, 25)
puts = st.tuples(
    st.just("put"),
    names,
    st.integers(1, 2 * GROWN),
    tenants,
    picked(Release),
    st.lists(filters, max_size=2),
    st.lists(st.lists(filters, max_size=1), min_size=1, max_size=4),
    st.integers(0, 2),
)
removals = st.tuples(st.just("remove"), names, tenants)
meetings = st.tuples(st.just("change"), changes())
operations = st.lists(puts | puts | removals | meetings | meetings, min_size=4, max_size=25)


def told(matches: list[Match]) -> list[tuple[str, str, str]]:
    return sorted((one.tenant, one.subscription_id, one.topic_canonical) for one in matches)


def meet(naive: Matcher, index: Matcher, change: Change, stored: Related) -> None:
    wanted = index.needs(change)
    assert wanted >= naive.needs(change)
    related = {target: version for target, version in stored.items() if target in wanted}
    expected = told(naive.match(change, related))
    assert told(index.match(change, related)) == expected
    problems = [{one for one in some.drain_errors() if one.subscription_id} for some in (naive, index)]
    assert problems[1] - problems[0] == set()
    event("some match" if expected else "none match")


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink))
@given(
    st.lists(topics(), min_size=3, max_size=5),
    operations,
    st.tuples(*(versions("Patient", Interaction.CREATE, DEFAULT_TENANT) for _ in range(2))),
)
def test_the_index_finds_what_the_naive_matcher_finds(
    some_topics: list[Topic], steps: list[Any], patients: tuple[Version, Version]
) -> None:
    value_sets = CurrentValueSets()
    value_sets.contents = ValueSetFolder(codes={"http://sets/x": frozenset({("http://s", "a")})})
    naive = NaiveMatcher(TwistedTable(), BASES, value_sets)
    index = IndexedMatcher(TwistedTable(), BASES, value_sets)
    stored = {("Patient", "1"): patients[0], ("Patient", "2"): patients[1]}
    for name, *about in steps:
        if name == "change":
            meet(naive, index, about[0], stored)
        elif name == "remove":
            for matcher in (naive, index):
                matcher.remove(about[1], SubscriptionId(str(about[0])))
        else:
            first, count, tenant, release, shared, own, topic = about
            for n in range(count):
                one = subscribed(str(first + n), tenant, release, *shared, *own[n % len(own)])
                naive.put(one, some_topics[topic])
                index.put(one, some_topics[topic])
    for name, *about in steps:
        if name == "change":
            meet(naive, index, about[0], stored)
    for tenant in TENANTS:
        for n in range(100):
            index.remove(tenant, SubscriptionId(str(n)))
    assert index._groups == {}
    assert index._entries == {}


@pytest.fixture
def about(topic: Topics) -> Topic:
    return topic(
        resource_triggers=(ResourceTrigger(OBSERVATION, EVERY),),
        filters=tuple(map(FilterDefinition, ("patient", "code", "value-quantity", "date", "status"))),
    )


def observed(**state: Any) -> Change:
    body = json.dumps({"resourceType": OBSERVATION, "id": "o", **state}).encode()
    key = VersionKey(DEFAULT_TENANT, OBSERVATION, "o", 1)
    return Change("1-0", 0, Version(key, Release.R4, Interaction.CREATE, 0, body), None)


def put(matcher: Matcher, topic: Topic, name: object, *wanted: Filter) -> None:
    matcher.put(subscribed(str(name), DEFAULT_TENANT, Release.R4, *wanted), topic)


def ids(matches: list[Match]) -> set[str]:
    return {match.subscription_id for match in matches}


def of(patient: object) -> Filter:
    return Filter("patient", f"Patient/{patient}")


def is_of(patient: object) -> dict[str, Any]:
    return {"subject": {"reference": f"Patient/{patient}"}}


def test_only_what_the_focus_says_is_evaluated(about: Topic) -> None:
    """A filter that fails is a problem of the subscriptions that nothing else rules out."""
    naive, index = NaiveMatcher(Parameters()), IndexedMatcher(Parameters())
    for matcher in (naive, index):
        put(matcher, about, "one", of(1), Filter("date", "ge2024"))
        put(matcher, about, "two", Filter("date", "ge2024"), of(2))
        assert matcher.match(observed(effectiveDateTime="soon", **is_of(1))) == []
    assert {one.subscription_id for one in naive.drain_errors()} == {"one", "two"}
    assert {one.subscription_id for one in index.drain_errors()} == {"one"}


def test_thresholds_under_one_code_are_found_by_order(about: Topic) -> None:
    index = IndexedMatcher(Parameters())
    for n in range(100):
        put(index, about, n, Filter("code", f"{LOINC}|8867-4"), Filter("value-quantity", f"gt{n}"))
    code = {"coding": [{"system": LOINC, "code": "8867-4"}]}
    assert ids(index.match(observed(code=code, valueQuantity={"value": 3}))) == {"0", "1", "2"}
    assert ids(index.match(observed(code=code, valueQuantity={"value": 0}))) == set()
    assert len(index.match(observed(code=code, valueQuantity={"value": 99.5}))) == 100
    for n in range(99):
        index.remove(DEFAULT_TENANT, SubscriptionId(str(n)))
    assert ids(index.match(observed(code=code, valueQuantity={"value": 100}))) == {"99"}


def test_subscriptions_are_filed_by_what_fewest_foci_say(about: Topic) -> None:
    index = IndexedMatcher(Parameters())
    for n in range(50):
        put(index, about, n, Filter("status", "final"), of(n))
    (root,) = index._groups[about.canonical].views[OBSERVATION].roots.values()
    assert [channel.name for channel in root.equal] == ["patient"]
    assert ids(index.match(observed(status="final", **is_of(7)))) == {"7"}
    assert index.match(observed(status="amended", **is_of(7))) == []


def test_a_filter_with_alternatives_is_found_by_each_and_once(about: Topic) -> None:
    index = IndexedMatcher(Parameters())
    put(index, about, "both", Filter("patient", "Patient/1,Patient/2"))
    assert ids(index.match(observed(**is_of(1)))) == {"both"}
    assert ids(index.match(observed(**is_of(2)))) == {"both"}
    put(index, about, "codes", Filter("code", "a,b"))
    codes = [{"system": "s", "code": "a"}, {"system": "s", "code": "b"}]
    assert len(index.match(observed(code={"coding": codes}))) == 1
    index.remove(DEFAULT_TENANT, SubscriptionId("both"))
    assert index.match(observed(**is_of(2))) == []


def test_a_topic_put_again_with_another_meaning_files_its_subscriptions_again(about: Topic) -> None:
    index = IndexedMatcher(Parameters())
    put(index, about, "s", of(1))
    assert index.match(observed(**is_of(1)))
    elsewhere = replace(about, filters=(FilterDefinition("patient", "Encounter"),))
    put(index, elsewhere, "other", of(2))
    assert ids(index.match(observed(**is_of(9)))) == {"s", "other"}


def test_a_topic_about_every_type_finds_its_subscriptions_for_a_type_it_meets_later(topic: Topics) -> None:
    index = IndexedMatcher(Parameters())
    put(index, topic(resource_triggers=(ResourceTrigger("Resource", EVERY),)), "s", of(1))
    assert ids(index.match(observed(**is_of(1)))) == {"s"}
    assert index.match(observed(**is_of(2))) == []


def test_the_previous_state_is_read_only_where_criteria_ask_for_it(topic: Topics) -> None:
    index = IndexedMatcher(Parameters())
    current = ResourceTrigger(OBSERVATION, EVERY, QueryCriteria(current="status=final"))
    put(index, topic(resource_triggers=(current,)), "s")
    now = replace(observed(status="final").current, interaction=Interaction.UPDATE)
    unreadable = replace(now, body=b"{")
    assert index.match(Change("1-0", 0, now, unreadable))
