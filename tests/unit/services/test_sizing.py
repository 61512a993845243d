"""The estimate is arithmetic on the measured figures, and the advice follows from it."""

import json

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.services import sizing
from broker.services.sizing import Load, estimate, figure, processes, serve_cores

WEEK_S = 7 * 86_400


def amounts(load: Load) -> dict[str, float]:
    return {need.what: need.amount for need in estimate(load)}


def test_memory_is_the_readings_of_the_retention_by_what_each_takes() -> None:
    load = Load(10, WEEK_S, 0, matches=2, has_search=False)
    kept = 10 * WEEK_S
    found = amounts(load)
    each = figure("resource_memory") + figure("change_memory") + figure("other_memory")
    assert found["store memory"] == kept * (each + 2 * figure("event_memory"))
    assert found["disk of the store"] == 3 * found["store memory"]
    searched = amounts(Load(10, WEEK_S, 0, matches=2))
    assert searched["store memory"] - found["store memory"] == kept * figure("index_memory")


def test_the_audit_trail_has_an_attempt_for_each_event_and_a_retention_of_its_own() -> None:
    year = 365 * 86_400
    found = amounts(Load(1, 60, 0, matches=3, audit_s=year))
    assert found["store memory: audit trail"] == year * figure("audit_memory") * 2
    assert "store memory: audit trail" not in amounts(Load(1, 60, 0))


def test_subscriptions_count_in_the_store_and_in_each_matcher() -> None:
    found = amounts(Load(0, WEEK_S, 1_000))
    in_store = figure("subscription_memory") + figure("attempts_memory")
    assert found["store memory"] == 1_000 * in_store
    assert found["memory of each matcher"] == 1_000 * figure("matcher_memory")
    assert found["start of a matcher"] == pytest.approx(1_000 * figure("matcher_start") / 1e6)


def test_one_process_is_enough_until_it_needs_half_of_a_core() -> None:
    edge = 0.5e6 / figure("serve_time")
    assert serve_cores(Load(edge, 60, 0)) == pytest.approx(0.5)
    assert processes(Load(edge * 0.99, 60, 0)).serve == 1
    assert processes(Load(edge * 1.01, 60, 0)).serve == 0
    assert processes(Load(100, 60, 0, matches=50)).serve == 0, "deliveries count too"


def test_each_role_gets_as_many_processes_as_need_less_than_half_of_a_core() -> None:
    found = processes(Load(2_000, 60, 0, matches=2))
    assert found.api == 2, "0.87 of a core"
    assert found.match == 1, "0.38 of a core"
    assert found.dispatch == 6, "2.64 cores"
    assert found.primaries == 4, "1.86 cores of the store"


def test_every_figure_has_a_unit_and_a_sentence() -> None:
    for row in sizing.figures().values():
        assert row.value > 0
        assert row.unit in {"µs", "bytes"}
        assert row.sentence


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["size", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_shows_the_lines_and_says_what_to_run() -> None:
    small = run("--readings", "36000/h", "--subscriptions", "50", "--audit-retention", "off")
    assert "Run one `fhir-broker serve`" in small
    assert "audit trail" not in small
    large = run("--readings", "5000/s", "--subscriptions", "20000", "--matches", "2")
    assert "5 × api, 2 × match and 14 × dispatch on a Redis Cluster of 10 primaries" in large
    assert "More than half of the store's memory is the audit trail." in large
    assert "More than 64 GiB is much for one server." in large


def test_json_has_numbers_without_rounding() -> None:
    document = json.loads(run("--readings", "1/min", "--subscriptions", "1", "--json"))
    by_name = {need["what"]: need for need in document["needs"]}
    assert by_name["processor: api"]["amount"] == pytest.approx(figure("api_time") / 60e6)
    assert document["processes"]["serve"] == 1


@pytest.mark.parametrize(
    "arguments",
    [["--readings", "500"], ["--readings", "5/s", "--retention", "a week"], ["--readings", "x/s"]],
)
def test_what_is_no_rate_or_duration_is_reported(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["size", "--subscriptions", "1", *arguments])
    assert str(done.exception).startswith(arguments[-2])
