"""Metrics of this process, by name. `store_metrics.py` has those that describe the store.

`serve --workers N` sets SHARED_DIRECTORY for its workers. prometheus_client then keeps the numbers of each
process in files of that directory, and `render` returns the sums over all workers, also those that have
ended. So `/metrics` is the same whichever worker answers it.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that prometheus_client reads when it is imported."""
REGISTRY = CollectorRegistry(auto_describe=True)

intake_refused = Counter(
    "broker_intake_refused",
    "Requests answered 503: the store has no room, or the broker is overloaded.",
    registry=REGISTRY,
)
delivery_latency = Histogram(
    "broker_delivery_latency_seconds",
    "From the acceptance of a change to the endpoint's 2xx, per event.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200, 259_200),
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
store_errors = Counter("broker_store_errors", "Requests to the store that failed.", registry=REGISTRY)


def render() -> bytes:
    """All metrics of this process, or of all workers, in Prometheus's text format."""
    if SHARED_DIRECTORY not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
    return generate_latest(registry)
