"""When a topic fires: the truth table, the encodings of a query, and what is refused."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from broker.matching.triggers import BadTopic, TopicTriggers, check_triggers, compile_query
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.search import ParameterTable
from broker.model.topic import Coding, EventTrigger, QueryCriteria, ResourceTrigger, Topic

CREATE, UPDATE, DELETE = Interaction.CREATE, Interaction.UPDATE, Interaction.DELETE
Topics = Callable[..., Topic]
TABLE_ROWS = list(product(list(Interaction), [None, True, False], [None, True, False], [True, False]))


def encounter(status: str) -> dict[str, Any]:
    return {"resourceType": "Encounter", "status": status}


def triggers(topic: Topics, table: ParameterTable, **more: Any) -> TopicTriggers:
    trigger = ResourceTrigger("Encounter", frozenset(Interaction), **more)
    return TopicTriggers(topic(resource_triggers=(trigger,)), table)


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
    table: ParameterTable,
) -> None:
    query = QueryCriteria("status=old", "status=new", for_create, for_delete, both)
    before = None if interaction is CREATE else encounter("old" if passed_before else "x")
    after = None if interaction is DELETE else encounter("new" if passes_after else "x")
    verdict = triggers(topic, table, query=query).judge(interaction, Release.R4, "Encounter", before, after)
    left = for_create is True if interaction is CREATE else passed_before
    right = for_delete is True if interaction is DELETE else passes_after
    assert verdict.fired is ((left and right) if both else (left or right))
    assert not verdict.failures


@pytest.mark.parametrize("both", [True, False])
def test_a_test_the_topic_leaves_out_is_ignored(*, both: bool, topic: Topics, table: ParameterTable) -> None:
    after = triggers(topic, table, query=QueryCriteria(current="status=new", require_both=both))
    before = triggers(topic, table, query=QueryCriteria(previous="status=old", require_both=both))
    for status in ("old", "new"):
        states = (UPDATE, Release.R4, "Encounter", encounter(status), encounter(status))
        assert after.judge(*states).fired is (status == "new")
        assert before.judge(*states).fired is (status == "old")


@pytest.mark.parametrize("current", ["status=x", "status=other", None])
@pytest.mark.parametrize(("result", "both"), list(product([None, True, False], [True, False])))
def test_a_result_for_create_counts_without_a_previous_query(
    *, current: str | None, result: bool | None, both: bool, topic: Topics, table: ParameterTable
) -> None:
    query = QueryCriteria(current=current, result_for_create=result, require_both=both)
    fired = triggers(topic, table, query=query).judge(CREATE, Release.R4, "Encounter", None, encounter("x"))
    asked = [one for one in (result, None if current is None else current == "status=x") if one is not None]
    assert fired == ((all(asked) if both else any(asked)) if asked else True, ())


@pytest.mark.parametrize("previous", ["status=x", "status=other", None])
@pytest.mark.parametrize(("result", "both"), list(product([None, True, False], [True, False])))
def test_a_result_for_delete_counts_without_a_current_query(
    *, previous: str | None, result: bool | None, both: bool, topic: Topics, table: ParameterTable
) -> None:
    query = QueryCriteria(previous=previous, result_for_delete=result, require_both=both)
    fired = triggers(topic, table, query=query).judge(DELETE, Release.R4, "Encounter", encounter("x"), None)
    asked = [one for one in (None if previous is None else previous == "status=x", result) if one is not None]
    assert fired == ((all(asked) if both else any(asked)) if asked else True, ())


def test_results_that_pass_or_fail_decide_every_create(topic: Topics, table: ParameterTable) -> None:
    for status in ("new", "old"):
        created = (CREATE, Release.R4, "Encounter", None, encounter(status))
        passing = QueryCriteria(current="status=new", result_for_create=True)
        failing = QueryCriteria(current="status=new", result_for_create=False, require_both=True)
        assert triggers(topic, table, query=passing).judge(*created).fired
        assert not triggers(topic, table, query=failing).judge(*created).fired


def test_a_result_for_create_says_nothing_about_an_update(topic: Topics, table: ParameterTable) -> None:
    query = QueryCriteria(current="status=new", result_for_create=False, require_both=True)
    compiled = triggers(topic, table, query=query)
    assert compiled.judge(UPDATE, Release.R4, "Encounter", encounter("old"), encounter("new")).fired
    assert not compiled.judge(DELETE, Release.R4, "Encounter", encounter("new"), None).fired


ADMIT, DISCHARGE = Coding("http://v2", "A01", "Admit"), Coding("http://v2", "A03")


@pytest.mark.parametrize(
    ("said", "resource_type", "fires"),
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
    *, said: list[Coding], resource_type: str, fires: bool, topic: Topics, table: ParameterTable
) -> None:
    events = (
        EventTrigger("Encounter", (ADMIT, DISCHARGE)),
        EventTrigger("Resource", (Coding(None, "any"),)),
    )
    compiled = TopicTriggers(topic(event_triggers=events), table)
    assert compiled.judge_event(said, resource_type) is fires


def test_a_previous_state_no_longer_stored_passes_no_test(topic: Topics, table: ParameterTable) -> None:
    query = QueryCriteria(previous="status:not=new", current="status=new", require_both=True)
    verdict = triggers(topic, table, query=query).judge(
        UPDATE, Release.R4, "Encounter", None, encounter("new")
    )
    assert not verdict.fired


def test_without_criteria_each_listed_interaction_fires(topic: Topics, table: ParameterTable) -> None:
    trigger = ResourceTrigger("Encounter", frozenset({CREATE}))
    compiled = TopicTriggers(topic(resource_triggers=(trigger,)), table)
    assert compiled.judge(CREATE, Release.R4, "Encounter", None, encounter("x")).fired
    assert not compiled.judge(UPDATE, Release.R4, "Encounter", encounter("x"), encounter("x")).fired
    assert not compiled.judge(CREATE, Release.R4, "Patient", None, {"resourceType": "Patient"}).fired
    assert compiled.concerns("Encounter", CREATE)
    assert not compiled.concerns("Encounter", DELETE)


def test_resource_means_every_type(topic: Topics, table: ParameterTable) -> None:
    trigger = ResourceTrigger("Resource", frozenset(Interaction), QueryCriteria(current="_id=1"))
    compiled = TopicTriggers(topic(resource_triggers=(trigger,)), table)
    for kind in ("Patient", "Encounter"):
        assert compiled.judge(CREATE, Release.R4, kind, None, {"resourceType": kind, "id": "1"}).fired


def test_criteria_are_evaluated_for_the_listed_interactions_only(
    topic: Topics, table: ParameterTable
) -> None:
    failing = ResourceTrigger("Encounter", frozenset({CREATE}), fhirpath="%current.status")
    compiled = TopicTriggers(topic(resource_triggers=(failing,)), table)
    assert compiled.judge(CREATE, Release.R4, "Encounter", None, encounter("x")).failures
    updated = compiled.judge(UPDATE, Release.R4, "Encounter", encounter("x"), encounter("x"))
    assert (updated.fired, updated.failures) == (False, ())


def test_either_query_or_fhirpath_fires(topic: Topics, table: ParameterTable) -> None:
    compiled = triggers(
        topic, table, query=QueryCriteria(current="status=a"), fhirpath="%current.status = 'b'"
    )
    fired = {
        status: compiled.judge(CREATE, Release.R4, "Encounter", None, encounter(status)).fired
        for status in "abc"
    }
    assert fired == {"a": True, "b": True, "c": False}


def test_a_failing_trigger_is_reported_and_keeps_no_other_from_firing(
    topic: Topics, table: ParameterTable
) -> None:
    both = frozenset(Interaction)
    failing = ResourceTrigger("Encounter", both, fhirpath="%current.status")
    firing = ResourceTrigger("Encounter", both)
    change = (CREATE, Release.R4, "Encounter", None, encounter("x"))
    alone = TopicTriggers(topic(resource_triggers=(failing,)), table).judge(*change)
    together = TopicTriggers(topic(resource_triggers=(failing, firing)), table).judge(*change)
    assert not alone.fired
    assert together.fired
    assert alone.failures == together.failures != ()


def test_a_release_without_the_parameter_never_fires_and_says_so_once(topic: Topics, table: Any) -> None:
    table.only["status"] = Release.R5
    compiled = triggers(topic, table, query=QueryCriteria(current="status=x"))
    first, second = (compiled.judge(CREATE, Release.R4, "Encounter", None, encounter("x")) for _ in range(2))
    assert not first.fired
    assert first.failures
    assert second == (False, ())
    assert compiled.judge(CREATE, Release.R5, "Encounter", None, encounter("x")).fired


def test_each_state_is_searched_by_its_own_release(topic: Topics, table: Any) -> None:
    table.only["class"] = Release.R4
    query = QueryCriteria(previous="class=AMB", current="status=x", require_both=True)
    before = {**encounter("y"), "class": {"code": "AMB"}}
    change = (UPDATE, Release.R5, "Encounter", before, encounter("x"))
    compiled = triggers(topic, table, query=query)
    assert not compiled.judge(*change).fired
    assert compiled.judge(*change, previous_release=Release.R4).fired


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
    *, query: str, state: dict[str, Any], matches: bool, table: ParameterTable
) -> None:
    test = compile_query(query, "Encounter", Release.R4, table)
    assert test({"resourceType": "Encounter", **state}) is matches
    assert not test(None)


@pytest.mark.parametrize(
    "query",
    ["nothing=1", "status", "", "status:in=x", "date=soon", "Patient?status=a", "patient.name=x", "_has=x"],
)
def test_a_query_that_cannot_be_evaluated_is_refused(query: str, table: ParameterTable) -> None:
    with pytest.raises(BadTopic):
        compile_query(query, "Encounter", Release.R4, table)


def test_checking_names_errors_and_doubtful_triggers(topic: Topics, table: Any) -> None:
    every = frozenset(Interaction)
    table.only["class"] = Release.R4
    errors, warnings = check_triggers(
        topic(
            resource_triggers=(
                ResourceTrigger("Encounter", every, QueryCriteria(current="nothing=1")),
                ResourceTrigger("Encounter", every, fhirpath="a ="),
                ResourceTrigger("Encounter", every, QueryCriteria(current="status=a"), "true"),
                ResourceTrigger("Encounter", every, QueryCriteria(current="class=a")),
            )
        ),
        table,
    )
    assert [one.split(":")[0] for one in errors] == [
        "resourceTrigger[0].queryCriteria",
        "resourceTrigger[1].fhirPathCriteria",
    ]
    assert len(warnings) == 3
    assert "either one" in warnings[0]


def test_a_chain_in_a_trigger_is_refused_with_its_reason(table: ParameterTable) -> None:
    with pytest.raises(BadTopic, match="not those it refers to"):
        compile_query("patient.name=x", "Encounter", Release.R4, table)


def test_an_event_trigger_without_coding_is_told_to_its_author(topic: Topics, table: ParameterTable) -> None:
    errors, warnings = check_triggers(topic(event_triggers=(EventTrigger("Encounter", ()),)), table)
    assert errors == []
    assert warnings == ["eventTrigger[0] has no coding: no event can fire it"]
