"""`Device/[id]/$context`: whose device it is now, who looks after the patient, and which medications are in
force. One broker for all questions of a test.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.model.scopes import parse_scopes
from tests.conftest import StartBroker
from tests.integration.audit_client import AuditReader, agent, references, word

PAST = {"start": "2020-01-01", "end": "2021-01-01"}
SINCE = {"start": "2020-01-01"}
ALL = "system/Device.r system/Patient.rs system/CareTeam.rs system/MedicationRequest.rs"
TYPES = ("Patient", "CareTeam", "MedicationRequest")
Document = dict[str, Any]


async def authenticate(headers: Mapping[str, str]) -> Principal:
    scopes = headers.get("x-scopes")
    if scopes is None:
        return OPEN_PRINCIPAL
    return Principal("pump", DEFAULT_TENANT, parse_scopes(scopes), frozenset())


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    async with start_broker(authenticate=authenticate) as running:
        yield running


class Ward:
    """Writes resources at one base, and asks for the context of `Device/d1` there."""

    def __init__(self, client: httpx.AsyncClient, release: str) -> None:
        self.client = client
        self.release = release

    async def put(self, resource_type: str, resource_id: str, **members: Any) -> None:
        resource = {"resourceType": resource_type, "id": resource_id} | members
        response = await self.client.put(f"/{self.release}/{resource_type}/{resource_id}", json=resource)
        assert response.status_code in {200, 201}, response.text

    async def put_device(self, **members: Any) -> None:
        await self.put("Device", "d1", status="active", **members)

    async def put_patient(self, resource_id: str) -> None:
        name = [{"family": f"of-{resource_id}"}]
        await self.put("Patient", resource_id, active=True, name=name, address=[{"city": "cut-city"}])

    async def associate(self, resource_id: str, patient: str, period: Document) -> None:
        device, subject = {"reference": "Device/d1"}, {"reference": patient}
        if self.release == "r5":
            system = "http://hl7.org/fhir/deviceassociation-status"
            status = {"coding": [{"system": system, "code": "attached"}]}
            await self.put(
                "DeviceAssociation", resource_id, status=status, device=device, subject=subject, period=period
            )
        else:
            await self.put(
                "DeviceUseStatement",
                resource_id,
                status="active",
                device=device,
                subject=subject,
                timingPeriod=period,
            )

    async def put_team(self, resource_id: str, patient: str, status: str = "active", **members: Any) -> None:
        note = [{"text": "cut-note"}]
        await self.put(
            "CareTeam", resource_id, status=status, subject={"reference": patient}, note=note, **members
        )

    async def prescribe(self, resource_id: str, patient: str, status: str = "active") -> None:
        concept = {"text": "insulin"}
        drug = (
            {"medication": {"concept": concept}}
            if self.release == "r5"
            else {"medicationCodeableConcept": concept}
        )
        await self.put(
            "MedicationRequest",
            resource_id,
            status=status,
            intent="order",
            doNotPerform=True,
            subject={"reference": patient},
            note=[{"text": "cut-note"}],
            **drug,
        )

    async def ask(self, scopes: str | None = None, *, base: str = "") -> Document:
        headers = {} if scopes is None else {"X-Scopes": scopes}
        response = await self.client.get(f"/{base or self.release}/Device/d1/$context", headers=headers)
        assert response.status_code == 200, response.text
        bundle: Document = response.json()
        assert "cut-" not in response.text
        return bundle


def shown(bundle: Document, mode: str = "include") -> list[str]:
    """`Type/id` of the entries of a mode."""
    resources = [entry["resource"] for entry in bundle["entry"] if entry["search"]["mode"] == mode]
    return [f"{each['resourceType']}/{each['id']}" for each in resources]


def reports(bundle: Document) -> str:
    """The texts of the OperationOutcome."""
    outcomes = [entry["resource"] for entry in bundle["entry"] if entry["search"]["mode"] == "outcome"]
    return " ".join(issue["details"]["text"] for outcome in outcomes for issue in outcome["issue"])


@pytest.mark.parametrize("release", ["r4", "r4b", "r5"])
async def test_the_context_is_that_of_the_patient_who_has_the_device_now(
    client: httpx.AsyncClient, release: str
) -> None:
    ward = Ward(client, release)
    await ward.put_device()
    for name in ("p1", "p2"):
        await ward.put_patient(name)
        patient = f"Patient/{name}"
        await ward.put_team(f"{name}-now", patient, participant=[{"member": {"display": "Nurse Joy"}}])
        await ward.put_team(f"{name}-planned", patient, status="proposed")
        await ward.put_team(f"{name}-ended", patient, period=PAST)
        await ward.prescribe(f"{name}-now", patient)
        await ward.prescribe(f"{name}-stopped", patient, status="stopped")
    bundle = await ward.ask()
    assert shown(bundle, "match") == ["Device/d1"]
    assert shown(bundle) == []
    assert reports(bundle) == "Device/d1 is associated with no patient now."

    await ward.associate("a1", "Patient/p1", SINCE)
    bundle = await ward.ask()
    assert bundle["type"] == "searchset"
    assert bundle["total"] == 1
    assert shown(bundle) == ["Patient/p1", "CareTeam/p1-now", "MedicationRequest/p1-now"]
    assert reports(bundle) == ""
    patient, team, order = (entry["resource"] for entry in bundle["entry"][1:])
    assert set(patient) == {"resourceType", "id", "meta", "active", "name"}
    assert team["participant"] == [{"member": {"display": "Nurse Joy"}}]
    assert order["doNotPerform"] is True
    assert all(entry["resource"]["meta"]["tag"][-1]["code"] == "SUBSETTED" for entry in bundle["entry"][1:])

    await ward.associate("a2", "Patient/p2", SINCE)
    bundle = await ward.ask()
    assert shown(bundle) == [], "nobody guesses"
    assert "associated with several patients" in reports(bundle)
    await ward.associate("a1", "Patient/p1", PAST)
    await ward.prescribe("p2-now", "Patient/p2", status="completed")
    await ward.prescribe("p2-stopped", "Patient/p2")
    bundle = await ward.ask()
    assert shown(bundle) == ["Patient/p2", "CareTeam/p2-now", "MedicationRequest/p2-stopped"]

    assert (await client.delete(f"/{release}/Patient/p2")).status_code == 204
    assert (await client.delete(f"/{release}/CareTeam/p2-now")).status_code == 204
    bundle = await ward.ask()
    assert shown(bundle) == ["MedicationRequest/p2-stopped"]
    assert "Patient/p2, who has the device, is not stored here." in reports(bundle)
    await ward.put("Device", "d1", status="inactive")
    bundle = await ward.ask()
    assert shown(bundle) == []
    assert "not in use: its status is inactive" in reports(bundle)


async def test_a_device_without_associations_has_the_patient_that_it_names(client: httpx.AsyncClient) -> None:
    ward = Ward(client, "r4")
    await ward.put_device(patient={"reference": "Patient/p1"})
    await ward.put_patient("p1")
    await ward.put_team("t1", "Patient/p1")
    assert shown(await ward.ask()) == ["Patient/p1", "CareTeam/t1"]
    at_r5 = await ward.ask(base="r5")
    assert shown(at_r5) == ["Patient/p1"]
    assert "CareTeam/t1 is left out: it can't be converted from R4 to R5" in reports(at_r5)
    posted = await client.post("/r4/Device/d1/$context")
    assert shown(posted.json()) == ["Patient/p1", "CareTeam/t1"]
    assert (await client.get("/r4/Device/none/$context")).status_code == 404
    assert (await client.get("/r4/Device/d1/$context?patient=p2")).status_code == 400
    assert (await client.get("/r4/Patient/p1/$context")).status_code == 404


async def test_what_the_scopes_do_not_allow_is_left_out(client: httpx.AsyncClient) -> None:
    ward = Ward(client, "r4")
    await ward.put_device(patient={"reference": "Patient/p1"})
    await ward.put_patient("p1")
    await ward.put_team("t1", "Patient/p1", category=[{"text": "longitudinal"}])
    await ward.put_team("t2", "Patient/p1", meta={"tag": [{"system": "urn:tags", "code": "ward-3"}]})
    await ward.prescribe("m1", "Patient/p1")
    everything = ["CareTeam/t1", "CareTeam/t2", "MedicationRequest/m1", "Patient/p1"]
    assert sorted(shown(await ward.ask(ALL))) == everything
    cases = {
        "system/Device.r": (set(), set(TYPES)),
        "system/Device.r system/Patient.r system/CareTeam.rs": (
            {"CareTeam/t1", "CareTeam/t2"},
            {"Patient", "MedicationRequest"},
        ),
        "system/Device.r system/Patient.rs system/CareTeam.rs?_tag=urn:tags|ward-3": (
            {"Patient/p1", "CareTeam/t2"},
            {"MedicationRequest"},
        ),
        "system/Device.r patient/Patient.rs user/*.rs": (set(), set(TYPES)),
    }
    for scopes, (resources, missing) in cases.items():
        bundle = await ward.ask(scopes)
        assert set(shown(bundle)) == resources, scopes
        reported = {
            name
            for name in ("Patient", "CareTeam", "MedicationRequest")
            if f"system/{name}.rs" in reports(bundle)
        }
        assert reported == missing, scopes
    for scopes in ("system/Patient.rs", "system/Device.r?_tag=urn:tags|other"):
        response = await client.get("/r4/Device/d1/$context", headers={"X-Scopes": scopes})
        assert response.status_code in {403, 404}, scopes
        assert "Patient/p1" not in response.text


async def test_each_resource_that_was_shown_is_in_the_audit_trail(client: httpx.AsyncClient) -> None:
    ward = Ward(client, "r4")
    await ward.put_device(patient={"reference": "Patient/p1"})
    await ward.put_patient("p1")
    await ward.put_team("t1", "Patient/p1")
    await ward.prescribe("m1", "Patient/p1")
    await ward.ask("system/Device.r system/Patient.rs system/CareTeam.rs")
    (event,) = [each for each in await AuditReader(client, {}).export() if agent(each) == "pump"]
    assert word(event) == "operation"
    assert event["outcomeDesc"] == "$context"
    shown_versions = {"Device/d1/_history/1", "Patient/p1/_history/1", "CareTeam/t1/_history/1"}
    assert set(references(event)) == shown_versions
