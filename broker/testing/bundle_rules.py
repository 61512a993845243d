"""The rules for a notification Bundle that models of resources do not have: what its entries need in each
release. Each finding begins with the requirement that is not met.

Written against the specification alone; the broker's own renderers are not asked.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NUMBER = re.compile(r"0|[1-9][0-9]*")
_STATUS_URL = re.compile(r"(.*/)?Subscription/[A-Za-z0-9\-.]{1,64}/\$status")
_NOTIFICATION = "event-notification"
Entry = Mapping[str, Any]


def rule_findings(bundle: Mapping[str, Any]) -> tuple[str, ...]:
    """What a notification Bundle of any release lacks; nothing if it is as it has to be."""
    entries = [entry for entry in bundle.get("entry") or () if isinstance(entry, Mapping)]
    status = entries[0].get("resource") if entries else None
    kind = status.get("resourceType") if isinstance(status, Mapping) else None
    if not isinstance(status, Mapping) or kind not in {"Parameters", "SubscriptionStatus"}:
        return ("R-200: the first entry is no status of a Subscription",)
    # R4 has Parameters for the status; of the others, R5 has a Bundle type for notifications
    is_history = kind == "Parameters" or bundle.get("type") == "history"
    rules = _history(entries, bundle) if is_history else _of_r5(entries, bundle)
    return (*rules, *_status_rules(_named(status)))


def _history(entries: Sequence[Entry], bundle: Mapping[str, Any]) -> Iterator[str]:
    if bundle.get("type") != "history":
        yield f"R-201: the Bundle is a {bundle.get('type')}, not a history"
    for n, entry in enumerate(entries):
        for member in ("request", "response"):
            if member not in entry:
                yield f"R-203: entry {n} has no {member}"
    request = entries[0].get("request", {})
    if request and (request.get("method") != "GET" or not _STATUS_URL.fullmatch(str(request.get("url")))):
        yield "R-204: the request of the status entry is not GET Subscription/[id]/$status"


def _of_r5(entries: Sequence[Entry], bundle: Mapping[str, Any]) -> Iterator[str]:
    if bundle.get("type") != "subscription-notification":
        yield f"R-202: the Bundle is a {bundle.get('type')}, not a subscription-notification"
    for n, entry in enumerate(entries):
        if "fullUrl" not in entry:
            yield f"R-202: entry {n} has no fullUrl"
        for member in ("response", "search"):
            if member in entry:
                yield f"R-207: entry {n} has a {member}"


def _status_rules(status: Mapping[str, Any]) -> Iterator[str]:
    for name in ("subscription", "type"):
        if not status.get(name):
            yield f"R-220: the status has no {name}"
    events = status.get("notificationEvent") or []
    if status.get("type") == _NOTIFICATION and not events:
        yield "R-223: an event-notification has no notificationEvent"
    count = status.get("eventsSinceSubscriptionStart")
    numbers = [event.get("eventNumber") for event in events]
    for number in [*numbers, *([] if count is None else [count])]:
        if not isinstance(number, str) or not _NUMBER.fullmatch(number):
            yield f"R-221: {number!r} is no number in a string"


def _named(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The Parameters of R4 under the names of SubscriptionStatus."""
    if status.get("resourceType") != "Parameters":
        return status
    named: dict[str, Any] = {"notificationEvent": []}
    for parameter in status.get("parameter", []):
        value = _value(parameter)
        match parameter.get("name"):
            case "notification-event":
                parts = {part.get("name"): _value(part) for part in parameter.get("part", [])}
                named["notificationEvent"].append({"eventNumber": parts.get("event-number")})
            case "events-since-subscription-start":
                named["eventsSinceSubscriptionStart"] = value
            case name:
                named[str(name)] = value
    return named


def _value(parameter: Mapping[str, Any]) -> Any:
    return next((value for name, value in parameter.items() if name.startswith("value")), None)
