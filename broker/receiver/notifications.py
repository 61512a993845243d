"""Parses a notification Bundle of any release into one shape.

It shares no code with the part of the broker that writes Bundles, so that the harness can check them with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """One notificationEvent: its number, its time as written, and the reference of its focus ('' with content
    `empty`).
    """

    number: int
    timestamp: str
    focus: str


@dataclass(frozen=True, slots=True)
class ReceivedNotification:
    """The fields of the status entry, and the resources of the other entries; `by_full_url` has those whose
    entry has a fullUrl. `id` is that of the Bundle, '' if it has none.
    """

    id: str
    bundle_type: str
    type: str
    status: str
    subscription: str
    topic: str
    events_since_start: int
    events: tuple[ReceivedEvent, ...]
    resources: tuple[Mapping[str, Any], ...]
    by_full_url: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _parts(parameters: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    for parameter in parameters:
        values = [value for key, value in parameter.items() if key.startswith("value")]
        yield parameter["name"], values[0] if values else parameter.get("part", [])


def _status_of(parameters: dict[str, Any]) -> dict[str, Any]:
    """The Parameters of R4 with the names of SubscriptionStatus."""
    names = {"events-since-subscription-start": "eventsSinceSubscriptionStart"}
    flat: dict[str, Any] = {"notificationEvent": []}
    for name, value in _parts(parameters.get("parameter", [])):
        if name == "notification-event":
            parts = dict(_parts(value))
            flat["notificationEvent"].append(
                {
                    "eventNumber": parts["event-number"],
                    **{k: v for k, v in parts.items() if k != "event-number"},
                }
            )
        else:
            flat[names.get(name, name)] = value
    return flat


def read_notification(body: bytes) -> ReceivedNotification:
    """A notification Bundle, alone or in a message Bundle. Raises `ValueError` if the body is neither."""
    try:
        return _read(_notification_of(orjson.loads(body)))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"no notification Bundle ({type(error).__name__}: {error})") from error


def _notification_of(bundle: Any) -> Any:
    """The Bundle itself, or the one behind the header of a message."""
    return bundle["entry"][1]["resource"] if bundle["type"] == "message" else bundle


def _read(bundle: Any) -> ReceivedNotification:
    first, *rest = (entry for entry in bundle["entry"])
    status = first["resource"]
    if status["resourceType"] == "Parameters":
        status = _status_of(status)
    return ReceivedNotification(
        id=bundle.get("id", ""),
        bundle_type=bundle["type"],
        type=status["type"],
        status=status.get("status", ""),
        subscription=status["subscription"]["reference"],
        topic=status.get("topic", ""),
        events_since_start=int(status.get("eventsSinceSubscriptionStart", 0)),
        events=tuple(
            ReceivedEvent(
                int(event["eventNumber"]),
                event.get("timestamp", ""),
                event.get("focus", {}).get("reference", ""),
            )
            for event in status.get("notificationEvent", [])
        ),
        resources=tuple(entry["resource"] for entry in rest if "resource" in entry),
        by_full_url={
            entry["fullUrl"]: entry["resource"] for entry in rest if {"resource", "fullUrl"} <= entry.keys()
        },
    )
