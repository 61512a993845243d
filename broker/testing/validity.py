"""Tells whether a notification Bundle is a valid resource of its release, by the models of fhir.resources.

`SimulatedSubscriber` imports this with its first notification: the library takes half a second to import. The
broker validates by tables of its own, so the two check each other.
"""

from collections.abc import Iterator
from typing import Any, cast

import orjson
from fhir.resources import get_fhir_model_class as r5_model
from fhir.resources.R4B import get_fhir_model_class as r4b_model
from pydantic import ValidationError

from broker.testing.bundle_rules import rule_findings

_OF_R4_AND_R4B = "history"
"""The type of a notification Bundle in R4 and R4B; R5 has a type for notifications."""
_CHANGED_IN_R4B = frozenset({"Evidence", "EvidenceVariable"})


def findings_in_notification(body: bytes) -> tuple[str, ...]:
    """What is not valid in a notification Bundle by the rules of `bundle_rules` and the models.

    Of a message, the notification in it is judged.
    """
    bundle = orjson.loads(body)
    if bundle["type"] == "message":
        bundle = bundle["entry"][1]["resource"]
    return (*rule_findings(bundle), *findings_in(orjson.dumps(bundle)))


def findings_in(body: bytes) -> tuple[str, ...]:
    """What is not valid in a Bundle, a text for each finding; nothing if all is.

    fhir.resources has no models of R4, so R4B's read it. Resources of types that R4B does not have, or has
    with another structure, are left out then.
    """
    bundle = orjson.loads(body)
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        return ("it is not a Bundle",)
    find = cast("Any", r5_model)
    if bundle.get("type") == _OF_R4_AND_R4B:
        find = cast("Any", r4b_model)
        _leave_out_unmodelled(bundle)
    try:
        find("Bundle").model_validate(bundle)
    except ValidationError as error:
        return tuple(f"{_path(each['loc'])}: {each['msg']}" for each in error.errors(include_url=False))
    except KeyError as error:  # how the library refuses a resource of a type that it does not know
        return (f"Bundle.entry: no type of the release: {str(error.args[0]).removesuffix('Type')}",)
    return ()


def findings_in_resource(document: dict[str, Any]) -> tuple[str, ...]:
    """What is not valid in an R4 resource by the models of R4B; types that R4B lacks are not judged."""
    if document["resourceType"] in _CHANGED_IN_R4B or not _is_of_r4b(document["resourceType"]):
        return ()
    try:
        cast("Any", r4b_model)(document["resourceType"]).model_validate(document)
    except ValidationError as error:
        return tuple(
            ".".join(map(str, (document["resourceType"], *each["loc"]))) + f": {each['msg']}"
            for each in error.errors(include_url=False)
        )
    return ()


def _path(location: tuple[int | str, ...]) -> str:
    return "Bundle" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _leave_out_unmodelled(bundle: dict[str, Any]) -> None:
    entries = list(_objects(bundle.get("entry")))
    if not entries or _type_of(entries[0].get("resource")) != "Parameters":
        return  # R4B has SubscriptionStatus there
    for entry in entries[1:]:
        resource = entry.get("resource")
        if isinstance(resource, dict):
            types = [_type_of(resource), *map(_type_of, _objects(resource.get("contained")))]
            if any(name in _CHANGED_IN_R4B or not _is_of_r4b(name) for name in types):
                del entry["resource"]


def _is_of_r4b(name: str) -> bool:
    try:
        r4b_model(name)
    except ValueError:
        return False
    return True


def _objects(value: object) -> Iterator[dict[str, Any]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def _type_of(resource: object) -> str:
    return str(resource.get("resourceType")) if isinstance(resource, dict) else ""
