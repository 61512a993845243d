"""`$get-ws-binding-token` (R-366): the token by which a websocket is bound to Subscriptions."""

import orjson

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.operation_input import read_input
from broker.clock import to_instant
from broker.services.websocket_tokens import IssuedToken, WebsocketTokenService


class WebsocketTokenHandlers:
    """The rows for `$get-ws-binding-token`."""

    def __init__(self, tokens: WebsocketTokenService) -> None:
        self._tokens = tokens

    async def issue(self, request: FhirRequest) -> FhirResponse:
        """For one Subscription. The parameter `id` is ignored at this level."""
        read_input(request, {"id"})
        return _respond(request, await self._tokens.issue(request.principal, [request.params["id"]]))

    async def issue_for_many(self, request: FhirRequest) -> FhirResponse:
        """For the Subscriptions of `id`, or for every active websocket Subscription of the tenant."""
        references = read_input(request, {"id"}).get("id", ())
        ids = [reference.rpartition("/")[2] for reference in references]
        return _respond(request, await self._tokens.issue(request.principal, ids))


def _respond(request: FhirRequest, issued: IssuedToken) -> FhirResponse:
    url = f"ws{request.base_url.removeprefix('http')}/ws"
    parameters = [
        {"name": "token", "valueString": issued.token},
        {"name": "expiration", "valueDateTime": to_instant(issued.expires_ms)},
        *({"name": "subscription", "valueString": each} for each in issued.subscription_ids),
        {"name": "websocket-url", "valueUrl": url},
    ]
    body = orjson.dumps({"resourceType": "Parameters", "parameter": parameters})
    return FhirResponse(body=body, headers={"Cache-Control": "no-store"})
