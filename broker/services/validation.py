"""`$validate`: whether a resource would be accepted, without storing it.

The HTTP API calls it. It asks the validator that intake asks, so that the answers agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from broker.errors import Issue, Malformed, RequestError
from broker.ingest.intake import Intake
from broker.ingest.requests import ChangeRequest
from broker.ingest.validator import ProfileValidator
from broker.model.audit import Requester
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.resource import Resource


class ValidationMode(StrEnum):
    """What the client wants to do with the resource; `profile` asks about a profile alone."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class ValidationRequest:
    """What to validate. `id` is that of the URL, '' at the level of a type."""

    release: Release
    type: str
    id: str = ""
    resource: Resource | None = None
    mode: ValidationMode | None = None
    profile: str = ""


class ValidationService:
    """Validates resources by the rules of intake and by the profiles that the validator knows."""

    def __init__(self, intake: Intake, validator: ProfileValidator) -> None:
        self._intake = intake
        self._validator = validator

    def validate(self, principal: Principal, request: ValidationRequest) -> Sequence[Issue]:
        """The issues; none if the resource is valid and the broker would do what the mode says.

        Raises `Malformed` for a request without what its mode needs, and for a body that is not JSON;
        `Unprocessable` for an unknown profile, by its name.
        """
        if request.mode is ValidationMode.PROFILE and not request.profile:
            raise Malformed(Issue("required", "The mode profile needs a profile. Send its URL.", "profile"))
        if request.mode is ValidationMode.DELETE:
            return [] if request.id else [_no_instance(request)]
        resource = request.resource
        if resource is None:
            text = "The resource is missing. Send it as the body, or as the parameter resource."
            raise Malformed(Issue("required", text, "resource"))
        resource.fields  # noqa: B018  raises Malformed for a text that is not JSON: then nothing can be validated
        if request.profile:
            issues = self._validator.validate_profile(
                request.release, request.type, resource, request.profile
            )
            if issues or request.mode is ValidationMode.PROFILE:
                return issues
        if request.mode is None:
            return self._validator.validate(request.release, request.type, resource, principal.client_id)
        try:
            return self._intake.validate(_change(principal, request, resource))
        except RequestError as error:
            return error.issues


def _change(principal: Principal, request: ValidationRequest, resource: Resource) -> ChangeRequest:
    is_create = request.mode is ValidationMode.CREATE
    return ChangeRequest(
        tenant=principal.tenant,
        release=request.release,
        op="create" if is_create else "put",
        type=request.type,
        id="" if is_create else request.id or resource.id,
        resource=resource,
        requester=Requester(principal.client_id),
    )


def _no_instance(request: ValidationRequest) -> Issue:
    text = f"A deletion names one resource. Send it to {request.type}/[id]/$validate."
    return Issue("required", text)
