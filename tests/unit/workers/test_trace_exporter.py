"""The exporter of spans: what it sends, sends again, and loses."""

import asyncio
from collections.abc import Sequence

import pytest

from broker.egress.http import HttpFailure, HttpResponse
from broker.telemetry.tracing import BATCH, RecordedSpan, SpanKind, SpanQueue, Tracer
from broker.workers import trace_exporter
from broker.workers.trace_exporter import TraceExporter
from tests.metrics import process_page, total

URL = "http://collector:4318/v1/traces"


class FakeCollector:
    """Answers in turn, then with 200; `called` is set with each request."""

    def __init__(self, *answers: int | HttpFailure) -> None:
        self._answers = list(answers)
        self.bodies: list[bytes] = []
        self.headers: tuple[tuple[str, str], ...] = ()
        self.called = asyncio.Event()

    async def post(
        self,
        url: str,
        *,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        timeout_s: float,
        attempt_headers: tuple[tuple[str, str], ...] = (),
        tenant: str = "",
    ) -> HttpResponse | HttpFailure:
        assert url == URL
        self.bodies.append(body)
        self.headers = headers
        self.called.set()
        answer = self._answers.pop(0) if self._answers else 200
        return HttpResponse(answer, None, b"") if isinstance(answer, int) else answer


def encode(spans: Sequence[RecordedSpan]) -> bytes:
    return ",".join(span.name for span in spans).encode()


def spans_of(result: str) -> float:
    return total(process_page(), "broker_trace_spans_total", result=result)


async def exported(collector: FakeCollector, *names: str, calls: int = 1) -> None:
    """Runs an exporter until the collector got so many requests, and then stops it."""
    queue, stop = SpanQueue(), asyncio.Event()
    for name in names:
        Tracer(1.0, queue.put).start(name, SpanKind.INTERNAL, "").end()
    exporter = TraceExporter(queue, encode, collector.post, URL, (("Authorization", "Bearer s"),), stop)
    async with asyncio.timeout(60):
        running = asyncio.create_task(exporter.run())
        while len(collector.bodies) < calls:
            collector.called.clear()
            await collector.called.wait()
        stop.set()
        await running


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_exporter, "INTERVAL_S", 0.01)
    monkeypatch.setattr(trace_exporter, "_MIN_PAUSE_S", 0.01)


async def test_spans_are_sent_together_with_the_headers_of_the_operator() -> None:
    collector = FakeCollector()
    await exported(collector, "a", "b")
    assert collector.bodies == [b"a,b"]
    assert collector.headers == (("Content-Type", "application/x-protobuf"), ("Authorization", "Bearer s"))
    assert spans_of("sent") == 2


async def test_a_collector_that_is_away_gets_the_same_request_again() -> None:
    collector = FakeCollector(HttpFailure("no-response", "no connection"), 503, 429, 200)
    await exported(collector, "a", calls=4)
    assert collector.bodies == [b"a"] * 4
    assert (spans_of("sent"), spans_of("lost")) == (1, 0)


async def test_what_a_collector_refuses_is_not_sent_again() -> None:
    collector = FakeCollector(400)
    await exported(collector, *["a"] * BATCH, "b", calls=2)
    assert [body[-1:] for body in collector.bodies] == [b"a", b"b"]
    assert (spans_of("refused"), spans_of("sent")) == (BATCH, 1)


async def test_a_stop_does_not_wait_for_a_collector_that_is_away() -> None:
    collector = FakeCollector(*[503] * 100)
    await exported(collector, *["a"] * BATCH, *["b"] * BATCH, *["c"] * BATCH)
    assert {body[:1] for body in collector.bodies} == {b"a"}, (
        "after one that did not arrive, no other is tried"
    )
    assert spans_of("lost") == 3 * BATCH
