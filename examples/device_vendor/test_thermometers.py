"""The vendor's integration test: `pytest --fhir-broker`."""

from pathlib import Path

from thermometers import Gateway, Measurement

from broker.testing.broker_process import BrokerProcess
from broker.testing.synchronous import SubscriberHandle

WAIT_S = 60.0


def measurement(sequence: int) -> Measurement:
    return {
        "serial": "T-1000",
        "sequence": sequence,
        "patient": "p1",
        "celsius": 36.0 + sequence / 10,
        "at": f"2025-06-15T08:00:{sequence:02}Z",
    }


def test_each_measurement_arrives_once_although_the_broker_is_killed(
    broker: BrokerProcess, subscriber: SubscriberHandle, tmp_path: Path
) -> None:
    fevers = subscriber.subscribe(filters=["Observation?code=http://loinc.org|8310-5"])
    with Gateway(broker.base_url, tmp_path / "gateway.db") as gateway:
        for sequence in range(5):
            gateway.measure(measurement(sequence))
        assert gateway.has_sent_all(WAIT_S)
        broker.kill()
        for sequence in range(5, 10):
            gateway.measure(measurement(sequence))
    broker.start()
    with Gateway(broker.base_url, tmp_path / "gateway.db") as gateway:  # the gateway was restarted too
        assert gateway.has_sent_all(WAIT_S)
    fevers.wait_for_events(10)
    # each measurement is a resource of its own; the broker keeps the order of the changes of one resource
    values = {each["valueQuantity"]["value"] for each in fevers.resources}
    assert values == {36.0 + sequence / 10 for sequence in range(10)}
    assert fevers.problems == []
