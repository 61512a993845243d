"""The resources that a reading of a device becomes: its Observation, and the Device, Patient and DeviceMetric
that are created for it. All in R4.

`ingest/readings` gives the elements of a mapping and what it resolved.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from broker.fhir.date_times import date_time
from broker.model import json_text
from broker.model.resource import Resource
from broker.model.uuids import uuid_of_names

LOINC = "http://loinc.org"
MDC = "urn:iso:std:iso:11073:10101"
GATEWAY = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice"
DEVICE_TIME = "http://fhir-broker.org/fhir/StructureDefinition/device-time"
"""Extension with the moment that the device's clock showed, where `effective[x]` is corrected."""
FLAGS = "http://fhir-broker.org/fhir/CodeSystem/reading-flags"
"""System of the tags of readings that were accepted although something about them is doubtful."""
_URI = "urn:ietf:rfc:3986"
_OF_ARRIVAL = frozenset({"id", "meta", "issued", "identifier", "effectiveDateTime", "effectivePeriod"})
"""Elements in which two arrivals of one reading may differ; its identifier contains its time."""


class ObservationContext(NamedTuple):
    """What an Observation gets besides the elements of its mapping. References are `Type/id`, '' for none.

    `device_time` is the moment that a clock which is known to be wrong showed; `flags` are codes of `FLAGS`.
    """

    identifier: str
    status: str
    subject: str
    device: str
    encounter: str
    gateway: str
    start: datetime
    end: datetime | None
    issued: str
    device_time: datetime | None = None
    flags: Sequence[str] = ()


def observation(elements: Mapping[str, Any], context: ObservationContext) -> Resource:
    """The Observation of the elements; raises nothing for what is in them."""
    made: dict[str, Any] = {"resourceType": "Observation"}
    meta, extensions = elements.get("meta"), list(elements.get("extension") or ())
    if context.flags:
        tags = [{"system": FLAGS, "code": flag} for flag in context.flags]
        meta = {**(meta or {}), "tag": [*((meta or {}).get("tag") or ()), *tags]}
    if context.gateway:
        extensions.append({"url": GATEWAY, "valueReference": {"reference": context.gateway}})
    if context.device_time is not None:
        extensions.append({"url": DEVICE_TIME, "valueDateTime": date_time(context.device_time)})
    if meta:
        made["meta"] = meta
    if extensions:
        made["extension"] = extensions
    made["identifier"] = [{"system": _URI, "value": context.identifier}]
    made["status"] = context.status
    made |= {name: value for name, value in elements.items() if name not in {"meta", "extension"}}
    made["subject"] = {"reference": context.subject}
    if context.encounter:
        made["encounter"] = {"reference": context.encounter}
    if context.end is None:
        made["effectiveDateTime"] = date_time(context.start)
    else:
        made["effectivePeriod"] = {"start": date_time(context.start), "end": date_time(context.end)}
    made["issued"] = context.issued
    made["device"] = {"reference": context.device}
    return Resource.of_values(made)


def with_has_member(resource: Resource, references: Sequence[str]) -> Resource:
    """The Observation of a panel with its members (`Observation/id`)."""
    members = [{"reference": reference} for reference in references]
    return Resource(resource.text[:-1] + b',"hasMember":' + json_text.encode(members) + b"}")


def observed_type(elements: Mapping[str, Any]) -> str:
    """What was measured, as `system|code`: the LOINC code if there is one, so that a mapping may add
    codes of other systems later.
    """
    code = elements.get("code")
    codings = [] if not isinstance(code, Mapping) else list(code.get("coding") or ())
    chosen = next((coding for coding in codings if coding.get("system") == LOINC), None)
    chosen = chosen or next(iter(codings), None)
    if chosen is None:
        return str(code.get("text", "")) if isinstance(code, Mapping) else ""
    return f"{chosen.get('system', '')}|{chosen.get('code', '')}"


def reading_identifier(*names: str) -> str:
    """The identifier of an Observation: the same for the same reading."""
    return f"urn:uuid:{uuid_of_names('reading', *names)}"


def is_same_reading(stored: Resource, sent: Resource) -> bool:
    """Whether two Observations with one identifier say the same, whenever and by whatever gateway they
    arrived, and however wrong the device's clock was known to be.
    """
    return _essence(stored) == _essence(sent)


def observation_status(resource: Resource) -> str:
    """The status of an Observation, '' if it has none."""
    return str(resource.fields.get("status", ""))


def _essence(resource: Resource) -> dict[str, Any]:
    elements = {name: value for name, value in resource.copy().items() if name not in _OF_ARRIVAL}
    extensions = elements.pop("extension", ())
    kept = [extension for extension in extensions if extension.get("url") not in {GATEWAY, DEVICE_TIME}]
    return elements | ({"extension": kept} if kept else {})


def identified(resource_type: str, system: str, value: str, elements: Mapping[str, Any]) -> Resource:
    """A Device or Patient with the identifier."""
    made: dict[str, Any] = {
        "resourceType": resource_type,
        "identifier": [{"system": system, "value": value}],
    }
    if resource_type == "Device":
        made["status"] = "active"
    return Resource(json_text.encode(made | dict(elements)))


class Metric(NamedTuple):
    """One measurement channel of a device: its MDC coding and its unit, None without one."""

    coding: Mapping[str, Any]
    unit: Mapping[str, Any] | None

    @property
    def code(self) -> str:
        return str(self.coding.get("code", ""))


def metric_of(elements: Mapping[str, Any]) -> Metric | None:
    """The channel that an Observation comes from; None where no MDC code says what it is."""
    code = elements.get("code")
    codings = list(code.get("coding") or ()) if isinstance(code, Mapping) else []
    coding = next((each for each in codings if each.get("system") == MDC), None)
    if coding is None:
        return None
    quantity = elements.get("valueQuantity")
    if not isinstance(quantity, Mapping) or not quantity.get("code"):
        return Metric(coding, None)
    unit = {name: quantity[name] for name in ("system", "code") if quantity.get(name)}
    return Metric(coding, {"coding": [unit]})


def device_metric(device: str, metric: Metric) -> tuple[str, Resource]:
    """The DeviceMetric of a device (`Device/id`), and the value of its identifier."""
    value = f"urn:uuid:{uuid_of_names('metric', device, metric.code)}"
    made = {
        "resourceType": "DeviceMetric",
        "identifier": [{"system": _URI, "value": value}],
        "type": {"coding": [dict(metric.coding)]},
        **({"unit": metric.unit} if metric.unit else {}),
        "source": {"reference": device},
        "category": "measurement",
    }
    return value, Resource(json_text.encode(made))
