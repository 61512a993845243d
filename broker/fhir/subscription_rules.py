"""What a client may ask of any Subscription, whatever its release (R-150..R-180)."""

from datetime import UTC, datetime

from broker.fhir.elements import Elements
from broker.model.subscription import PayloadContent, SubscriptionStatus

MAX_HEARTBEAT_S = 7 * 86_400
MAX_TIMEOUT_S = 60
MAX_COUNT = 1_000


def submitted_status(elements: Elements) -> SubscriptionStatus:
    """What the client asked for; `active` asks for what `requested` does (R-151)."""
    given = elements.text("status", required=True)
    match given:
        case "requested" | "active" | None:
            return SubscriptionStatus.REQUESTED
        case "off":
            return SubscriptionStatus.OFF
        case "error" | "entered-in-error":
            elements.refuse(
                "value", f"a client submits requested or off; {given!r} is the server's to set", "status"
            )
        case _:
            elements.refuse("value", f"{given!r} is no subscription status", "status")
    return SubscriptionStatus.REQUESTED


def end_ms(elements: Elements, now_ms: int) -> int | None:
    """When the server is to turn it off; must lie ahead (R-159)."""
    given = elements.text("end")
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        elements.refuse("value", f"{given!r} is no instant", "end")
        return None
    if moment.tzinfo is None:
        elements.refuse("value", "an instant needs a time and its offset from UTC", "end")
        return None
    at_ms = int(moment.astimezone(UTC).timestamp() * 1000)
    if at_ms <= now_ms:
        elements.refuse("value", f"{given} has passed", "end")
    return at_ms


def bounded(elements: Elements, name: str, value: int | None, most: int) -> int | None:
    """Refuses more than the broker will do, rather than change what was asked for (R-180)."""
    if value is not None and value > most:
        elements.refuse("value", f"the most the broker takes here is {most}", name)
        return None
    return value


def content(elements: Elements, given: str | None, name: str) -> PayloadContent:
    """The payload level; absence means the least (R-110a)."""
    if given is None:
        return PayloadContent.EMPTY
    try:
        return PayloadContent(given)
    except ValueError:
        elements.refuse("value", f"{given!r} is none of {', '.join(PayloadContent)}", name)
        return PayloadContent.EMPTY


def check_version(elements: Elements, content_type: str, version: str, name: str) -> None:
    """The release of the base it was registered at, or refused (R-175); which types a channel sends is its own to say."""
    short = version.rpartition(".")[0]
    for parameter in content_type.split(";")[1:]:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "fhirversion" and value.strip(' "') not in {version, short}:
            text = f"this base sends FHIR {short}; register at the base of the version wanted"
            elements.refuse("not-supported", text, name)
