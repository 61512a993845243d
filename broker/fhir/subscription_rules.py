"""Limits and values that the broker accepts in a Subscription of any release (R-150..R-180).

The readers of each release use them.
"""

from datetime import UTC, datetime

from broker.fhir.element_reader import ElementReader
from broker.model.subscription import PayloadContent, SubscriptionStatus

MAX_HEARTBEAT_S = 7 * 86_400
MAX_TIMEOUT_S = 60
MAX_COUNT = 1_000


def submitted_status(reader: ElementReader) -> SubscriptionStatus:
    """The status that the client asks for; `active` means the same as `requested` (R-151)."""
    status = reader.string("status", required=True)
    match status:
        case "requested" | "active" | None:
            return SubscriptionStatus.REQUESTED
        case "off":
            return SubscriptionStatus.OFF
        case "error" | "entered-in-error":
            reader.refuse("value", f"only the server sets {status!r}; submit requested or off", "status")
        case _:
            reader.refuse("value", f"{status!r} is not a subscription status", "status")
    return SubscriptionStatus.REQUESTED


def end_ms(reader: ElementReader) -> int | None:
    """When the server turns the subscription off (R-159); registration decides about a moment in the past."""
    end = reader.string("end")
    if end is None:
        return None
    try:
        moment = datetime.fromisoformat(end)
        at_ms = int(moment.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):  # the calendar's first and last day are out of range in other zones
        reader.refuse("value", f"{end!r} is not an instant", "end")
        return None
    if moment.tzinfo is None:
        reader.refuse("value", "an instant needs a time and its offset from UTC", "end")
        return None
    return at_ms


def at_most(reader: ElementReader, name: str, value: int | None, maximum: int) -> int | None:
    """The value; refused above the maximum, because the broker does not change what a client asks for
    (R-180).
    """
    if value is not None and value > maximum:
        reader.refuse("value", f"the maximum here is {maximum}", name)
        return None
    return value


def content(reader: ElementReader, code: str | None, name: str) -> PayloadContent:
    """The payload level; `empty` where it is absent (R-110a)."""
    if code is None:
        return PayloadContent.EMPTY
    try:
        return PayloadContent(code)
    except ValueError:
        reader.refuse(
            "value", f"{code!r} is not a payload content; use one of {', '.join(PayloadContent)}", name
        )
        return PayloadContent.EMPTY


def check_fhir_version(reader: ElementReader, content_type: str, version: str, name: str) -> None:
    """Refuses a `fhirVersion` other than that of the base (R-175).

    The channel decides which media types it sends.
    """
    short = version.rpartition(".")[0]
    for parameter in content_type.split(";")[1:]:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "fhirversion" and value.strip(' "') not in {version, short}:
            text = f"this base sends FHIR {short}; register at the base of the version you want"
            reader.refuse("not-supported", text, name)
