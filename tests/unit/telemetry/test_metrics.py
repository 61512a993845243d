"""Metrics: their names, those of the process, and those that describe the store."""

from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.openmetrics import parser as openmetrics

from broker.telemetry import exposition, metrics
from broker.telemetry.exemplars import SharedExemplars
from broker.telemetry.store_metrics import (
    Backlogs,
    DeadLetterCounts,
    StoreCounts,
    StoreSize,
    SubscriptionBacklog,
    TenantBacklog,
)
from tests.metrics import process_page, store_page, total

COUNTS = StoreCounts(
    changes_accepted={"create": 3, "update": 4, "delete": 0},
    changes_matched=6,
    events_appended=12,
    events_delivered=5,
    events_given_up={"size": 1, "age": 0},
    notifications={("heartbeat", "delivered"): 2, ("event-notification", "refused"): 1},
    rollbacks=1,
    subscriptions={"active": 2, "error": 1, "off": 0},
    subscriptions_with_gaps=1,
    undelivered_events=7,
    dead_letters={"change": DeadLetterCounts(3, 10, 4, 2, 1), "event": DeadLetterCounts(0, 0, 0, 0, 0)},
    matcher_backlog={0: 7, 1: 0},
    backlogs=Backlogs(
        [
            SubscriptionBacklog("acme", "ward-3", 4, 61.5),
            SubscriptionBacklog("acme", 'with "quotes"', 2, 1.0),
        ],
        [TenantBacklog("acme", 6, 2)],
    ),
    size=StoreSize(900, 1_000, {"resource": 400, "outbox": 100}, 3_000, 8_000, 900),
)


def test_every_name_belongs_to_the_broker() -> None:
    page = process_page() + store_page(COUNTS)
    heads = [line for line in page.splitlines() if line.startswith("# HELP ")]
    assert heads
    assert all(line.removeprefix("# HELP ").startswith("broker_") for line in heads)


def test_no_metric_is_both_of_the_process_and_of_the_store() -> None:
    def names(page: str) -> set[str]:
        return {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE ")}

    assert not names(process_page()) & names(store_page(COUNTS))


def test_metrics_of_the_process_are_rendered() -> None:
    metrics.store_errors.inc()
    metrics.delivery_latency.observe(0.2)
    page = process_page()
    assert total(page, "broker_store_errors_total") == 1
    assert total(page, "broker_delivery_latency_seconds_count") == 1


def test_metrics_of_the_store_are_rendered_by_their_labels() -> None:
    page = store_page(COUNTS)
    assert total(page, "broker_changes_accepted_total", interaction="update") == 4
    assert total(page, "broker_changes_matched_total") == 6
    assert total(page, "broker_events_appended_total") == 12
    assert total(page, "broker_events_delivered_total") == 5
    assert total(page, "broker_events_given_up_total", reason="size") == 1
    assert total(page, "broker_notifications_total", type="heartbeat", outcome="delivered") == 2
    assert total(page, "broker_store_rollbacks_total") == 1
    assert total(page, "broker_subscriptions", status="active") == 2
    assert 'broker_subscriptions{status="off"} 0.0' in page
    assert total(page, "broker_subscriptions_with_gaps") == 1
    assert total(page, "broker_undelivered_events") == 7
    assert total(page, "broker_matcher_backlog", partition="0") == 7
    assert total(page, "broker_dead_letters", kind="change") == 3
    assert total(page, "broker_store_memory_bytes") == 900
    assert total(page, "broker_store_memory_limit_bytes") == 1_000
    assert total(page, "broker_store_key_bytes", kind="resource") == 400
    assert total(page, "broker_store_file_bytes") == 3_000
    assert total(page, "broker_store_disk_free_bytes") == 8_000
    assert total(page, "broker_store_rewrite_bytes") == 900
    assert total(page, "broker_dead_letters_created_total", kind="change") == 10
    assert total(page, "broker_dead_letters_settled_total", kind="change", result="discarded") == 2


def test_subscriptions_that_are_furthest_behind_have_series_of_their_own() -> None:
    page = store_page(COUNTS)
    assert total(page, "broker_subscription_undelivered_events", tenant="acme", subscription="ward-3") == 4
    assert total(page, "broker_subscription_undelivered_events", subscription='with "quotes"') == 2
    assert total(page, "broker_subscription_oldest_undelivered_seconds", subscription="ward-3") == 61.5
    assert total(page, "broker_tenant_undelivered_events", tenant="acme") == 6
    assert total(page, "broker_tenant_subscriptions", tenant="acme") == 2


def exemplars(page: bytes) -> dict[str, tuple[str, float]]:
    """The trace and the value of each exemplar of the latency, by the upper bound of its bucket."""
    return {
        sample.labels["le"]: (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for family in openmetrics.text_string_to_metric_families(page.decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar is not None
    }


def test_openmetrics_has_exemplars_and_the_text_format_none() -> None:
    metrics.observe_delivery(0.2, {"trace_id": "a" * 32})
    metrics.observe_delivery(0.21, None)
    metrics.observe_delivery(3.0, {"trace_id": "b" * 32})
    page, media_type = exposition.render("application/openmetrics-text; version=1.0.0", COUNTS)
    assert media_type.startswith("application/openmetrics-text; version=1.0.0")
    assert exemplars(page) == {"0.25": ("a" * 32, 0.2), "5.0": ("b" * 32, 3.0)}
    text, media_type = exposition.render("text/plain", COUNTS)
    assert media_type.startswith("text/plain; version=0.0.4")
    assert b"trace_id" not in text


def test_exemplars_of_several_workers_are_on_one_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "broker_delivery_latency_seconds"
    file = MmapedDict(str(tmp_path / "histogram_1.db"))  # type: ignore[no-untyped-call]
    keys = [mmap_key(name, f"{name}_sum", [], [], "help")]
    keys += [mmap_key(name, f"{name}_bucket", ["le"], [bound], "help") for bound in ("0.25", "5.0", "+Inf")]
    for key in keys:
        file.write_value(key, 2.0, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]
    monkeypatch.setenv(metrics.SHARED_DIRECTORY, str(tmp_path))
    workers = [SharedExemplars(tmp_path, (0.25, 5.0), pid) for pid in (1, 2)]
    for worker, letter, seconds in ((workers[0], "a", 0.2), (workers[1], "b", 0.21)):
        worker.keep(seconds, {"trace_id": letter * 32})
    page, _ = exposition.render("application/openmetrics-text", None)
    assert exemplars(page) == {"0.25": ("b" * 32, 0.21)}


def write_value(file: Path, name: str, value: float) -> None:
    """Adds a value to a worker's file, as prometheus_client does in the worker."""
    values = MmapedDict(str(file))  # type: ignore[no-untyped-call]
    values.write_value(mmap_key(name, name, [], [], "help"), value, 0.0)  # type: ignore[no-untyped-call]
    values.close()  # type: ignore[no-untyped-call]


def test_a_worker_that_is_just_creating_its_files_does_not_break_the_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_value(tmp_path / "counter_1.db", "broker_things_total", 2.0)
    write_value(tmp_path / "counter_2.db", "broker_things_total", 3.0)
    (tmp_path / "counter_3.db").touch()  # opened
    (tmp_path / "histogram_3.db").write_bytes(bytes(1 << 16))  # extended, and still without a value
    monkeypatch.setenv(metrics.SHARED_DIRECTORY, str(tmp_path))
    page = process_page()
    assert total(page, "broker_things_total") == 5
    write_value(tmp_path / "counter_3.db", "broker_things_total", 4.0)
    assert total(process_page(), "broker_things_total") == 9


def test_the_current_values_of_a_worker_that_ended_are_forgotten_and_its_counts_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for worker in (1, 2):
        write_value(tmp_path / f"counter_{worker}.db", "broker_things_total", 1.0)
        write_value(tmp_path / f"gauge_livemax_{worker}.db", "broker_lag_seconds", 10.0 * worker)
    monkeypatch.setenv(metrics.SHARED_DIRECTORY, str(tmp_path))
    assert total(process_page(), "broker_lag_seconds") == 20
    metrics.forget_process(2, tmp_path)
    page = process_page()
    assert total(page, "broker_lag_seconds") == 10
    assert total(page, "broker_things_total") == 2
