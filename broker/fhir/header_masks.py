"""Puts a mask in the place of each header value in the document of a Subscription.

The names of the headers and all other elements keep their spelling. `security/subscription_secrets.py` seals
the values.
"""

from broker.model import json_text
from broker.model.release import Release

MASK = "********"
"""What a read shows of a header value. It has the same length for every value."""
_MASK_TEXT = json_text.encode(MASK)


def masked_document(release: Release, document: bytes) -> bytes:
    """The document with masks: R5 has the values in `parameter.value`, R4 and R4B in `channel.header`."""
    members = json_text.members(document)
    if release is Release.R5:
        if "parameter" in members:
            masked = [_masked_parameter(item) for item in json_text.items(members["parameter"])]
            members["parameter"] = _array(masked)
        return json_text.join(members)
    channel = json_text.members(members["channel"])
    if "header" in channel:
        channel["header"] = _array([_masked_line(item) for item in json_text.items(channel["header"])])
    return json_text.join(members | {"channel": json_text.join(channel)})


def _masked_parameter(item: bytes) -> bytes:
    return json_text.join(json_text.members(item) | {"value": _MASK_TEXT})


def _masked_line(item: bytes) -> bytes:
    """`Name: value` with the mask after the colon."""
    name, _, _ = json_text.decode_value(item).partition(":")
    return json_text.encode(f"{name}: {MASK}")


def _array(items: list[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"
