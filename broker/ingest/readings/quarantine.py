"""What a quarantined payload is kept with, so that it can be processed again as it came."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from broker.ingest.readings.formats import names
from broker.ingest.readings.values import RawReading
from broker.mapping.reading import ReadingProblem
from broker.model import json_text
from broker.model.audit import Requester
from broker.model.change import Tenant
from broker.store.quarantine import NewlyQuarantined
from broker.store.quarantined_payloads import Quarantined


class Waits(NamedTuple):
    """What a payload waits for: the name of a resource (`fhir/device_associations.py`), and the effective
    time of its first reading that does.
    """

    name: str
    effective: datetime


def to_quarantine(
    reading: RawReading, problems: Sequence[ReadingProblem], waits: Waits | None, replaces: str = ""
) -> NewlyQuarantined:
    """The payload as the store keeps it; `replaces` is the entry of its earlier attempt."""
    first = problems[0]
    record = {
        "format": reading.format,
        "received": reading.received.isoformat(),
        "mapping": first.mapping,
        "field": first.field,
        "place": first.place,
        "text": first.text,
        "problems": json_text.encode([problem._asdict() for problem in problems]).decode(),
    }
    optional = {
        "key": reading.key,
        "client": reading.requester.agent,
        "address": reading.requester.address,
        "trace": reading.trace,
        "parameters": json_text.encode(dict(reading.parameters)).decode() if reading.parameters else "",
        "waits-for": waits.name if waits else "",
    }
    return NewlyQuarantined(
        digest_of(reading),
        first.reason,
        record | {name: value for name, value in optional.items() if value},
        reading.content,
        0 if waits is None else max(0, round(waits.effective.timestamp() * 1000)),
        "" if waits is None else waits.name,
        replaces,
    )


def is_unchanged(before: Quarantined, problems: Sequence[ReadingProblem], waits: Waits | None) -> bool:
    """Whether a payload that is quarantined has the same problem as before."""
    if not problems:
        return False
    first, record = problems[0], before.record
    return (before.reason, record["mapping"], record["field"], record["place"], record["text"]) == (
        first.reason,
        first.mapping,
        first.field,
        first.place,
        first.text,
    ) and record.get("waits-for", "") == (waits.name if waits else "")


def digest_of(reading: RawReading) -> str:
    """The same for the same payload from the same producer under the same key."""
    said = "\n".join((reading.requester.agent, reading.key, *names(reading)))
    return hashlib.sha256(said.encode() + b"\0" + reading.content).hexdigest()[:32]


def raw_reading(tenant: Tenant, quarantined: Quarantined) -> RawReading:
    """The payload as it came."""
    record = quarantined.record
    return RawReading(
        tenant,
        quarantined.content,
        record["format"],
        datetime.fromisoformat(record["received"]),
        record.get("key", ""),
        Requester(record.get("client", ""), record.get("address", "")),
        _parameters(record),
        record.get("trace", ""),
        keeps_refused=True,
    )


def _parameters(record: Mapping[str, str]) -> dict[str, str]:
    return msgspec.json.decode(record.get("parameters") or "{}", type=dict[str, str])


def problems_of(quarantined: Quarantined) -> list[ReadingProblem]:
    """Why the payload was quarantined."""
    rows = msgspec.json.decode(quarantined.record["problems"], type=list[dict[str, object]])
    return [
        ReadingProblem(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}  # type: ignore[arg-type]  # a record that this module wrote
        )
        for row in rows
    ]
