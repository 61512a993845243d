"""`$rotate-secret`: makes the secret that signs the notifications of one Subscription, and shows it once."""

import structlog

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.named_values import instant, render, text
from broker.api.operation_input import read_input, single
from broker.errors import Issue, Malformed
from broker.services.signing_secrets import SigningSecretService

_log = structlog.get_logger(__name__)
_FLAGS = {"": False, "false": False, "true": True}


class SigningSecretHandlers:
    """The row for the signing secrets of one Subscription."""

    def __init__(self, signing: SigningSecretService) -> None:
        self._signing = signing

    async def rotate(self, request: FhirRequest) -> FhirResponse:
        """A new secret. The one before it signs too for a while, unless `endPrevious` is true."""
        ends_previous = _FLAGS.get(single(read_input(request, {"endPrevious"}), "endPrevious"))
        if ends_previous is None:
            raise Malformed(Issue("value", "endPrevious is true or false.", "endPrevious"))
        rotated = await self._signing.rotate(
            request.principal, request.params["id"], ends_previous=ends_previous
        )
        _log.info("signing secret rotated", path=request.path, ends_previous=ends_previous)
        body = render(text("secret", rotated.secret), instant("previous-until", rotated.previous_ends_ms))
        return FhirResponse(body=body, headers={"Cache-Control": "no-store"})
