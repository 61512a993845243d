"""Spans: which are recorded, what they pass on, and how many wait."""

from broker.model.trace import is_sampled, parent_id, parse_traceparent, trace_id
from broker.telemetry.tracing import BATCH, OFF, RecordedSpan, SpanKind, SpanQueue, Tracer
from tests.metrics import process_page, total

LOW, HIGH = "4bf92f3577b34da60000000000000001", "4bf92f3577b34da6ffffffffffffffff"


def parent(trace: str, flags: str = "00") -> str:
    return f"00-{trace}-00f067aa0ba902b7-{flags}"


def test_all_processes_sample_the_same_traces_whatever_the_producer_asks_for() -> None:
    recorded: list[RecordedSpan] = []
    tracers = [Tracer(0.25, recorded.append), Tracer(0.25, recorded.append)]
    for tracer in tracers:
        for trace in (LOW, HIGH):
            span = tracer.start("match", SpanKind.CONSUMER, parent(trace, "01"))
            assert is_sampled(span.traceparent), "the producer's wish is passed on"
            span.end()
        assert tracer.samples(parent(LOW))
        assert not tracer.samples(parent(HIGH))
    assert [span.trace_id for span in recorded] == [LOW, LOW]


def test_a_ratio_of_one_samples_every_trace_and_one_of_zero_none() -> None:
    recorded: list[RecordedSpan] = []
    for ratio in (0.0, 1.0):
        Tracer(ratio, recorded.append).start("match", SpanKind.CONSUMER, parent(HIGH)).end()
        Tracer(ratio, recorded.append).start("match", SpanKind.CONSUMER, parent(LOW[:-1] + "0")).end()
    assert len(recorded) == 2


def test_a_span_that_failed_is_recorded_although_its_trace_is_not_sampled() -> None:
    recorded: list[RecordedSpan] = []
    tracer = Tracer(0.0, recorded.append)
    tracer.start("send", SpanKind.CLIENT, parent(HIGH)).end()
    span = tracer.start("send", SpanKind.CLIENT, parent(HIGH))
    span.fail("refused", "the endpoint answered 503")
    span.end()
    assert [(each.error, each.attributes) for each in recorded] == [
        ("the endpoint answered 503", {"error.type": "refused"})
    ]


def test_a_span_is_the_child_of_its_parent_and_the_parent_of_what_follows() -> None:
    recorded: list[RecordedSpan] = []
    tracer = Tracer(1.0, recorded.append)
    first = tracer.start("deliver", SpanKind.CONSUMER, parent(LOW))
    second = tracer.start("send", SpanKind.CLIENT, first.traceparent)
    assert parse_traceparent(second.traceparent) == second.traceparent
    for span in (second, first):
        span.end()
    child, root = recorded
    assert (root.trace_id, root.parent_id) == (LOW, "00f067aa0ba902b7")
    assert (child.trace_id, child.parent_id) == (LOW, root.span_id)
    assert root.started_ns <= child.started_ns <= child.ended_ns <= root.ended_ns


def test_without_a_producer_that_traces_a_span_begins_a_trace_of_its_own() -> None:
    tracer = Tracer(1.0, lambda _span: None)
    spans = [tracer.start("match", SpanKind.CONSUMER, "") for _ in range(2)]
    assert len({trace_id(span.traceparent) for span in spans}) == 2
    assert all(parse_traceparent(span.traceparent) for span in spans)


def test_without_tracing_the_trace_of_the_producer_is_passed_on_as_it_came() -> None:
    span = OFF.start("match", SpanKind.CONSUMER, parent(LOW, "01"))
    span.set("events", 1)
    span.fail("refused")
    span.end()
    assert span.traceparent == parent(LOW, "01")
    assert parent_id(OFF.start("match", SpanKind.CONSUMER, "").traceparent) == ""


def test_a_measurement_names_a_trace_that_is_recorded() -> None:
    tracer = Tracer(0.25, lambda _span: None)
    assert tracer.exemplar(parent(LOW)) == {"trace_id": LOW}
    assert tracer.exemplar(parent(HIGH, "01")) is None
    assert tracer.exemplar("") is None
    assert OFF.exemplar(parent(HIGH, "01")) == {"trace_id": HIGH}
    assert OFF.exemplar(parent(HIGH, "00")) is None


async def test_spans_that_find_the_queue_full_are_dropped_and_counted() -> None:
    queue = SpanQueue(capacity=BATCH + 1)
    tracer = Tracer(1.0, queue.put)
    for _ in range(BATCH - 1):
        tracer.start("match", SpanKind.CONSUMER, "").end()
    assert not queue.has_batch.is_set()
    for _ in range(5):
        tracer.start("match", SpanKind.CONSUMER, "").end()
    assert queue.has_batch.is_set()
    assert total(process_page(), "broker_trace_spans_total", result="dropped") == 3
    assert [len(queue.take()), len(queue.take()), len(queue.take())] == [BATCH, 1, 0]
    assert not queue.has_batch.is_set()
