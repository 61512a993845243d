"""Metrics of this process, by name. `store_metrics.py` has those that describe the store.

`serve --workers N` sets SHARED_DIRECTORY for its workers. prometheus_client then keeps the numbers of each
process in files of that directory, and `collect` returns the sums over all workers, also those that have
ended. So `/metrics` is the same whichever worker answers it.
"""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from broker.telemetry.exemplars import SharedExemplars, with_exemplars

SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that prometheus_client reads when it is imported."""
REGISTRY = CollectorRegistry(auto_describe=True)
_LATENCIES_S = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200, 259_200
)  # fmt: skip

intake_refused = Counter(
    "broker_intake_refused",
    "Requests answered 503: the store has no room, or the broker is overloaded.",
    registry=REGISTRY,
)
readings = Counter(
    "broker_readings",
    "Payloads of devices, by what became of them: accepted, duplicate, quarantined or refused.",
    ["status"],
    registry=REGISTRY,
)
limit_refusals = Counter(
    "broker_limit_refusals",
    "Requests answered 413 or 429, and handshakes postponed, by the limit that was reached.",
    ["limit"],
    registry=REGISTRY,
)
delivery_latency = Histogram(
    "broker_delivery_latency_seconds",
    "From the acceptance of a change to the endpoint's 2xx, for each event.",
    buckets=_LATENCIES_S,
    registry=REGISTRY,
)
event_loop_lag = Histogram(
    "broker_event_loop_lag_seconds",
    "How late the event loop of a process ran a callback that is due ten times a second.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=REGISTRY,
)
intake_delay = Counter(
    "broker_intake_delay_seconds",
    "How long commits of accepted changes waited because the broker was behind.",
    registry=REGISTRY,
)
lag = Gauge(
    "broker_lag_seconds",
    "How far the workers of this process are behind with changes and events, by no fault of a subscriber.",
    ["worker"],
    multiprocess_mode="livemax",
    registry=REGISTRY,
)
http_requests = Counter(
    "broker_http_requests",
    "Answered HTTP requests by the row of the route, such as /{release}/{type}/{id}; unmatched fits no row.",
    ["method", "route", "status"],
    registry=REGISTRY,
)
http_duration = Histogram(
    "broker_http_duration_seconds",
    "From the head of an HTTP request to the head of its answer, by the row of the route.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
trace_spans = Counter(
    "broker_trace_spans",
    "Recorded spans: sent; dropped, because too many waited; refused by the collector; lost at a stop.",
    ["result"],
    registry=REGISTRY,
)
mqtt_messages = Counter(
    "broker_mqtt_messages",
    "Readings of the MQTT source, by what became of them; no-rule, lost and failed did not reach the intake.",
    ["result"],
    registry=REGISTRY,
)
store_errors = Counter("broker_store_errors", "Requests to the store that failed.", registry=REGISTRY)


def observe_delivery(seconds: float, exemplar: dict[str, str] | None) -> None:
    """Measures the way of one event; `exemplar` names its trace, if that is recorded."""
    delivery_latency.observe(seconds, exemplar)
    if exemplar is not None and (shared := _shared_exemplars()) is not None:
        shared.keep(seconds, exemplar)


@cache
def _shared_exemplars() -> SharedExemplars | None:
    """None unless there are several workers. The file of the metric that it belongs to is as old."""
    if SHARED_DIRECTORY not in os.environ:
        return None
    return SharedExemplars(Path(os.environ[SHARED_DIRECTORY]), _LATENCIES_S, os.getpid())


def collect() -> Iterable[Metric]:
    """All metrics of this process, or of all workers."""
    if SHARED_DIRECTORY not in os.environ:
        return REGISTRY.collect()
    return _Workers(Path(os.environ[SHARED_DIRECTORY])).collect()


def forget_process(pid: int, directory: Path) -> None:
    """Removes the current values (lags) of a worker that has ended; what it counted stays in the sums."""
    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped


class _Workers(Collector):
    """Reads the files of all workers.

    A file that a worker has just created is empty for a moment. It has no value yet, and prometheus_client
    fails to read it; so it is left out.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        files = [str(file) for file in self._directory.glob("*.db") if not _is_empty(file)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        for metric in merged:
            is_latency = metric.name == "broker_delivery_latency_seconds"
            yield with_exemplars(metric, self._directory) if is_latency else metric


def _is_empty(file: Path) -> bool:
    try:
        return file.stat().st_size == 0
    except FileNotFoundError:  # of a worker that has ended
        return True
