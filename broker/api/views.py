"""How much of a resource a read returns: `_summary` and `_elements` on every read.

`InteractionTable.dispatch` passes the response of every row that reads a resource through `narrowed`.
"""

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.media import FHIR_JSON
from broker.fhir.summaries import known_elements, summarize
from broker.model.resource import Resource
from broker.services.result_parameters import parse_view


def narrowed(request: FhirRequest, response: FhirResponse) -> FhirResponse:
    """The response with the part of its resource that the request asks for; raises `Malformed`."""
    if not request.query or response.status != 200 or response.media_type != FHIR_JSON:
        return response
    resource = Resource(response.body)
    view = parse_view(
        request.query.multi_items(),
        known_elements(request.release, resource.type),
        is_strict=request.preferences.handling == "strict",
    )
    return response._replace(body=summarize(request.release, resource, view).text)
