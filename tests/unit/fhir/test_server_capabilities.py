"""A server that lacks what a target needs is found out by its CapabilityStatement."""

from typing import Any

import orjson
import pytest

from broker.fhir.server_capabilities import Needs, missing_capabilities
from broker.fhir.server_writes import DeleteMode, WriteMode, WriteRules
from broker.model.release import Release

RULES = WriteRules(Release.R4, WriteMode.CONDITIONAL_UPDATE, DeleteMode.REFUSE, "urn:ids")
PROFILE = "http://hl7.org/fhir/StructureDefinition/vitalsigns"
NEEDS = Needs(RULES, ["Observation"], ["Patient", "Device"], ["Device"], [PROFILE])


def codes(*names: str) -> list[dict[str, str]]:
    return [{"code": name} for name in names]


def statement(**changes: Any) -> bytes:
    observation = {
        "type": "Observation",
        "interaction": codes("create", "update", "delete"),
        "conditionalCreate": True,
        "conditionalUpdate": True,
        "conditionalDelete": "single",
        "updateCreate": True,
        "supportedProfile": [f"{PROFILE}|4.0.1"],
    }
    patient = {
        "type": "Patient",
        "interaction": codes("search-type"),
        "searchParam": [{"name": "identifier"}],
    }
    device = patient | {
        "type": "Device",
        "interaction": codes("create", "search-type"),
        "conditionalCreate": True,
    }
    observation |= changes.pop("observation", {})
    patient |= changes.pop("patient", {})
    device |= changes.pop("device", {})
    rest = {
        "mode": "server",
        "interaction": codes("transaction"),
        "resource": [observation, patient, device],
    } | changes.pop("rest", {})
    whole = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [rest]} | changes
    return orjson.dumps(whole)


@pytest.mark.parametrize("mode", list(WriteMode))
@pytest.mark.parametrize("deletes", list(DeleteMode))
def test_a_server_with_everything_lacks_nothing(mode: WriteMode, deletes: DeleteMode) -> None:
    needs = NEEDS._replace(rules=RULES._replace(mode=mode, deletes=deletes))
    assert missing_capabilities(statement(), needs) == []


@pytest.mark.parametrize(
    ("changes", "needs", "text"),
    [
        ({"fhirVersion": "5.0.0"}, NEEDS, "it speaks FHIR 5.0.0, and the target is configured as R4"),
        ({"rest": {"interaction": codes("batch")}}, NEEDS, "it takes no transactions"),
        ({"observation": {"conditionalUpdate": False}}, NEEDS, "it has no conditional update of Observation"),
        ({"observation": {"interaction": codes("create")}}, NEEDS, "it can't update Observation"),
        ({"patient": {"searchParam": []}}, NEEDS, "it can't search Patient by identifier"),
        ({"patient": {"interaction": []}}, NEEDS, "it can't search Patient"),
        ({"device": {"conditionalCreate": False}}, NEEDS, "it has no conditional create of Device"),
        ({"observation": {"supportedProfile": []}}, NEEDS, f"it does not list the profile {PROFILE}"),
        (
            {"observation": {"updateCreate": False}},
            NEEDS._replace(rules=RULES._replace(mode=WriteMode.UPDATE)),
            "it can't create Observation with an id of the broker",
        ),
        (
            {"observation": {"conditionalDelete": "not-supported"}},
            NEEDS._replace(rules=RULES._replace(deletes=DeleteMode.SEND)),
            "it has no conditional delete of Observation",
        ),
        ({}, NEEDS._replace(types=["Encounter"]), "it has no Encounter"),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, Any], needs: Needs, text: str) -> None:
    assert missing_capabilities(statement(**changes), needs) == [text]


def test_a_server_without_transactions_will_do_for_single_writes() -> None:
    needs = NEEDS._replace(has_transactions=False)
    assert missing_capabilities(statement(rest={"interaction": []}), needs) == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"resourceType":"OperationOutcome"}'])
def test_other_bodies_are_no_statement(body: bytes) -> None:
    assert missing_capabilities(body, NEEDS) is None


def test_a_statement_of_a_client_has_no_server() -> None:
    body = statement(rest={"mode": "client"})
    assert missing_capabilities(body, NEEDS) == ["its CapabilityStatement has no rest of mode server"]
