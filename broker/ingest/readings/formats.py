"""Takes bodies apart into payloads, and decodes a payload for the mapper."""

from collections.abc import Iterator

import msgspec

from broker.errors import Issue, Malformed
from broker.ingest.readings.values import CSV, GATT, JSON, RawReading
from broker.mapping.decoders.csv_lines import decode_line, split_lines
from broker.mapping.decoders.gatt import decode_characteristic
from broker.mapping.decoders.undecodable import Undecodable
from broker.mapping.payloads import PayloadError, encode_json, parse_payload
from broker.model import json_text

NDJSON = "ndjson"
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_ANY_OBJECT = b"{"
_GATT_PARAMETERS = ("device", "patient", "offset")


def split_body(body: bytes, format_: str) -> list[bytes]:
    """The payloads of a body, in order; the format of each is `json` for an array and for NDJSON, else that
    of the body. Raises `Malformed` for a body in which no payload can be told from the next.
    """
    match format_:
        case "json":
            if not body.lstrip().startswith(b"["):
                return [body]
            try:
                return [bytes(item) for item in _ITEMS.decode(body)]
            except (msgspec.DecodeError, UnicodeDecodeError):
                return [encode_json(item).encode() for item in _lenient_items(body)]
        case "ndjson":
            return [line for line in body.split(b"\n") if line.strip()]
        case "csv":
            try:
                return split_lines(body)
            except Undecodable as error:
                raise Malformed(Issue("structure", str(error))) from None
    return [body]


def payload_format(format_: str) -> str:
    """The format of the payloads that `split_body` gives."""
    return JSON if format_ == NDJSON else format_


def decode(reading: RawReading) -> object:
    """The payload object for the mapper; numbers with a fraction or an exponent are `Decimal`.

    Raises `Undecodable`.
    """
    if reading.decoded is not None:
        return reading.decoded
    if reading.format == JSON:
        return decode_json(reading.content)
    if reading.format == CSV:
        return decode_line(reading.content)
    if reading.format.startswith(GATT):
        return decode_characteristic(reading.format.removeprefix(GATT), reading.content, **_said(reading))
    text = f"The format is none of {JSON}, {CSV} and {GATT}<characteristic>. Send one of these."
    raise Undecodable("format", text)


def decode_json(content: bytes) -> object:
    """The payload object of a JSON text. Raises `Undecodable`."""
    try:
        if content.lstrip().startswith(_ANY_OBJECT):
            return json_text.decode_received(content)
    except Malformed:
        pass  # the other parser is slower, accepts NaN, and says what is wrong without quoting it
    try:
        return parse_payload(content)
    except PayloadError as error:
        raise Undecodable("", f"The reading is not accepted: {error}. Send it again.") from None


def _lenient_items(body: bytes) -> list[object]:
    """The items of a JSON array that may contain NaN and infinities."""
    try:
        items = parse_payload(body)
    except PayloadError as error:
        raise Malformed(Issue("structure", f"The body is not accepted: {error}. Send it again.")) from None
    return items if isinstance(items, list) else []


def _said(reading: RawReading) -> dict[str, str]:
    return {name: reading.parameters[name] for name in _GATT_PARAMETERS if name in reading.parameters}


def names(reading: RawReading) -> Iterator[str]:
    """What tells this payload from others that are equal otherwise."""
    yield reading.format
    yield from (f"{name}={reading.parameters[name]}" for name in sorted(reading.parameters))
