"""`$validate`: the body is the resource itself, or Parameters with resource, mode and profile."""

from collections.abc import Mapping

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.named_values import read
from broker.errors import Issue, Malformed
from broker.fhir.criteria import RESPONSE_PARAMETERS
from broker.fhir.outcomes import operation_outcome
from broker.model.resource import JsonObject, Resource
from broker.services.changes import ChangeService
from broker.services.validation import ValidationMode, ValidationRequest, ValidationService

_PARAMETERS = ("resource", "mode", "profile")


class ValidationHandlers:
    """The rows for `$validate`."""

    def __init__(self, validation: ValidationService, changes: ChangeService) -> None:
        self._validation = validation
        self._changes = changes

    async def validate(self, request: FhirRequest) -> FhirResponse:
        """200 with the issues of the resource; without any, with one of severity information.

        The mode `profile` without a resource is about the stored one that the URL names.
        """
        resource, texts = _read(request)
        mode, resource_id = texts.get("mode", ""), request.params.get("id", "")
        if mode and mode not in set(ValidationMode):
            text = f"mode takes {', '.join(ValidationMode)}, not {mode!r}."
            raise Malformed(Issue("value", text, "mode"))
        if resource is None and resource_id and mode == ValidationMode.PROFILE and "profile" in texts:
            resource_type = request.params["type"]
            stored = await self._changes.read(request.principal, request.release, resource_type, resource_id)
            resource = stored.resource
        validated = ValidationRequest(
            request.release,
            request.params["type"],
            resource_id,
            resource,
            ValidationMode(mode) if mode else None,
            texts.get("profile", ""),
        )
        issues = self._validation.validate(request.principal, validated)
        return FhirResponse(body=operation_outcome(issues))


def _read(request: FhirRequest) -> tuple[Resource | None, Mapping[str, str]]:
    """The resource and the other parameters, which may also be in the URL."""
    texts: dict[str, str] = {}
    for name, value in request.query.multi_items():
        if name not in {"mode", "profile", *RESPONSE_PARAMETERS} or name in texts:
            text = f"The parameter {name!r} is not supported or repeated. Send mode and profile once."
            raise Malformed(Issue("not-supported", text, name))
        texts[name] = value
    body = request.resource
    if not body.text:
        return None, texts
    if not _is_input(body, request.params["type"]):
        return body, texts
    values = read(body, _PARAMETERS)
    for name in texts.keys() & values.keys():
        raise Malformed(Issue("conflict", f"{name} is in the URL and in the body. Send it once.", name))
    resource = values["resource"].resource if "resource" in values else None
    return resource, texts | {name: value.text for name, value in values.items() if name != "resource"}


def _is_input(body: Resource, resource_type: str) -> bool:
    """Whether the body is the input of the operation; Parameters may also be what is to be validated."""
    if body.fields.get("resourceType") != "Parameters":
        return False
    if resource_type != "Parameters":
        return True
    parameters = body.fields.get("parameter")
    return isinstance(parameters, tuple) and any(
        isinstance(each, JsonObject) and each.get("name") == "resource" and "resource" in each
        for each in parameters
    )
