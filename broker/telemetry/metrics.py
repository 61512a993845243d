"""Metrics of this process, by name. `store_metrics.py` has those that describe the store, which all processes
answer alike.

They live in a registry of their own; `/metrics` answers both (`render`).
"""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

REGISTRY = CollectorRegistry(auto_describe=True)

intake_refused = Counter(
    "broker_intake_refused", "Requests answered 503 because the store had no room.", registry=REGISTRY
)
delivery_latency = Histogram(
    "broker_delivery_latency_seconds",
    "From the acceptance of a change to the endpoint's 2xx, per event.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200, 259_200),
    registry=REGISTRY,
)
store_errors = Counter("broker_store_errors", "Requests to the store that failed.", registry=REGISTRY)


def render() -> bytes:
    """All metrics in Prometheus's text format."""
    return generate_latest(REGISTRY)
