"""Publishes the public parts of the broker's own keys, with which it authenticates where it is a client
(S-100).

Nobody has to authenticate, and an unknown tenant has an empty set: the route does not show who is a tenant.
"""

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.clock import Clock
from broker.errors import ConfigurationError
from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Tenant
from broker.security.broker_keys import MAX_AGE_S, BrokerKeys

PATH = "/oauth/jwks"
TENANT_PATH = "/oauth/jwks/{tenant}"
_HEADERS = {"Cache-Control": f"public, max-age={MAX_AGE_S}"}
_log = structlog.get_logger(__name__)


class KeySets:
    """What the routes use; the composition root puts it into the application's state as `key_sets`."""

    def __init__(self, keys: BrokerKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    def of(self, tenant: str) -> dict[str, object]:
        """A JSON Web Key Set. Raises `ConfigurationError` if the tenant's keys are not valid."""
        if not TENANT_PATTERN.fullmatch(tenant):
            return {"keys": []}
        return {"keys": [dict(jwk) for jwk in self._keys.published(Tenant(tenant), self._clock.now_ms())]}


async def jwks(request: Request) -> Response:
    key_sets: KeySets = request.app.state.key_sets
    try:
        document = key_sets.of(request.path_params.get("tenant", DEFAULT_TENANT))
    except ConfigurationError as error:
        _log.error("the broker's keys cannot be published", error=str(error))
        return JSONResponse({"error": "temporarily_unavailable"}, 503, {"Cache-Control": "no-store"})
    return JSONResponse(document, headers=_HEADERS)
