"""The realm of the check: clients with `private_key_jwt`, a scope of SMART, a role, audiences, and keys."""

import json
import time
import uuid
from typing import Any

from broker.security.private_keys import PrivateKey
from broker.security.token_request_words import ASSERTION_TYPE
from tests.keycloak.server import Keycloak

AUDIENCE = "https://broker.example"
READ = "system/Observation.rs"
CLIENT, OTHER_AUDIENCE = "ehr", "elsewhere"
KEYS = {client: PrivateKey.generate("ES384") for client in (CLIENT, OTHER_AUDIENCE)}


def set_up(keycloak: Keycloak) -> None:
    """Makes the realm with a client for the broker, and one whose tokens are for somebody else."""
    keycloak.admin("POST", "", {"realm": keycloak.REALM, "enabled": True})
    scope = {"name": READ, "protocol": "openid-connect", "attributes": {"include.in.token.scope": "true"}}
    keycloak.admin("POST", f"/{keycloak.REALM}/client-scopes", scope)
    _add_client(keycloak, CLIENT, AUDIENCE)
    _add_client(keycloak, OTHER_AUDIENCE, "https://other.example")


def token_of(keycloak: Keycloak, client: str = CLIENT) -> str:
    """An access token, for an assertion that the client signs with its key."""
    now = int(time.time())
    claims = {
        "iss": client,
        "sub": client,
        "aud": keycloak.issuer,
        "iat": now,
        "exp": now + 60,
        "jti": uuid.uuid4().hex,
    }
    return keycloak.token(
        {
            "grant_type": "client_credentials",
            "scope": READ,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": KEYS[client].sign(claims),
        }
    )


def rotate_key(keycloak: Keycloak) -> None:
    """From now on the realm signs with a new key; those of before stay published."""
    realm = keycloak.admin("GET", f"/{keycloak.REALM}").json()
    keycloak.admin(
        "POST",
        f"/{keycloak.REALM}/components",
        {
            "name": "next",
            "parentId": realm["id"],
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": {"priority": ["1000"], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"]},
        },
    )


def withdraw_old_keys(keycloak: Keycloak) -> None:
    """The realm publishes the newest key only."""
    path = f"/{keycloak.REALM}/components"
    components = keycloak.admin("GET", f"{path}?type=org.keycloak.keys.KeyProvider").json()
    for component in components:
        if component["providerId"] == "rsa-generated" and component["name"] != "next":
            keycloak.admin("DELETE", f"{path}/{component['id']}")


def grant_role(keycloak: Keycloak, role: str) -> None:
    """The client has the role of the realm from its next token on."""
    realm = f"/{keycloak.REALM}"
    keycloak.admin("POST", f"{realm}/roles", {"name": role})
    client = keycloak.admin("GET", f"{realm}/clients?clientId={CLIENT}").json()[0]
    user = keycloak.admin("GET", f"{realm}/clients/{client['id']}/service-account-user").json()
    found = keycloak.admin("GET", f"{realm}/roles/{role}").json()
    keycloak.admin("POST", f"{realm}/users/{user['id']}/role-mappings/realm", [found])


def _add_client(keycloak: Keycloak, client: str, audience: str) -> None:
    mapper: dict[str, Any] = {
        "name": "audience",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": {"included.custom.audience": audience, "access.token.claim": "true"},
    }
    document = {
        "clientId": client,
        "protocol": "openid-connect",
        "publicClient": False,
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
        "clientAuthenticatorType": "client-jwt",
        "attributes": {
            "use.jwks.string": "true",
            "jwks.string": json.dumps({"keys": [dict(KEYS[client].public_jwk) | {"use": "sig"}]}),
            "token.endpoint.auth.signing.alg": "ES384",
        },
        "defaultClientScopes": ["roles", "basic", READ],
        "protocolMappers": [mapper],
    }
    keycloak.admin("POST", f"/{keycloak.REALM}/clients", document)
