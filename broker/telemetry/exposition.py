"""The page of `/metrics`: in the format of OpenMetrics, which has exemplars, if the request prefers it; else
in Prometheus's text format.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from broker.telemetry import metrics, store_metrics
from broker.telemetry.store_metrics import StoreCounts


def render(accept: str, counts: StoreCounts | None) -> tuple[bytes, str]:
    """The page and its media type. Without `counts`, the metrics of the store are absent."""
    registry = CollectorRegistry()
    registry.register(_Page(counts))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Page(Collector):
    def __init__(self, counts: StoreCounts | None) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        yield from metrics.collect()
        if self._counts is not None:
            yield from store_metrics.collect(self._counts)
