"""Entries of the audit trail as FHIR AuditEvents: R4 and R4B have one shape, R5 another.

The id of an AuditEvent is the sequence number of its entry. Its `outcomeDesc` (R5: `outcome.detail`) is the
entry's detail; it has no text that a client or a resource contributed.
"""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from broker.clock import to_instant
from broker.model.audit import BROKER_AGENT, AuditAction, AuditEntity, AuditOutcome, ChainedEntry
from broker.model.release import Release
from broker.model.resource import Resource

AGENTS = "http://fhir-broker.org/agents"
"""The system of agent ids: client ids, and that of the broker itself."""
ACTIONS = "http://fhir-broker.org/audit-actions"
"""The code system of what no code system of HL7 or DICOM has."""
_TYPES = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_REST = "http://hl7.org/fhir/restful-interaction"
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_LIFECYCLE = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
_OUTCOMES = "http://terminology.hl7.org/CodeSystem/audit-event-outcome"
_ROLES = "http://terminology.hl7.org/CodeSystem/object-role"


class AuditCodes(NamedTuple):
    """The codes of an action: type (R5: category), subtype (R5: code), and action letter."""

    type: Mapping[str, str]
    subtype: Mapping[str, str]
    letter: str


def _coding(system: str, code: str, display: str) -> Mapping[str, str]:
    return {"system": system, "code": code, "display": display}


_RESTFUL = _coding(_TYPES, "rest", "RESTful Operation")
_ACTIVITY = _coding(_DICOM, "110100", "Application Activity")
_LOGIN = _coding(_DICOM, "110114", "User Authentication")
_TRANSMIT = _coding(_LIFECYCLE, "transmit", "Transmit Record Lifecycle Event")
_DESTROY = _coding(_LIFECYCLE, "destroy", "Destroy/Delete Record Lifecycle Event")


def _own(code: str, display: str) -> Mapping[str, str]:
    return _coding(ACTIONS, code, display)


CODES: Mapping[AuditAction, AuditCodes] = {
    AuditAction.READ: AuditCodes(_RESTFUL, _coding(_REST, "read", "read"), "R"),
    AuditAction.VREAD: AuditCodes(_RESTFUL, _coding(_REST, "vread", "vread"), "R"),
    AuditAction.HISTORY: AuditCodes(_RESTFUL, _coding(_REST, "history", "history"), "R"),
    AuditAction.SEARCH: AuditCodes(_RESTFUL, _coding(_REST, "search-type", "search-type"), "E"),
    AuditAction.CREATE: AuditCodes(_RESTFUL, _coding(_REST, "create", "create"), "C"),
    AuditAction.UPDATE: AuditCodes(_RESTFUL, _coding(_REST, "update", "update"), "U"),
    AuditAction.DELETE: AuditCodes(_RESTFUL, _coding(_REST, "delete", "delete"), "D"),
    AuditAction.OPERATION: AuditCodes(_RESTFUL, _coding(_REST, "operation", "operation"), "E"),
    AuditAction.REPORT: AuditCodes(_RESTFUL, _own("report", "Business event reported"), "E"),
    AuditAction.DELIVER: AuditCodes(_TRANSMIT, _own("deliver", "Notification attempted"), "R"),
    AuditAction.STREAM: AuditCodes(_TRANSMIT, _own("stream", "Notification sent on a connection"), "R"),
    AuditAction.TOKEN: AuditCodes(_LOGIN, _own("token", "Token requested"), "E"),
    AuditAction.AUTHENTICATE: AuditCodes(_LOGIN, _coding(_DICOM, "110122", "Login"), "E"),
    AuditAction.REDRIVE: AuditCodes(_ACTIVITY, _own("redrive", "Dead letters redriven"), "E"),
    AuditAction.DISCARD: AuditCodes(_ACTIVITY, _own("discard", "Dead letters discarded"), "D"),
    AuditAction.ADMINISTER: AuditCodes(_ACTIVITY, _own("administer", "Administrative act"), "E"),
    AuditAction.ERASE: AuditCodes(_DESTROY, _own("erase", "Data of a person erased"), "D"),
    AuditAction.TRIM: AuditCodes(_DESTROY, _own("trim", "Audit entries removed by retention"), "D"),
    AuditAction.START: AuditCodes(_ACTIVITY, _coding(_DICOM, "110120", "Application Start"), "E"),
    AuditAction.STOP: AuditCodes(_ACTIVITY, _coding(_DICOM, "110121", "Application Stop"), "E"),
}
_OUTCOME_WORDS: Mapping[AuditOutcome, str] = {
    AuditOutcome.SUCCESS: "Success",
    AuditOutcome.MINOR_FAILURE: "Minor failure",
    AuditOutcome.SERIOUS_FAILURE: "Serious failure",
}
_PATIENT_ROLE = _coding(_ROLES, "1", "Patient")


def render_audit_event(release: Release, chained: ChainedEntry) -> Resource:
    """The AuditEvent of an entry in a release."""
    members = _r5(chained) if release is Release.R5 else _r4(chained)
    return Resource(orjson.dumps(members))


def _head(chained: ChainedEntry) -> dict[str, Any]:
    recorded = to_instant(chained.recorded_ms)
    return {
        "resourceType": "AuditEvent",
        "id": str(chained.sequence),
        "meta": {"versionId": "1", "lastUpdated": recorded},
    }


def _r4(chained: ChainedEntry) -> dict[str, Any]:
    entry, codes = chained.entry, CODES[chained.entry.action]
    network = {"network": _r4_network(entry.address)} if entry.address else {}
    return {
        **_head(chained),
        "type": codes.type,
        "subtype": [codes.subtype],
        "action": codes.letter,
        "recorded": to_instant(chained.recorded_ms),
        "outcome": str(int(entry.outcome)),
        **({"outcomeDesc": entry.detail} if entry.detail else {}),
        "agent": [{"who": _who(entry.agent), "requestor": entry.agent != BROKER_AGENT, **network}],
        "source": {"observer": _who(BROKER_AGENT)},
        **_entities(entry.entities, lambda role: {"role": role}),
    }


def _r5(chained: ChainedEntry) -> dict[str, Any]:
    entry, codes = chained.entry, CODES[chained.entry.action]
    kind = "networkUri" if "://" in entry.address else "networkString"
    network = {kind: entry.address} if entry.address else {}
    outcome = _coding(_OUTCOMES, str(int(entry.outcome)), _OUTCOME_WORDS[entry.outcome])
    patient = {"patient": {"reference": entry.patients[0]}} if len(entry.patients) == 1 else {}
    return {
        **_head(chained),
        "category": [{"coding": [codes.type]}],
        "code": {"coding": [codes.subtype]},
        "action": codes.letter,
        "recorded": to_instant(chained.recorded_ms),
        "outcome": {"code": outcome} | ({"detail": [{"text": entry.detail}]} if entry.detail else {}),
        **patient,
        "agent": [{"who": _who(entry.agent), "requestor": entry.agent != BROKER_AGENT, **network}],
        "source": {"observer": _who(BROKER_AGENT)},
        **_entities(entry.entities, lambda role: {"role": {"coding": [role]}}),
    }


def _entities(entities: tuple[AuditEntity, ...], in_role: Any) -> dict[str, Any]:
    """The resources, and the patients that they are about."""
    rendered = [
        {"what": {"reference": entity.reference}, **(in_role(_PATIENT_ROLE) if _is_patient(entity) else {})}
        for entity in entities
    ]
    named = {entity.about for entity in entities if _is_patient(entity)}
    rendered += [
        {"what": {"reference": patient}, **in_role(_PATIENT_ROLE)}
        for patient in dict.fromkeys(entity.patient for entity in entities if entity.patient)
        if patient not in named
    ]
    return {"entity": rendered} if rendered else {}


def _is_patient(entity: AuditEntity) -> bool:
    return entity.type == "Patient"


def _who(agent: str) -> dict[str, Any]:
    if agent == BROKER_AGENT:
        return {"identifier": {"system": AGENTS, "value": agent}, "display": "FHIR Subscription broker"}
    return {"identifier": {"system": AGENTS, "value": agent or "unknown"}, "display": agent or "unknown"}


@lru_cache(maxsize=1024)
def _r4_network(address: str) -> dict[str, str]:
    """The type says what the address is: 1 machine name, 2 IP address, 5 URI."""
    if "://" in address:
        return {"address": address, "type": "5"}
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return {"address": address, "type": "1"}
    return {"address": address, "type": "2"}
