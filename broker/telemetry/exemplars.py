"""Exemplars of several workers: prometheus_client keeps none in its shared files.

Each worker writes its newest exemplars of a histogram into a file of the shared directory, at most once a
second; who answers a scrape adds those of all workers to the merged buckets.
"""

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.samples import Exemplar, Sample

WRITE_EVERY_S = 1.0


class _Kept(NamedTuple):
    """An exemplar, and when it was measured, in seconds since 1970."""

    labels: Mapping[str, str]
    value: float
    at_s: float


class SharedExemplars:
    """The exemplars of this worker, by the upper bound of their bucket."""

    def __init__(self, directory: Path, bounds: Iterable[float], pid: int) -> None:
        self._file = directory / f"exemplars_{pid}.json"
        self._bounds = tuple(bounds)
        self._kept: dict[float, _Kept] = {}
        self._written_s = 0.0

    def keep(self, value: float, labels: Mapping[str, str]) -> None:
        """The newest of a bucket counts."""
        bound = next((bound for bound in self._bounds if value <= bound), float("inf"))
        now_s = time.time()
        self._kept[bound] = _Kept(labels, value, now_s)
        if now_s - self._written_s >= WRITE_EVERY_S:
            self._written_s = now_s
            self._write()

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps([[bound, *kept] for bound, kept in self._kept.items()]))
        new.replace(self._file)  # a scrape reads the old file or the new one


def with_exemplars(metric: Metric, directory: Path) -> Metric:
    """The merged histogram with the newest exemplar of each bucket."""
    newest = _read(directory)
    samples = []
    for sample in metric.samples:
        kept = newest.get(float(sample.labels["le"])) if "le" in sample.labels else None
        if kept is not None and sample.value:
            exemplar = Exemplar(dict(kept.labels), kept.value, kept.at_s)
            samples.append(Sample(sample.name, sample.labels, sample.value, sample.timestamp, exemplar))
        else:
            samples.append(sample)
    metric.samples = samples
    return metric


def _read(directory: Path) -> dict[float, _Kept]:
    newest: dict[float, _Kept] = {}
    for file in directory.glob("exemplars_*.json"):
        for bound, labels, value, at_s in json.loads(file.read_text()):
            if bound not in newest or newest[bound].at_s < at_s:
                newest[bound] = _Kept(labels, value, at_s)
    return newest
