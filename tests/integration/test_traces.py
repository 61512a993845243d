"""Traces, from the producer's traceparent to the subscriber's; a collector of the tests decodes the OTLP."""

import json
from pathlib import Path

import pytest

from broker.model.trace import parent_id, trace_id
from broker.store import keys
from broker.store.protocol import Store
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.collector import Collector
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, Gate, Script, broker_with, until_ready
from tests.integration.explain_client import explain_change
from tests.integration.operations_client import groups, value
from tests.integration.reading_fixture import PayloadsOfTests, add_patient, send
from tests.metrics import read_total
from tests.ports import free_port

pytestmark = pytest.mark.usefixtures("long_leases")
PRODUCER = "00f067aa0ba902b7"
TRACES = [f"4bf92f3577b34da6a3ce929d0e0e47{n:02x}" for n in range(16)]
_NOW = "2025-03-01T08:00:00Z"


def traceparent(n: int, flags: str = "01") -> str:
    return f"00-{TRACES[n]}-{PRODUCER}-{flags}"


async def put(fixture: BrokerFixture, name: str, n: int, flags: str = "01") -> None:
    reading = observation(HEART_RATE, "ana", _NOW, 60 + n) | {"id": name}
    headers = {"traceparent": traceparent(n, flags)}
    response = await fixture.client.put(f"/r4/Observation/{name}", json=reading, headers=headers)
    assert response.is_success, response.text


def received(fixture: BrokerFixture, name: str, number: int) -> list[str]:
    """The traceparent of each request that brought an event: one, unless it was repeated."""
    return [
        dict(request.headers).get("traceparent", "")
        for request in fixture.subscriber.endpoint(name).received
        if request.notification and any(event.number == number for event in request.notification.events)
    ]


async def test_without_tracing_the_trace_of_the_producer_reaches_the_subscriber_as_it_came(
    broker_fixture: BrokerFixture,
) -> None:
    subscription_id = await broker_fixture.subscribe("a")
    await put(broker_fixture, "hr", 0, "00")
    await broker_fixture.until_counted(subscription_id, 1)  # else they may be numbered in either order
    await broker_fixture.send()
    await broker_fixture.until_numbers("a", 2)
    assert set(received(broker_fixture, "a", 1)) == {traceparent(0, "00")}
    assert set(received(broker_fixture, "a", 2)) == {""}
    answer = await explain_change(
        broker_fixture.client, subscription_id, "r4", reference="Observation/hr/_history/1"
    )
    assert value(groups(answer, "delivery")[0], "trace-id") == TRACES[0]


async def test_a_change_is_one_trace_by_each_way_in(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, store: Store, tmp_path: Path
) -> None:
    secret = tmp_path / "headers"
    secret.write_text("Authorization: Bearer of-the-collector\n")
    mapper = PayloadsOfTests()
    async with (
        Collector() as collector,
        broker_with(
            start_broker,
            subscriber,
            traces_url=collector.url,
            traces_ratio=1.0,
            traces_headers_file=secret,
            mapper=lambda: mapper,
        ) as fixture,
    ):
        await add_patient(fixture.client, "ana")
        await fixture.subscribe("a", headers=[("Authorization", "Bearer of-the-subscriber")])
        await put(fixture, "hr", 1)
        reading = {"device": "the-monitor", "patient": "ana", "hr": 72, "at": _NOW}
        response = await send(fixture.client, reading, traceparent=traceparent(2))
        assert response.status_code == 201, response.text
        entry = observation(HEART_RATE, "ana", _NOW, 72)
        await store.send(
            [("XADD", keys.INBOX, "*", "resource", json.dumps(entry), "traceparent", traceparent(3))]
        )
        await fixture.until_numbers("a", 3)
        await collector.until(lambda: all(collector.has_whole(TRACES[n], PRODUCER) for n in (1, 2, 3)))
        numbers = []
        for n, ways in (
            (1, ["PUT /{release}/{type}/{id}"]),
            (2, ["POST /readings", "reading"]),
            (3, ["inbox entry"]),
        ):
            send_span = collector.named("send", TRACES[n])[0]
            chain = collector.chain(send_span)
            assert [span.name for span in chain] == [*ways, "match", "deliver", "send"]
            assert not any(span.is_error for span in chain)
            assert chain[0].parent_id == PRODUCER
            numbers.append(chain[-2].attributes["fhir_broker.event.first"])
            sent = received(fixture, "a", numbers[-1])
            assert (TRACES[n], send_span.span_id) in [(trace_id(each), parent_id(each)) for each in sent]
        assert sorted(numbers) == [1, 2, 3]
        [served] = collector.named("PUT /{release}/{type}/{id}")
        assert (served.kind, served.attributes["http.response.status_code"]) == ("SERVER", 201)
        [match] = collector.named("match", TRACES[1])
        assert match.attributes["fhir_broker.events"] == 1
    assert all(headers["Authorization"] == "Bearer of-the-collector" for headers in collector.headers)
    written = " ".join(str(attribute) for span in collector.spans for attribute in span.attributes.values())
    assert not [word for word in ("of-the", "ana", "hr", "the-monitor", "127.0.0.1") if word in written], (
        written
    )


async def test_what_fails_is_recorded_although_its_trace_is_not_sampled(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with (
        Collector() as collector,
        broker_with(start_broker, subscriber, traces_url=collector.url, traces_ratio=0.0) as fixture,
    ):
        await fixture.subscribe("a")
        subscriber.endpoint("a").answer = Script(503)
        await put(fixture, "hr", 4)
        await fixture.until_numbers("a", 1)
        await collector.until(lambda: len(collector.spans) >= 2)
        [send], [deliver] = collector.named("send"), collector.named("deliver")
        assert send.is_error
        assert send.text == deliver.text == "the endpoint answered 503 Service Unavailable"
        assert deliver.attributes["fhir_broker.attempt"] == 1
        assert deliver.attributes["error.type"] == "error-response"
        assert (send.trace_id, send.parent_id) == (TRACES[4], deliver.span_id)
    assert len(collector.spans) == 2, "the attempt that succeeded is not recorded"


async def test_a_notification_of_several_events_is_part_of_the_trace_of_each(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with (
        Collector() as collector,
        broker_with(start_broker, subscriber, traces_url=collector.url, traces_ratio=1.0) as fixture,
    ):
        await fixture.subscribe("a", max_count=10, timeout_s=60)
        gate = subscriber.endpoint("a").answer = Gate()
        await put(fixture, "first", 5)
        await gate.until_entered()
        for n in (6, 7):
            await put(fixture, f"hr-{n}", n)
        await collector.until(lambda: all(collector.named("match", TRACES[n]) for n in (6, 7)))
        gate.opened.set()
        await fixture.until_numbers("a", 3)
        await collector.until(lambda: all(collector.named("deliver", TRACES[n]) for n in (6, 7)))
        [send] = [span for n in (6, 7) for span in collector.named("send", TRACES[n])]
        # changes of different resources may be numbered in either order
        [other] = {TRACES[6], TRACES[7]} - {send.trace_id}
        [first_span], [other_span] = (collector.named("deliver", trace) for trace in (send.trace_id, other))
        assert (send.parent_id, send.links) == (first_span.span_id, (other_span.span_id,))


async def test_a_collector_that_is_away_stops_nothing(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    away = f"http://127.0.0.1:{free_port()}/v1/traces"
    async with broker_with(start_broker, subscriber, traces_url=away, traces_ratio=1.0) as fixture:
        await fixture.subscribe("a")
        await fixture.send(20)
        await fixture.until_numbers("a", 20)
        await until_ready(fixture.client)
        assert await read_total(fixture.client, "broker_trace_spans_total", result="sent") == 0
