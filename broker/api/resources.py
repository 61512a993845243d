"""Create, read, vread, update, patch and delete of resources.

Every accepted change is durable before its 2xx.

`plan_*` give the change that a request asks for; a transaction uses them to submit the changes of its entries
together.
"""

from collections.abc import Sequence

from broker.api.binaries import with_content
from broker.api.exchange import FhirRequest, FhirResponse, id_of_update, is_not_modified, version_headers
from broker.api.preconditions import criteria_of_create, criteria_of_url
from broker.api.write_responses import deleted, written
from broker.errors import Issue, MethodNotAllowed
from broker.fhir.identity import check_id, check_type
from broker.ingest.requests import Admission, ChangeRequest
from broker.ingest.transactions import TransactionEntry
from broker.model.precondition import UNCONDITIONAL
from broker.services.accessed import entity_of, entity_of_version
from broker.services.changes import ChangeService, StoredResource
from broker.store.proposals import Acceptance
from broker.tasks import Slices


class ResourceHandlers:
    """The rows for resources of any type."""

    def __init__(self, changes: ChangeService) -> None:
        self._changes = changes

    async def create(self, request: FhirRequest) -> FhirResponse:
        """201. A repetition under the same Idempotency-Key or If-None-Exist answers 200 and makes no second
        event.
        """
        return await self._submit(request, self.plan_create(request))

    async def update(self, request: FhirRequest) -> FhirResponse:
        """Replaces the resource, or creates it under that id."""
        return await self._submit(request, self.plan_update(request))

    async def update_match(self, request: FhirRequest) -> FhirResponse:
        """Replaces the one resource that meets the criteria of the URL, or creates one; 412 for several."""
        return await self._submit(request, self.plan_update_match(request))

    async def patch(self, request: FhirRequest) -> FhirResponse:
        """Applies a patch to the resource as the base shows it; the result is checked as an update."""
        return await self._submit(request, self.plan_patch(request))

    async def patch_match(self, request: FhirRequest) -> FhirResponse:
        """Patches the one resource that meets the criteria of the URL; 404 for none, 412 for several."""
        return await self._submit(request, self.plan_patch_match(request))

    async def delete(self, request: FhirRequest) -> FhirResponse:
        """204, also when repeated. The deletion is a change like any other."""
        return await self._submit(request, self.plan_delete(request))

    async def delete_match(self, request: FhirRequest) -> FhirResponse:
        """Deletes the one resource that meets the criteria of the URL; 204 also for none, 412 for several."""
        return await self._submit(request, self.plan_delete_match(request))

    def plan_create(self, request: FhirRequest) -> ChangeRequest:
        check_type(request.resource, request.params["type"])
        return _change(request)._replace(
            op="create", condition=UNCONDITIONAL, criteria=criteria_of_create(request)
        )

    def plan_update(self, request: FhirRequest) -> ChangeRequest:
        check_type(request.resource, request.params["type"])
        id_of_update(request)
        return _change(request)

    def plan_update_match(self, request: FhirRequest) -> ChangeRequest:
        check_type(request.resource, request.params["type"])
        body_id = request.resource.id
        if body_id:
            check_id(body_id)
        return _change(request)._replace(id=body_id, criteria=criteria_of_url(request))

    def plan_patch(self, request: FhirRequest) -> ChangeRequest:
        check_id(request.params["id"])
        return _change(request)._replace(resource=None, patch=request.patch)

    def plan_patch_match(self, request: FhirRequest) -> ChangeRequest:
        return _change(request)._replace(
            resource=None, patch=request.patch, criteria=criteria_of_url(request)
        )

    def plan_delete_match(self, request: FhirRequest) -> ChangeRequest:
        return _change(request)._replace(op="delete", resource=None, criteria=criteria_of_url(request))

    def plan_delete(self, request: FhirRequest) -> ChangeRequest:
        check_id(request.params["id"])
        return _change(request)._replace(op="delete", resource=None)

    async def _submit(self, request: FhirRequest, change: ChangeRequest) -> FhirResponse:
        return await self._respond(request, await self._changes.submit(change))

    async def transact(self, request: FhirRequest, entries: Sequence[TransactionEntry]) -> list[FhirResponse]:
        """Submits the planned changes of a transaction, all or none; one response an entry."""
        responses, slices = [], Slices()
        for admission in await self._changes.submit_together(entries):
            responses.append(await self._respond(request, admission))
            await slices.pause()
        return responses

    async def _respond(self, request: FhirRequest, admission: Admission) -> FhirResponse:
        resource_type, accepted = admission.request.type, admission.accepted
        if accepted is None and not admission.existing_id:
            return deleted(request)
        if accepted is None:
            stored = await self._changes.read(
                request.principal, request.release, resource_type, admission.existing_id
            )
            headers = _headers(stored) | {"Location": _location(request, stored)}
            return written(request, 200, stored.resource, headers)._replace(
                accessed=(entity_of(stored.version),)
            )
        headers = version_headers(accepted.key.version, accepted.at_ms)
        if admission.request.op == "delete" or accepted.status is Acceptance.GONE:
            return deleted(request, {"ETag": headers["ETag"]})
        headers["Location"] = request.url(f"{accepted.key.reference}/_history/{accepted.key.version}")
        resource, status = admission.stored, 201 if accepted.status is Acceptance.CREATED else 200
        response = written(request, status, resource, headers, admission.warnings)
        if accepted.status is Acceptance.REPLAYED:
            resource = await self._changes.stored_resource(accepted.key)
            response = written(request, status, resource, headers)
            response = response._replace(accessed=(entity_of_version(accepted.key, resource),))
        return response

    async def read(self, request: FhirRequest) -> FhirResponse:
        """The current version in the release of the base; 406 where no conversion exists."""
        resource_type, resource_id = request.params["type"], request.params["id"]
        stored = await self._changes.read(request.principal, request.release, resource_type, resource_id)
        return _respond_read(request, stored)

    async def read_version(self, request: FhirRequest) -> FhirResponse:
        """One stored version in the release of the base."""
        resource_type, resource_id = request.params["type"], request.params["id"]
        stored = await self._changes.read_version(
            request.principal, request.release, resource_type, resource_id, request.params["version"]
        )
        return _respond_read(request, stored)

    async def refuse_search(self, request: FhirRequest) -> FhirResponse:
        """The type is not one of those that the operator has indexed."""
        text = (
            f"This broker does not search {request.params['type']}. Search the EHR that holds the resources, "
            "or ask the administrator of the broker to add the type to BROKER_SEARCH_INDEXES."
        )
        raise MethodNotAllowed(Issue("not-supported", text))

    async def refuse_conditional(self, request: FhirRequest) -> FhirResponse:
        """An update, patch or delete of a type without an id or criteria."""
        text = (
            f"{request.method} {request.path} is not supported. Send it with an id, or with the "
            f"criteria of one resource: {request.params['type']}?identifier=system|value."
        )
        raise MethodNotAllowed(Issue("not-supported", text))


def _change(request: FhirRequest) -> ChangeRequest:
    key = request.idempotency_key
    return ChangeRequest(
        tenant=request.principal.tenant,
        release=request.release,
        op="put",
        type=request.params["type"],
        id=request.params.get("id", ""),
        resource=request.resource,
        condition=request.condition,
        idempotency_key=f"key:{key}" if key else "",
        requester=request.requester,
    )


def _headers(stored: StoredResource) -> dict[str, str]:
    return version_headers(stored.version.key.version, stored.version.at_ms)


def _location(request: FhirRequest, stored: StoredResource) -> str:
    key = stored.version.key
    return request.url(f"{key.reference}/_history/{key.version}")


def _respond_read(request: FhirRequest, stored: StoredResource) -> FhirResponse:
    """The resource, or the content of a Binary; 304 where the client has this version already."""
    headers, accessed = _headers(stored), (entity_of(stored.version),)
    if is_not_modified(request, stored.version.key.version, stored.version.at_ms):
        return FhirResponse(304, headers=headers, accessed=accessed)
    response = FhirResponse(200, stored.resource.text, headers, accessed=accessed)
    return with_content(request, response) if request.params["type"] == "Binary" else response
