"""`$adopt`: an administrator gives a Subscription that belongs to no registered client to one."""

from functools import partial

import structlog

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.named_values import render, text
from broker.api.operation_input import read_input, single
from broker.errors import Issue, Malformed
from broker.services.adoption import AdoptionService

_log = structlog.get_logger(__name__)


class AdoptionHandlers:
    """The row for the owner of one Subscription."""

    def __init__(self, adoption: AdoptionService) -> None:
        self._adoption = adoption

    async def adopt(self, request: FhirRequest) -> FhirResponse:
        """The Subscription belongs to the client from now on; its handshake is due."""
        client_id = single(read_input(request, {"client"}), "client")
        if not client_id:
            text_ = "Send the parameter client: the client_id of the new owner."
            raise Malformed(Issue("required", text_, "client"))
        adopted, before = await self._adoption.adopt(
            request.principal, request.params["id"], client_id, request.requester
        )
        _log.info("subscription adopted", path=request.path, client=client_id, before=before)
        return FhirResponse(
            body=render(text("status", adopted.status, "Code"), text("previous-owner", before)),
            audit_detail=f"from {before} to {client_id}",
            after=partial(self._adoption.send_handshake, adopted),
        )
