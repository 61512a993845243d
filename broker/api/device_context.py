"""`Device/[id]/$context`: a device's own view of its patient, as a searchset."""

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.operation_input import read_input
from broker.fhir import bundles
from broker.services.accessed import entity_of
from broker.services.changes import StoredResource
from broker.services.device_context import DeviceContextService


class DeviceContextHandlers:
    """The rows for `$context`."""

    def __init__(self, contexts: DeviceContextService) -> None:
        self._contexts = contexts

    async def read(self, request: FhirRequest) -> FhirResponse:
        """The Device as the match, what belongs to its context as included, and an OperationOutcome about
        what is missing.
        """
        read_input(request, set())
        context = await self._contexts.read(request.principal, request.release, request.params["id"])
        device = context.device

        def url(stored: StoredResource) -> str:
            return request.url(stored.version.key.reference)

        entries = [bundles.match_entry(url(device), device.resource)]
        entries += [bundles.include_entry(url(each), each.resource) for each in context.related]
        if context.issues:
            entries.append(bundles.outcome_entry(context.issues))
        body = bundles.searchset(entries, request.url(request.path), total=1).text
        accessed = tuple(entity_of(each.version) for each in (device, *context.related))
        return FhirResponse(body=body, accessed=accessed)
