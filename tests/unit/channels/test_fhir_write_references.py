"""References of what is written to a FHIR server: each names what the server calls the resource."""

from dataclasses import replace

from broker.fhir.server_writes import WriteMode
from broker.model.outcome import Delivered, PartlyDelivered
from tests.unit.channels.fhir_write_fixture import (
    DEVICE,
    PATIENT,
    TARGET,
    WriteFixture,
    observation,
    writing,
)

__all__ = ["writing"]


async def test_resources_are_written_in_order_with_the_references_of_the_server(
    writing: WriteFixture,
) -> None:
    assert isinstance(await writing.write(*map(observation, range(5))), Delivered)
    assert writing.server.writes == ["0", "1", "2", "3", "4"]
    assert {each["subject"]["reference"] for each in writing.observations} == {"Patient/77"}
    searches = [path for _, path in writing.paths() if path.endswith("_search")]
    assert searches == ["Patient/_search"], "the patient is looked up once"


async def test_identifiers_of_patients_are_in_no_url(writing: WriteFixture) -> None:
    await writing.write(observation(1))
    assert not [path for _, path, _ in writing.server.requests if "4711" in path]


async def test_a_device_is_created_once_where_the_server_has_none(writing: WriteFixture) -> None:
    resources = [observation(n, device={"reference": "Device/d"}) for n in range(3)]
    assert isinstance(await writing.write(*resources), Delivered)
    [device] = writing.server.resources("Device")
    assert {each["device"]["reference"] for each in writing.observations} == {f"Device/{device['id']}"}


async def test_a_reference_that_the_server_does_not_know_is_never_sent(writing: WriteFixture) -> None:
    unknown = observation(1, encounter={"reference": "Encounter/1"})
    of_nobody = observation(2, subject={"reference": "Patient/gone"})
    outcome = await writing.write(unknown, of_nobody, observation(3))
    assert isinstance(outcome, PartlyDelivered)
    assert [event.number for event in outcome.refused] == [1, 2]
    assert writing.server.writes == ["3"]


async def test_a_logical_reference_gets_the_reference_of_the_server_too(writing: WriteFixture) -> None:
    logical = {"type": "Patient", "identifier": PATIENT["identifier"][0]}
    resources = [observation(n, subject=logical) for n in range(2)]
    assert isinstance(await writing.write(*resources), Delivered)
    assert [each["subject"] for each in writing.observations] == [logical | {"reference": "Patient/77"}] * 2
    assert [path for _, path in writing.paths() if path.endswith("_search")] == ["Patient/_search"]
    nobody = {"type": "Patient", "identifier": {"system": "urn:mrn", "value": "4712"}}
    elsewhere = {"type": "Group", "identifier": {"system": "urn:g", "value": "1"}}
    outcome = await writing.write(observation(2, subject=nobody), observation(3, subject=elsewhere))
    assert isinstance(outcome, PartlyDelivered)
    assert [event.number for event in outcome.refused] == [1]
    assert "4712" not in outcome.refused[0].reason
    assert writing.observations[-1]["subject"] == elsewhere, "a type that is not looked up is sent as it is"


async def test_two_patients_with_the_identifiers_of_one_are_not_guessed(writing: WriteFixture) -> None:
    writing.server.add(PATIENT | {"id": "78"})
    outcome = await writing.write(observation(1))
    assert isinstance(outcome, PartlyDelivered)
    assert "2 resources Patient" in outcome.refused[0].reason
    assert "4711" not in outcome.refused[0].reason
    assert not writing.observations


async def test_references_inside_a_transaction_are_to_its_entries() -> None:
    writing = WriteFixture(replace(TARGET, types=("Observation", "Device")))
    member = observation(2, hasMember=[{"reference": "Observation/o1"}])
    assert isinstance(await writing.write(observation(1), member), Delivered)
    first, second = writing.observations
    assert second["hasMember"] == [{"reference": f"Observation/{first['id']}"}]


async def test_a_logical_reference_inside_a_transaction_is_to_its_entry() -> None:
    writing = WriteFixture(replace(TARGET, types=("Observation", "Device")))
    measured = observation(1, device={"identifier": DEVICE["identifier"][0]})
    assert isinstance(await writing.write(DEVICE, measured), Delivered)
    [device] = writing.server.resources("Device")
    assert writing.observations[0]["device"]["reference"] == f"Device/{device['id']}"


async def test_a_reference_to_a_refused_entry_is_refused_too() -> None:
    writing = WriteFixture()
    writing.server.refuses = lambda resource: "no" if resource.get("status") == "bad" else ""
    member = observation(2, hasMember=[{"reference": "Observation/o1"}])
    outcome = await writing.write(observation(1, status="bad"), member, observation(3))
    assert isinstance(outcome, PartlyDelivered)
    assert [event.number for event in outcome.refused] == [1, 2]
    assert writing.server.writes == ["3"]


async def test_with_the_ids_of_the_broker_references_stay() -> None:
    rules = TARGET.rules._replace(mode=WriteMode.UPDATE)
    writing = WriteFixture(replace(TARGET, rules=rules, lookups=(), creates=()))
    assert isinstance(await writing.write(observation(1), observation(2)), Delivered)
    assert [each["subject"]["reference"] for each in writing.observations] == ["Patient/p"] * 2
    assert sorted(each["id"] for each in writing.observations) == ["o1", "o2"]
