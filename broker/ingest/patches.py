"""Patches of resources: JSON Patch and FHIRPath Patch, as the body of a request or an entry of a Bundle.

A patch is applied to the resource as the base shows it, and the result is validated as an update. Who applies
one writes the result on the condition that the resource still has the version that was read. The HTTP API
parses patches; intake and the services for Subscriptions and topics apply them.
"""

import base64
import binascii
from typing import Any, TypeAlias

from broker.errors import Issue, Malformed, Unprocessable
from broker.fhir.fhirpath_patch import FhirPathPatch, parse_fhirpath_patch
from broker.fhir.patch_paths import Evaluate, NotApplicable
from broker.matching.fhirpath import BadExpression, compile_expression
from broker.matching.problems import EvaluationFailed
from broker.model import json_text
from broker.model.json_patch import JsonPatch, parse_json_patch
from broker.model.release import Release
from broker.model.resource import Resource

JSON_PATCH = "application/json-patch+json"
MAX_ATTEMPTS = 25
"""How often a patch is applied again because the resource has changed meanwhile. Each time another client has
made progress, so only a crowd of writers exceeds it.
"""
Patch: TypeAlias = JsonPatch | FhirPathPatch


def parse_patch(body: Resource) -> Patch:
    """The patch in a FHIR resource: Parameters with the operations of a FHIRPath Patch, or a Binary with a
    JSON Patch. Raises `Malformed` or `Unprocessable`.
    """
    match body.type:
        case "Parameters":
            return parse_fhirpath_patch(body)
        case "Binary":
            return _of_binary(body)
    text = (
        f"A PATCH takes Parameters (FHIRPath Patch) or {JSON_PATCH}, which an entry of a Bundle contains as "
        f"a Binary. The body is {body.type[:40]!r}."
    )
    raise Unprocessable(Issue("invalid", text, "resourceType"))


def _of_binary(body: Resource) -> JsonPatch:
    content_type, data = body.fields.get("contentType"), body.fields.get("data")
    if not isinstance(content_type, str) or content_type.partition(";")[0].strip().lower() != JSON_PATCH:
        text = f"The content of the Binary is {str(content_type)[:40]!r}. Send {JSON_PATCH}."
        raise Unprocessable(Issue("not-supported", text, "Binary.contentType"))
    try:
        text_of_patch = base64.b64decode("".join(str(data or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(Issue("value", "The data is not base64. Send it again.", "Binary.data")) from None
    return parse_json_patch(text_of_patch)


def apply_patch(patch: Patch, resource: Resource, release: Release) -> Resource:
    """The patched resource of the release; it is not validated. Raises `Malformed` or `Unprocessable`."""
    if isinstance(patch, FhirPathPatch):
        patched = Resource(patch.apply(resource.text, release, _evaluator(release)))
    else:
        patched = Resource(patch.apply(resource.text))
    for name in ("resourceType", "id"):
        if patched.fields.get(name) != resource.fields.get(name):
            text = f"The patch changes {name}, which never changes. Leave it as it is."
            raise Unprocessable(Issue("business-rule", text, f"{resource.type}.{name}"))
    return patched


def _evaluator(release: Release) -> Evaluate:
    """Evaluates criteria within the bounds of `matching/fhirpath_functions.py`."""

    def evaluate(expression: str, resource: Any) -> list[Any]:
        values = json_text.decode_object(json_text.encode(resource))
        environment = {"resource": values, "rootResource": values, "context": values}
        try:
            return compile_expression(expression, release)(values, environment)
        except (BadExpression, EvaluationFailed) as error:
            raise NotApplicable(f"the criteria can't be evaluated: {error}") from error

    return evaluate
