"""Responses to writes in the form that the client prefers (`Prefer: return=`).

Every create, update and delete of every type answers through here: with the resource, with nothing, or with
an OperationOutcome that has the warnings.
"""

from collections.abc import Iterable, Mapping

from broker.api.exchange import FhirRequest, FhirResponse
from broker.errors import Issue
from broker.fhir.outcomes import operation_outcome
from broker.model.access import Access
from broker.model.resource import Resource

_READ = Access(scope="system/{type}.r")


def written(
    request: FhirRequest,
    status: int,
    resource: Resource | None,
    headers: Mapping[str, str],
    warnings: Iterable[Issue] = (),
) -> FhirResponse:
    """The response to a create or update; None for a resource that is no longer stored.

    A patch is answered with the whole resource only to who may read it.
    """
    if request.preferences.returns == "OperationOutcome":
        return FhirResponse(status, operation_outcome(warnings), headers, is_outcome=True)
    if resource is None or request.preferences.returns == "minimal" or not _may_see(request, resource):
        return FhirResponse(status, headers=headers)
    return FhirResponse(status, resource.text, headers)


def _may_see(request: FhirRequest, resource: Resource) -> bool:
    return request.method != "PATCH" or _READ.is_met_by(request.principal, resource.type)


def deleted(request: FhirRequest, headers: Mapping[str, str] | None = None) -> FhirResponse:
    """The response to a delete: 204, or 200 where the client prefers an OperationOutcome."""
    if request.preferences.returns == "OperationOutcome":
        return FhirResponse(200, operation_outcome(()), headers or {}, is_outcome=True)
    return FhirResponse(204, headers=headers or {})
