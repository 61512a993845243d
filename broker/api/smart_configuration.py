"""Discovery of the authorization server: `{base}/.well-known/smart-configuration` of each FHIR base (S-001 to
S-013).
"""

import orjson

from broker.api import jwks
from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.oauth import INTROSPECT_PATH, REVOKE_PATH, TOKEN_PATH
from broker.errors import Issue, NotFound
from broker.security.clients import AUTH_METHOD
from broker.security.public_keys import ALGORITHMS
from broker.security.scope_grants import SUPPORTED
from broker.security.token_request_words import GRANT_TYPE

PATH = ".well-known/smart-configuration"
_CAPABILITIES = ("client-confidential-asymmetric", "permission-v1", "permission-v2")


class SmartConfigurationHandlers:
    """The row of the document. Without access control there is none."""

    def __init__(self, *, is_smart: bool) -> None:
        self._is_smart = is_smart

    async def read(self, request: FhirRequest) -> FhirResponse:
        """JSON, whatever the Accept header says (S-002)."""
        if not self._is_smart:
            text = "This broker has no access control (BROKER_AUTH=off): send requests without a token."
            raise NotFound(Issue("not-supported", text))
        document = {
            "token_endpoint": request.base_url + TOKEN_PATH,
            "token_endpoint_auth_methods_supported": [AUTH_METHOD],
            "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
            "introspection_endpoint": request.base_url + INTROSPECT_PATH,
            "revocation_endpoint": request.base_url + REVOKE_PATH,
            "jwks_uri": request.base_url + jwks.PATH,
            "grant_types_supported": [GRANT_TYPE],
            "scopes_supported": list(SUPPORTED),
            # required of every server, although there is no authorization endpoint here (S-008)
            "code_challenge_methods_supported": ["S256"],
            "capabilities": list(_CAPABILITIES),
        }
        return FhirResponse(body=orjson.dumps(document), media_type="application/json")
