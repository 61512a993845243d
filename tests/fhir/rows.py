"""The requirements on a notification Bundle, each a check named by its row; `check_rows` applies all of them
to bytes that were sent.

Written against the specification alone: nothing here asks the broker how it renders. The models of
fhir.resources read every Bundle back; R4 has none of its own and is read by those of R4B.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import orjson
from fhir.resources import get_fhir_model_class as r5_model
from fhir.resources.R4B import get_fhir_model_class as r4b_model

from broker.model.release import Release
from broker.model.subscription import PayloadContent

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_NUMBER = re.compile(r"0|[1-9][0-9]*")
_TYPES = {"handshake", "heartbeat", "event-notification", "query-status", "query-event"}
_CODES = {("POST", "201"), ("PUT", "200"), ("DELETE", "204"), ("GET", "200")}
_VALUES = {
    "subscription": "valueReference",
    "topic": "valueCanonical",
    "status": "valueCode",
    "type": "valueCode",
    "events-since-subscription-start": "valueString",
    "error": "valueCodeableConcept",
    "event-number": "valueString",
    "timestamp": "valueInstant",
    "focus": "valueReference",
    "additional-context": "valueReference",
}


def read_back(release: Release, body: bytes) -> None:
    """Raises what fhir.resources raises for a body that is no valid resource of the release."""
    name = orjson.loads(body)["resourceType"]
    find = cast("Any", r5_model if release is Release.R5 else r4b_model)
    find(name).model_validate_json(body)


@dataclass(frozen=True)
class Sent:
    """A notification as it left, and what it has to agree with."""

    body: bytes
    release: Release
    content: PayloadContent
    base: str
    subscription: str
    topic: str

    @cached_property
    def bundle(self) -> dict[str, Any]:
        loaded: dict[str, Any] = orjson.loads(self.body)
        return loaded

    @property
    def entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.bundle["entry"]
        return entries

    @property
    def is_history(self) -> bool:
        return self.release is not Release.R5

    @cached_property
    def status(self) -> dict[str, Any]:
        """The status entry's resource, that of R4 under the names of SubscriptionStatus; R-230..R-237 are
        checked on the way.
        """
        resource: dict[str, Any] = self.entries[0]["resource"]
        if self.release is not Release.R4:
            return resource
        flat: dict[str, Any] = {"notificationEvent": [], "error": []}
        for parameter in resource["parameter"]:
            if parameter["name"] == "notification-event":
                assert set(parameter) == {"name", "part"}, "R-235"
                parts = {part["name"]: part[_VALUES[part["name"]]] for part in parameter["part"]}
                parts["eventNumber"] = parts.pop("event-number")
                flat["notificationEvent"].append(parts)
            elif parameter["name"] == "error":
                flat["error"].append(parameter["valueCodeableConcept"])
            else:
                flat[parameter["name"]] = parameter[_VALUES[parameter["name"]]]
        flat["eventsSinceSubscriptionStart"] = flat.pop("events-since-subscription-start")
        return flat

    @property
    def type(self) -> str:
        return str(self.status["type"])

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.status.get("notificationEvent") or []

    @property
    def numbers(self) -> list[int]:
        return [int(event["eventNumber"]) for event in self.events]


def r_200_status_entry_comes_first(sent: Sent) -> None:
    expected = "Parameters" if sent.release is Release.R4 else "SubscriptionStatus"
    resource_types = [entry.get("resource", {}).get("resourceType") for entry in sent.entries]
    assert resource_types[0] == expected
    assert expected not in resource_types[1:]


def r_201_r_202_bundle_type(sent: Sent) -> None:
    assert sent.bundle["type"] == ("history" if sent.is_history else "subscription-notification")
    profile = {
        Release.R4: [f"{BACKPORT}backport-subscription-notification-r4"],
        Release.R4B: [f"{BACKPORT}backport-subscription-notification"],
    }
    if sent.is_history:
        assert sent.bundle["meta"]["profile"] == profile[sent.release]
    assert all("fullUrl" in entry for entry in sent.entries)


def r_203_r_207_request_and_response(sent: Sent) -> None:
    for n, entry in enumerate(sent.entries):
        assert ("response" in entry) is sent.is_history
        assert ("request" in entry) is (sent.is_history or n > 0)
        assert "search" not in entry


def r_203a_full_urls_are_unversioned_and_distinct(sent: Sent) -> None:
    assert not any("/_history/" in entry["fullUrl"] for entry in sent.entries)
    urls = [entry["fullUrl"] for entry in sent.entries]
    assert len(urls) == len(set(urls)), "decision 140: one version of each resource, in every release"


def r_204_status_entry_request(sent: Sent) -> None:
    if sent.is_history:
        request = sent.entries[0]["request"]
        assert request["method"] == "GET"
        assert request["url"].endswith(f"Subscription/{sent.subscription}/$status")
        assert sent.entries[0]["response"]["status"] == "200"


def r_205_other_entries_tell_what_happened(sent: Sent) -> None:
    for entry in sent.entries[1:]:
        method, url = entry["request"]["method"], entry["request"]["url"]
        if entry["fullUrl"].startswith("urn:uuid:"):  # a version that is not in the Bundle
            assert "resource" not in entry
            assert re.fullmatch(r"\w+/[^/]+/_history/\d+" if method == "GET" else r"\w+/[^/]+", url)
            assert method in {"GET", "DELETE"}
        else:
            resource_type, _, resource_id = entry["fullUrl"].removeprefix(f"{sent.base}/").partition("/")
            assert url == (resource_type if method == "POST" else f"{resource_type}/{resource_id}")
        if sent.is_history:
            assert (method, entry["response"]["status"]) in _CODES


def r_206_full_urls(sent: Sent) -> None:
    status_id = sent.entries[0]["resource"]["id"]
    assert _UUID.fullmatch(status_id)
    assert sent.entries[0]["fullUrl"] == f"urn:uuid:{status_id}"
    for entry in sent.entries[1:]:
        assert entry["fullUrl"].startswith((f"{sent.base}/", "urn:uuid:"))


def r_208_bundle_id_and_time(sent: Sent) -> None:
    assert _UUID.fullmatch(sent.bundle["id"])
    assert _INSTANT.fullmatch(sent.bundle["timestamp"])
    assert not {"total", "link"} & set(sent.bundle)


def r_220_r_230_what_the_status_tells(sent: Sent) -> None:
    assert sent.type in _TYPES
    assert sent.status["subscription"] == {"reference": f"{sent.base}/Subscription/{sent.subscription}"}
    assert sent.status["status"] in {"requested", "active", "error", "off"}


def r_221_counts_are_strings_of_digits(sent: Sent) -> None:
    for number in (sent.status["eventsSinceSubscriptionStart"], *(e["eventNumber"] for e in sent.events)):
        assert isinstance(number, str)
        assert _NUMBER.fullmatch(number)


def r_222_events_carry_their_time(sent: Sent) -> None:
    for event in sent.events:
        assert _INSTANT.fullmatch(event["timestamp"])


def r_223_r_266_types_with_events(sent: Sent) -> None:
    if sent.type == "event-notification" or (sent.type == "query-event" and sent.release is Release.R5):
        assert sent.events


def r_240_empty_tells_nothing(sent: Sent) -> None:
    if sent.content is PayloadContent.EMPTY:
        assert not any({"focus", "additionalContext", "additional-context"} & set(e) for e in sent.events)
        assert len(sent.entries) == 1


def r_241_topic(sent: Sent) -> None:
    expected = None if sent.content is PayloadContent.EMPTY else sent.topic
    assert sent.status.get("topic") == expected


def r_224_r_242_r_412_focus_is_an_absolute_typed_reference(sent: Sent) -> None:
    if sent.content is PayloadContent.EMPTY:
        return
    for event in sent.events:
        resource_type, _, resource_id = (
            event["focus"]["reference"].removeprefix(f"{sent.base}/").partition("/")
        )
        assert event["focus"]["reference"] == f"{sent.base}/{resource_type}/{resource_id}"
        assert resource_type == event["focus"]["type"]
        assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}(/_history/\d+)?", resource_id)
    if sent.content is PayloadContent.ID_ONLY:
        assert len(sent.entries) == 1


def r_243_r_244_r_246_full_resource_has_an_entry_per_focus(sent: Sent) -> None:
    if sent.content is not PayloadContent.FULL_RESOURCE:
        return
    foci = {event["focus"]["reference"].partition("/_history/")[0] for event in sent.events}
    assert {entry["fullUrl"] for entry in sent.entries[1:] if entry["fullUrl"].startswith("http")} == foci
    for entry in sent.entries[1:]:
        if entry["request"]["method"] in {"DELETE", "GET"}:
            assert "resource" not in entry
        else:
            resource = entry["resource"]
            assert entry["fullUrl"] == f"{sent.base}/{resource['resourceType']}/{resource['id']}"


def r_250_r_252_numbers(sent: Sent) -> None:
    numbers = sent.numbers
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    if sent.type == "event-notification":
        assert sent.status["eventsSinceSubscriptionStart"] == str(numbers[-1])


def r_267_errors_have_a_text(sent: Sent) -> None:
    for error in sent.status.get("error", []):
        assert error["text"]
        for coding in error.get("coding", []):
            assert coding["system"] == "http://terminology.hl7.org/CodeSystem/subscription-error"


ROWS = [check for name, check in list(globals().items()) if re.match(r"r_\d{3}", name)]


def check_rows(sent: Sent) -> Sent:
    """Every row at once; the assertion that fails stands in the function named by its row."""
    read_back(sent.release, sent.body)
    for resource in _resources(sent):
        read_back(sent.release, orjson.dumps(resource))
    for check in ROWS:
        check(sent)
    return sent


def _resources(sent: Sent) -> Iterator[dict[str, Any]]:
    for entry in sent.entries:
        if "resource" in entry:
            yield entry["resource"]
