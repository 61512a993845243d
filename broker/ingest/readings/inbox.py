"""Decodes entries of the inbox stream that have the field `reading`: payloads of devices.

Fields: `reading` (the payload), `format` (json, ndjson, csv or gatt:<characteristic>; default json), `key`,
`tenant`, `traceparent`, and the parameters `device`, `patient`, `offset` and `gateway`. Without a key the
entry's id is the key, so an entry that is read again after a crash is one reading, also without a time of its
own.
"""

from datetime import datetime

from broker.errors import Issue, Malformed
from broker.ingest.decoder import Entry, traceparent_of
from broker.ingest.fhir_decoder import INBOX
from broker.ingest.readings.formats import NDJSON, payload_format, split_body
from broker.ingest.readings.values import CSV, GATT, JSON, RawReading
from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Tenant

FIELD = "reading"
_PARAMETERS = ("device", "patient", "offset", "gateway")
_FIELDS = frozenset({FIELD, "format", "key", "tenant", "traceparent", *_PARAMETERS})


def decode_readings(entry: Entry, received: datetime) -> list[RawReading]:
    """The payloads of an entry. Raises `Malformed` with the field that is wrong."""
    unknown = set(entry.fields) - _FIELDS
    if unknown:
        text = f"unknown field {min(unknown)!r} with `{FIELD}`; allowed are {', '.join(sorted(_FIELDS))}"
        raise Malformed(Issue("structure", text))
    format_ = _text(entry, "format") or JSON
    if format_ not in {JSON, NDJSON, CSV} and not format_.startswith(GATT):
        text = f"`format` must be {JSON}, {NDJSON}, {CSV} or {GATT}<characteristic>"
        raise Malformed(Issue("value", text, "format"))
    tenant = _text(entry, "tenant") or DEFAULT_TENANT
    if not TENANT_PATTERN.fullmatch(tenant):
        raise Malformed(Issue("value", "`tenant` must be 1 to 64 letters, digits, - and _", "tenant"))
    key = _text(entry, "key")
    reading = RawReading(
        Tenant(tenant),
        b"",
        payload_format(format_),
        received,
        f"key:{key}" if key else f"entry:{entry.id}",
        INBOX,
        {name: _text(entry, name) for name in _PARAMETERS if entry.fields.get(name)},
        traceparent_of(entry),
        keeps_refused=True,
    )
    try:
        contents = split_body(entry.fields[FIELD], format_)
    except Malformed:  # nobody hears the answer: the reading is kept as it came, with the problem
        return [reading._replace(content=entry.fields[FIELD])]
    if len(contents) == 1:
        return [reading._replace(content=contents[0])]
    return [reading._replace(content=content, key=f"{reading.key}#{n}") for n, content in enumerate(contents)]


def _text(entry: Entry, name: str) -> str:
    return entry.fields.get(name, b"").decode(errors="replace")
