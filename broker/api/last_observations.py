"""`Observation/$lastn` over HTTP: https://hl7.org/fhir/R4/observation-operation-lastn.html"""

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.operation_input import pairs
from broker.fhir import bundles
from broker.fhir.summaries import summarize
from broker.services.accessed import entity_of
from broker.services.last_observations import LastObservationsService
from broker.tasks import Slices


class LastObservationHandlers:
    """The rows for `$lastn`."""

    def __init__(self, observations: LastObservationsService) -> None:
        self._observations = observations

    async def read(self, request: FhirRequest) -> FhirResponse:
        """A searchset of the newest Observations of each code, the newest first."""
        found = await self._observations.read(
            request.principal,
            request.release,
            pairs(request),
            is_strict=request.preferences.handling == "strict",
        )
        entries, slices = [], Slices()
        for match in found.matches:
            url = request.url(match.version.key.reference)
            shown = summarize(request.release, match.resource, found.search.shape.view)
            entries.append(bundles.match_entry(url, shown))
            await slices.pause()
        if found.warnings:
            entries.append(bundles.outcome_entry(found.warnings))
        body = bundles.searchset(
            entries, request.self_url, total=len(found.matches), updated_ms=found.moment_ms
        )
        accessed = [entity_of(match.version) for match in found.matches]
        return FhirResponse(body=body.text, accessed=accessed)
