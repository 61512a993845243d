"""When a topic fires: the truth table, the encodings of a query, and what is refused."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from broker.fhir.search_parameters import SearchParameters
from broker.matching.change_states import ChangeStates
from broker.matching.context import SearchContext
from broker.matching.criteria import BadTopic, compile_criteria
from broker.matching.states import State
from broker.matching.triggers import TopicTriggers, TopicVerdict, check_triggers
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.topic import Coding, EventTrigger, QueryCriteria, ResourceTrigger, Topic

CREATE, UPDATE, DELETE = Interaction.CREATE, Interaction.UPDATE, Interaction.DELETE
Topics = Callable[..., Topic]
TABLE_ROWS = list(product(list(Interaction), [None, True, False], [None, True, False], [True, False]))


def encounter(status: str) -> dict[str, Any]:
    return {"resourceType": "Encounter", "status": status}


def judge(
    triggers: TopicTriggers,
    interaction: Interaction,
    previous: State,
    current: State,
    *,
    resource_type: str = "Encounter",
    release: Release = Release.R4,
    previous_release: Release | None = None,
) -> TopicVerdict:
    states = ChangeStates(interaction, resource_type, previous, current, previous_release or release, release)
    return triggers.judge(states)


def triggers(topic: Topics, context: SearchContext, **more: Any) -> TopicTriggers:
    trigger = ResourceTrigger("Encounter", frozenset(Interaction), **more)
    return TopicTriggers(topic(resource_triggers=(trigger,)), context)


@pytest.mark.parametrize(("interaction", "for_create", "for_delete", "both"), TABLE_ROWS)
@pytest.mark.parametrize("passed_before", [True, False])
@pytest.mark.parametrize("passes_after", [True, False])
def test_the_truth_table(
    *,
    interaction: Interaction,
    for_create: bool | None,
    for_delete: bool | None,
    both: bool,
    passed_before: bool,
    passes_after: bool,
    topic: Topics,
    context: SearchContext,
) -> None:
    query = QueryCriteria("status=old", "status=new", for_create, for_delete, both)
    before = None if interaction is CREATE else encounter("old" if passed_before else "x")
    after = None if interaction is DELETE else encounter("new" if passes_after else "x")
    verdict = judge(triggers(topic, context, query=query), interaction, before, after)
    left = for_create is True if interaction is CREATE else passed_before
    right = for_delete is True if interaction is DELETE else passes_after
    assert verdict.fired is ((left and right) if both else (left or right))
    assert not verdict.failures


@pytest.mark.parametrize("both", [True, False])
def test_a_test_the_topic_leaves_out_is_ignored(*, both: bool, topic: Topics, context: SearchContext) -> None:
    after = triggers(topic, context, query=QueryCriteria(current="status=new", require_both=both))
    before = triggers(topic, context, query=QueryCriteria(previous="status=old", require_both=both))
    for status in ("old", "new"):
        states = (UPDATE, encounter(status), encounter(status))
        assert judge(after, *states).fired is (status == "new")
        assert judge(before, *states).fired is (status == "old")


@pytest.mark.parametrize("current", ["status=x", "status=other", None])
@pytest.mark.parametrize(("result", "both"), list(product([None, True, False], [True, False])))
def test_a_result_for_create_counts_without_a_previous_query(
    *, current: str | None, result: bool | None, both: bool, topic: Topics, context: SearchContext
) -> None:
    query = QueryCriteria(current=current, result_for_create=result, require_both=both)
    verdict = judge(triggers(topic, context, query=query), CREATE, None, encounter("x"))
    results = [result, None if current is None else current == "status=x"]
    defined = [each for each in results if each is not None]
    assert verdict == ((all(defined) if both else any(defined)) if defined else True, ())


@pytest.mark.parametrize("previous", ["status=x", "status=other", None])
@pytest.mark.parametrize(("result", "both"), list(product([None, True, False], [True, False])))
def test_a_result_for_delete_counts_without_a_current_query(
    *, previous: str | None, result: bool | None, both: bool, topic: Topics, context: SearchContext
) -> None:
    query = QueryCriteria(previous=previous, result_for_delete=result, require_both=both)
    verdict = judge(triggers(topic, context, query=query), DELETE, encounter("x"), None)
    results = [None if previous is None else previous == "status=x", result]
    defined = [each for each in results if each is not None]
    assert verdict == ((all(defined) if both else any(defined)) if defined else True, ())


def test_results_that_pass_or_fail_decide_every_create(topic: Topics, context: SearchContext) -> None:
    for status in ("new", "old"):
        created = (CREATE, None, encounter(status))
        passing = QueryCriteria(current="status=new", result_for_create=True)
        failing = QueryCriteria(current="status=new", result_for_create=False, require_both=True)
        assert judge(triggers(topic, context, query=passing), *created).fired
        assert not judge(triggers(topic, context, query=failing), *created).fired


def test_a_result_for_create_says_nothing_about_an_update(topic: Topics, context: SearchContext) -> None:
    query = QueryCriteria(current="status=new", result_for_create=False, require_both=True)
    compiled = triggers(topic, context, query=query)
    assert judge(compiled, UPDATE, encounter("old"), encounter("new")).fired
    assert not judge(compiled, DELETE, encounter("new"), None).fired


ADMIT, DISCHARGE = Coding("http://v2", "A01", "Admit"), Coding("http://v2", "A03")


@pytest.mark.parametrize(
    ("codings", "resource_type", "fires"),
    [
        ([ADMIT], "Encounter", True),
        ([Coding("http://v2", "A01", "another word")], "Encounter", True),
        ([Coding("http://other", "x"), DISCHARGE], "Encounter", True),
        ([Coding("http://other", "A01")], "Encounter", False),
        ([Coding(None, "A01")], "Encounter", False),
        ([ADMIT], "Patient", False),
        ([Coding(None, "any")], "Patient", True),
        ([], "Encounter", False),
    ],
)
def test_an_event_fires_by_system_code_and_focus_type(
    *, codings: list[Coding], resource_type: str, fires: bool, topic: Topics, context: SearchContext
) -> None:
    events = (
        EventTrigger("Encounter", (ADMIT, DISCHARGE)),
        EventTrigger("Resource", (Coding(None, "any"),)),
    )
    compiled = TopicTriggers(topic(event_triggers=events), context)
    assert compiled.fires_on_event(codings, resource_type) is fires


def test_a_previous_state_no_longer_stored_passes_no_test(topic: Topics, context: SearchContext) -> None:
    query = QueryCriteria(previous="status:not=new", current="status=new", require_both=True)
    verdict = judge(triggers(topic, context, query=query), UPDATE, None, encounter("new"))
    assert not verdict.fired


def test_without_criteria_each_listed_interaction_fires(topic: Topics, context: SearchContext) -> None:
    trigger = ResourceTrigger("Encounter", frozenset({CREATE}))
    compiled = TopicTriggers(topic(resource_triggers=(trigger,)), context)
    assert judge(compiled, CREATE, None, encounter("x")).fired
    assert not judge(compiled, UPDATE, encounter("x"), encounter("x")).fired
    patient = {"resourceType": "Patient"}
    assert not judge(compiled, CREATE, None, patient, resource_type="Patient").fired
    assert compiled.concerns("Encounter", CREATE)
    assert not compiled.concerns("Encounter", DELETE)


def test_resource_means_every_type(topic: Topics, context: SearchContext) -> None:
    trigger = ResourceTrigger("Resource", frozenset(Interaction), QueryCriteria(current="_id=1"))
    compiled = TopicTriggers(topic(resource_triggers=(trigger,)), context)
    for kind in ("Patient", "Encounter"):
        resource = {"resourceType": kind, "id": "1"}
        assert judge(compiled, CREATE, None, resource, resource_type=kind).fired


def test_criteria_are_evaluated_for_the_listed_interactions_only(
    topic: Topics, context: SearchContext
) -> None:
    failing = ResourceTrigger("Encounter", frozenset({CREATE}), fhirpath="%current.status")
    compiled = TopicTriggers(topic(resource_triggers=(failing,)), context)
    assert judge(compiled, CREATE, None, encounter("x")).failures
    updated = judge(compiled, UPDATE, encounter("x"), encounter("x"))
    assert (updated.fired, updated.failures) == (False, ())


def test_either_query_or_fhirpath_fires(topic: Topics, context: SearchContext) -> None:
    compiled = triggers(
        topic, context, query=QueryCriteria(current="status=a"), fhirpath="%current.status = 'b'"
    )
    fired = {status: judge(compiled, CREATE, None, encounter(status)).fired for status in "abc"}
    assert fired == {"a": True, "b": True, "c": False}


def test_a_failing_trigger_is_reported_and_keeps_no_other_from_firing(
    topic: Topics, context: SearchContext
) -> None:
    both = frozenset(Interaction)
    failing = ResourceTrigger("Encounter", both, fhirpath="%current.status")
    firing = ResourceTrigger("Encounter", both)
    change = (CREATE, None, encounter("x"))
    alone = judge(TopicTriggers(topic(resource_triggers=(failing,)), context), *change)
    together = judge(TopicTriggers(topic(resource_triggers=(failing, firing)), context), *change)
    assert not alone.fired
    assert together.fired
    assert alone.failures == together.failures != ()


def test_a_release_without_the_parameter_never_fires_and_that_is_reported_once(
    topic: Topics, table: Any, context: SearchContext
) -> None:
    """RiskAssessment does not convert, so it is judged as it came in."""
    table.only["probability"] = Release.R5
    trigger = ResourceTrigger(
        "RiskAssessment", frozenset(Interaction), QueryCriteria(current="probability=0.25")
    )
    compiled = TopicTriggers(topic(resource_triggers=(trigger,)), context)

    def created(release: Release) -> TopicVerdict:
        risk = {"resourceType": "RiskAssessment", "prediction": [{"probabilityDecimal": 0.25}]}
        return judge(compiled, CREATE, None, risk, resource_type="RiskAssessment", release=release)

    first, second = created(Release.R4), created(Release.R4)
    assert not first.fired
    assert first.failures
    assert second == (False, ())
    assert created(Release.R5).fired


@pytest.mark.parametrize("release", list(Release))
def test_a_query_that_uses_the_words_of_another_release_is_judged_in_that_release(
    release: Release, topic: Topics
) -> None:
    """`completed` is R5's word, `finished` that of R4; a query that mixes both is judged as it came in."""
    ended, begun = ("completed", "in-progress") if release is Release.R5 else ("finished", "in-progress")
    for word in ("completed", "finished", "completed,finished"):
        query = QueryCriteria(f"status:not={word}", f"status={word}", require_both=True)
        compiled = triggers(topic, SearchContext(SearchParameters()), query=query)
        fired = [
            judge(compiled, UPDATE, encounter(before), encounter(after), release=release).fired
            for before, after in ((begun, ended), (ended, ended), (ended, begun))
        ]
        assert fired == [True, False, False], word


def test_the_previous_state_is_seen_in_the_release_of_the_current_one(topic: Topics) -> None:
    """A resource that another client rewrites in its own release has not ended again."""
    context = SearchContext(SearchParameters())
    query = QueryCriteria("status:not=finished,completed", "status=finished,completed", require_both=True)
    by_query = triggers(topic, context, query=query)
    by_path = triggers(topic, context, fhirpath="%previous.status !~ %current.status")
    for compiled in (by_query, by_path):
        for before, after, previous_release, release in (
            ("completed", "finished", Release.R5, Release.R4),
            ("finished", "completed", Release.R4B, Release.R5),
        ):
            states = (UPDATE, encounter(before), encounter(after))
            assert not judge(compiled, *states, release=release, previous_release=previous_release).fired
            states = (UPDATE, encounter("planned"), encounter(after))
            assert judge(compiled, *states, release=release, previous_release=previous_release).fired


def test_each_state_is_searched_by_its_own_release(topic: Topics, table: Any, context: SearchContext) -> None:
    table.only["class"] = Release.R4
    query = QueryCriteria(previous="class=AMB", current="status=x", require_both=True)
    before = {**encounter("y"), "class": {"code": "AMB"}}
    change = (UPDATE, before, encounter("x"))
    compiled = triggers(topic, context, query=query)
    assert not judge(compiled, *change, release=Release.R5).fired
    assert judge(compiled, *change, release=Release.R5, previous_release=Release.R4).fired


@pytest.mark.parametrize(
    ("query", "state", "matches"),
    [
        ("status=a,b", {"status": "b"}, True),
        ("status=a&_id=1", {"status": "a", "id": "1"}, True),
        ("status=a&_id=1", {"status": "a", "id": "2"}, False),
        ("status:not=a", {"status": "b"}, True),
        ("Encounter?status=a", {"status": "a"}, True),
        ("?status=a", {"status": "a"}, True),
        ("class=http%3A%2F%2Fc%7CAMB", {"class": {"system": "http://c", "code": "AMB"}}, True),
        ("class=http://c|AMB", {"class": {"system": "http://c", "code": "AMB"}}, True),
        ("class=a+b", {"class": {"code": "a+b"}}, True),
        ("class=a%2Bb", {"class": {"code": "a+b"}}, True),
        ("class=%61+b", {"class": {"code": "a b"}}, True),
        ("date=ge2024-01-01T00:00:00+01:00", {"period": {"start": "2024-01-01"}}, True),
    ],
)
def test_a_query_is_read_encoded_or_plain(
    *, query: str, state: dict[str, Any], matches: bool, topic: Topics, context: SearchContext
) -> None:
    compiled = triggers(topic, context, query=QueryCriteria(current=query))
    assert judge(compiled, UPDATE, None, {"resourceType": "Encounter", **state}).fired is matches
    assert not judge(compiled, UPDATE, None, None).fired


@pytest.mark.parametrize(
    "query",
    ["nothing=1", "status", "", "status:in=x", "date=soon", "Patient?status=a", "patient.name=x", "_has=x"],
)
def test_a_query_that_cannot_be_evaluated_is_refused(query: str, context: SearchContext) -> None:
    with pytest.raises(BadTopic):
        compile_criteria(QueryCriteria(current=query), "Encounter", (Release.R4, Release.R4), context)


def test_a_check_reports_errors_and_doubtful_triggers(
    topic: Topics, table: Any, context: SearchContext
) -> None:
    every = frozenset(Interaction)
    table.only["class"] = Release.R4
    problems = list(
        check_triggers(
            topic(
                resource_triggers=(
                    ResourceTrigger("Encounter", every, QueryCriteria(current="nothing=1")),
                    ResourceTrigger("Encounter", every, fhirpath="a ="),
                    ResourceTrigger("Encounter", every, QueryCriteria(current="status=a"), "true"),
                    ResourceTrigger("Encounter", every, QueryCriteria(current="class=a")),
                )
            ),
            context,
        )
    )
    errors = [str(problem.location) for problem in problems if problem.is_error]
    assert errors == ["resource trigger[0] query criteria", "resource trigger[1] FHIRPath criteria"]
    warnings = [problem.text for problem in problems if not problem.is_error]
    assert len(warnings) == 3
    assert "either of them fires it" in warnings[0]


def test_a_chain_in_a_trigger_is_refused_with_its_reason(context: SearchContext) -> None:
    criteria = QueryCriteria(current="patient.name=x")
    with pytest.raises(BadTopic, match="not the resources that it refers to"):
        compile_criteria(criteria, "Encounter", (Release.R4, Release.R4), context)


def test_an_event_trigger_without_coding_is_a_warning(topic: Topics, context: SearchContext) -> None:
    (problem,) = check_triggers(topic(event_triggers=(EventTrigger("Encounter", ()),)), context)
    assert not problem.is_error
    assert str(problem) == "event trigger[0]: it has no coding: no event can fire it"
