"""Spans: what this process did for a request, a change or a notification, in the trace of its producer.

A span is recorded when it ends, if its trace is sampled or if it failed. Whether a trace is sampled depends
on its id alone, so all processes with the same ratio agree about it, and no producer decides how much is
recorded (decision 356). Spans have no content of resources, no ids of them and no secrets. What is recorded
waits in a `SpanQueue` for the exporter (`workers/trace_exporter.py`). Without tracing, a `Span` passes on the
trace that it is given.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from enum import Enum

from broker.model.trace import is_sampled, parent_id, trace_id
from broker.telemetry import metrics

MAX_WAITING = 8_192
"""Spans that wait for the collector; more are dropped, and counted."""
BATCH = 512
Value = str | int | float | bool


class SpanKind(Enum):
    """What OpenTelemetry calls the kind of a span."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    CONSUMER = "consumer"


class Span:
    """An operation that nobody records. `traceparent` is what the next operation gets; '' without a trace."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def set(self, name: str, value: Value) -> None:
        """Sets an attribute."""

    def link(self, traceparent: str) -> None:
        """Refers to a span of another trace."""

    def fail(self, error_type: str, text: str = "") -> None:
        """The operation failed: the span is recorded. `error_type` is one of few."""

    def end(self) -> None:
        """Call it once."""


class RecordedSpan(Span):
    """An operation that is recorded when it ends, if its trace is sampled or it failed. Times are in
    nanoseconds since 1970.
    """

    __slots__ = (
        "_put",
        "attributes",
        "ended_ns",
        "error",
        "is_sampled",
        "kind",
        "links",
        "name",
        "parent_id",
        "span_id",
        "started_ns",
        "trace_id",
    )

    def __init__(
        self, name: str, kind: SpanKind, parent: str, bound: int, put: Callable[["RecordedSpan"], None]
    ) -> None:
        self.name, self.kind = name, kind
        self.trace_id = trace_id(parent) or f"{random.getrandbits(128) | 1:032x}"
        self.parent_id = parent_id(parent)
        self.span_id = f"{random.getrandbits(64) | 1:016x}"
        self.is_sampled = _number(self.trace_id) < bound
        # a producer that records the trace asks the receivers behind the broker to record it too
        flags = "01" if self.is_sampled or is_sampled(parent) else "00"
        super().__init__(f"00-{self.trace_id}-{self.span_id}-{flags}")
        self.attributes: dict[str, Value] = {}
        self.links: list[str] = []
        self.error: str | None = None
        self.started_ns, self.ended_ns = time.time_ns(), 0
        self._put = put

    def set(self, name: str, value: Value) -> None:
        self.attributes[name] = value

    def link(self, traceparent: str) -> None:
        self.links.append(traceparent)

    def fail(self, error_type: str, text: str = "") -> None:
        self.error = text
        self.attributes["error.type"] = error_type

    def end(self) -> None:
        self.ended_ns = time.time_ns()
        if self.is_sampled or self.error is not None:
            self._put(self)


class Tracer:
    """Starts spans; without `put`, tracing is off. `ratio` of all traces is sampled."""

    def __init__(self, ratio: float = 0.0, put: Callable[[RecordedSpan], None] | None = None) -> None:
        self._bound = round(ratio * 2**64)
        self._put = put

    @property
    def is_on(self) -> bool:
        return self._put is not None

    def samples(self, traceparent: str) -> bool:
        """Whether spans of the trace are recorded."""
        return self.is_on and bool(traceparent) and _number(trace_id(traceparent)) < self._bound

    def exemplar(self, traceparent: str) -> dict[str, str] | None:
        """The labels by which a measurement names the trace, if it is recorded: here, or, without tracing, by
        its producer.
        """
        if not traceparent:
            return None
        is_recorded = self.samples(traceparent) if self.is_on else is_sampled(traceparent)
        return {"trace_id": trace_id(traceparent)} if is_recorded else None

    def start(self, name: str, kind: SpanKind, parent: str) -> Span:
        """A span below `parent`, a traceparent; the first of a new trace if that is ''."""
        if self._put is None:
            return Span(parent)
        return RecordedSpan(name, kind, parent, self._bound, self._put)


def _number(trace: str) -> int:
    """What is compared: the half of the id that is random in every version of the specification."""
    return int(trace[16:], 16)


OFF = Tracer()
NO_SPAN = Span("")


class SpanQueue:
    """Spans that wait for the exporter. `has_batch` is set while there are enough for a request."""

    def __init__(self, capacity: int = MAX_WAITING) -> None:
        self._waiting: deque[RecordedSpan] = deque()
        self._capacity = capacity
        self.has_batch = asyncio.Event()

    def put(self, span: RecordedSpan) -> None:
        """Never waits: a span too many is dropped."""
        if len(self._waiting) >= self._capacity:
            metrics.trace_spans.labels("dropped").inc()
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH:
            self.has_batch.set()

    def take(self) -> list[RecordedSpan]:
        """The oldest, at most a batch."""
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        if len(self._waiting) < BATCH:
            self.has_batch.clear()
        return batch
