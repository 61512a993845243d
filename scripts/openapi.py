"""The endpoints beside the FHIR bases in OpenAPI 3.1: health, metrics, readings and OAuth.

Paths, methods and access are those of the route table; the rest is written here. Every route has an entry,
and no entry is without a route. `tests/integration/test_openapi.py` compares answers with the schemas.
"""

from collections.abc import Mapping

from starlette.routing import Route

from broker.api import clients, jwks, oauth, readings
from broker.api.routes import OAUTH, ROUTES
from broker.model.access import Access
from scripts.openapi_schemas import SCHEMAS, SCOPES, TEXT, Node, object_of, schema


def document() -> Node:
    """The OpenAPI document."""
    paths: dict[str, Node] = {}
    for row in (*ROUTES, *OAUTH):
        if row.route is Route:
            path = row.path.replace(":path}", "}")
            operation = OPERATIONS[row.method, row.path] | {"security": _security(row.access)}
            paths.setdefault(path, {})[row.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fhir-broker: endpoints beside FHIR",
            "version": "1",
            "description": "The FHIR bases describe themselves: GET /r5/metadata.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "With BROKER_AUTH=smart: an access token of /oauth/token.",
                }
            },
        },
    }


def _security(access: Access) -> list[Node]:
    if access.is_public:
        return []
    return [{"token": [access.scope or str(access.role or "")] if access.scope or access.role else []}]


def _content(name: str, media_type: str = "application/json") -> Node:
    return {media_type: {"schema": schema(name)}}


def _answer(text: str, name: str = "", media_type: str = "application/json") -> Node:
    return {"description": text} | ({"content": _content(name, media_type)} if name else {})


def _outcome(text: str) -> Node:
    return _answer(text, "OperationOutcome", "application/fhir+json")


def _refused(text: str) -> Node:
    return _answer(text, "OAuthError")


def _form(*required: str, **fields: str) -> Node:
    members = {name: {"type": "string", "description": text} for name, text in fields.items()}
    form = object_of(members, *required)
    return {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}


_ASSERTION = {
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "client_assertion": "A JWT that the client signs, for the URL it posts to.",
    "client_id": "The client, if it is sent besides the assertion.",
}
_ASSERTED = ("client_assertion_type", "client_assertion")
_UNAVAILABLE = _refused("The store is unavailable. Retry after the seconds of Retry-After.")
_ID: Node = {"name": "client_id", "in": "path", "required": True, "schema": TEXT}
_IF_MATCH: Node = {
    "name": "If-Match",
    "in": "header",
    "schema": TEXT,
    "description": "The ETag that was read.",
}
_NOT_ADMIN = {
    "401": _outcome("There is no valid access token."),
    "403": _outcome("The role admin is missing."),
}
_UNKNOWN = _refused("There is no such client.")
_CHANGED = _refused("The registration was changed meanwhile.")
_BODY: Node = {"required": True, "content": _content("Registration")}
_OF_A_CLIENT = _answer("The client.", "Client")
OPERATIONS: Mapping[tuple[str, str], Node] = {
    ("GET", "/livez"): {
        "summary": "Whether the process runs",
        "responses": {"200": _answer("It runs.", "Alive")},
    },
    ("GET", "/readyz"): {
        "summary": "Whether the process can work, part by part",
        "responses": {
            "200": _answer("Every part works.", "Readiness"),
            "503": _answer("A part does not work.", "Readiness"),
        },
    },
    ("GET", "/metrics"): {
        "summary": "Metrics in Prometheus's text format",
        "responses": {
            "200": {
                "description": "docs/metrics.md lists them.",
                "content": {"text/plain": {"schema": TEXT}},
            },
            "401": _outcome("There is no valid access token."),
            "403": _outcome("The role operator is missing."),
        },
    },
    ("POST", readings.PATH): {
        "summary": "Send payloads of devices, one or many",
        "parameters": [
            *(
                {"name": name, "in": "query", "schema": TEXT, "description": text}
                for name, text in {
                    "characteristic": "The number of the Bluetooth characteristic of a binary body.",
                    "device": "The device, as system|value.",
                    "patient": "The patient, as system|value.",
                    "gateway": "The gateway, as system|value.",
                    "offset": "The time zone of a clock without one, such as +02:00.",
                }.items()
            ),
            {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 256}},
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"type": ["object", "array"]}},
                "application/x-ndjson": {"schema": TEXT},
                "text/csv": {"schema": TEXT},
                "application/octet-stream": {},
            },
        },
        "responses": {
            "200": {
                "description": "Stored before; for many payloads the result of each.",
                "content": {
                    "application/json": {
                        "schema": {"anyOf": [schema("ReadingResult"), schema("ReadingResults")]}
                    }
                },
            },
            "201": _answer("Stored.", "ReadingResult"),
            "202": _answer("Quarantined.", "ReadingResult"),
            "400": _outcome("The body cannot be read."),
            "401": _outcome("There is no valid access token."),
            "403": _outcome("The scope system/Observation.c is missing."),
            "413": _outcome("The body is too large, or has too many payloads."),
            "415": _outcome("The content type is none of those above."),
            "422": _answer("Refused; correct it and send it again.", "ReadingResult"),
            "429": _outcome("The client sends too fast. Retry after the seconds of Retry-After."),
            "503": _outcome("Not accepted. Retry after the seconds of Retry-After."),
        },
    },
    ("POST", oauth.TOKEN_PATH): {
        "summary": "Get an access token (SMART Backend Services)",
        "requestBody": _form(
            "grant_type",
            "scope",
            *_ASSERTED,
            grant_type="client_credentials",
            scope=SCOPES,
            **_ASSERTION,
        ),
        "responses": {
            "200": _answer("The token.", "Token"),
            "400": _refused("The request is refused."),
            "413": _refused("The body is too large."),
            "503": _UNAVAILABLE,
        },
    },
    ("POST", oauth.INTROSPECT_PATH): {
        "summary": "What an access token allows (RFC 7662)",
        "requestBody": _form("token", token="The token to look at.", token_type_hint="Ignored."),
        "responses": {
            "200": _answer("What it allows, if it is valid.", "Introspection"),
            "400": _refused("The request is refused."),
            "401": _outcome("There is no valid access token."),
            "503": _UNAVAILABLE,
        },
    },
    ("POST", oauth.REVOKE_PATH): {
        "summary": "Revoke an access token of the client (RFC 7009)",
        "requestBody": _form(
            "token", *_ASSERTED, token="The token to revoke.", token_type_hint="Ignored.", **_ASSERTION
        ),
        "responses": {
            "200": _answer("It is not valid any more.", "Nothing"),
            "400": _refused("The request is refused."),
            "503": _UNAVAILABLE,
        },
    },
    ("GET", jwks.PATH): {
        "summary": "The public keys with which the broker signs where it is a client",
        "responses": {"200": _answer("The keys.", "KeySet"), "503": _refused("They cannot be read.")},
    },
    ("GET", jwks.TENANT_PATH): {
        "summary": "The same of a tenant",
        "parameters": [{"name": "tenant", "in": "path", "required": True, "schema": TEXT}],
        "responses": {"200": _answer("The keys.", "KeySet"), "503": _refused("They cannot be read.")},
    },
    ("GET", clients.CLIENTS_PATH): {
        "summary": "List the clients of the tenant",
        "responses": {"200": _answer("The clients.", "Clients"), **_NOT_ADMIN, "503": _UNAVAILABLE},
    },
    ("POST", clients.CLIENTS_PATH): {
        "summary": "Register a client",
        "requestBody": _BODY,
        "responses": {
            "201": _OF_A_CLIENT,
            "400": _refused("The registration is not valid."),
            **_NOT_ADMIN,
            "409": _refused("The id is registered already."),
            "415": _refused("The body is not application/json."),
            "503": _UNAVAILABLE,
        },
    },
    ("GET", clients.CLIENT_PATH): {
        "summary": "Show a client",
        "parameters": [_ID],
        "responses": {"200": _OF_A_CLIENT, **_NOT_ADMIN, "404": _UNKNOWN, "503": _UNAVAILABLE},
    },
    ("PUT", clients.CLIENT_PATH): {
        "summary": "Replace the registration of a client",
        "parameters": [_ID, _IF_MATCH],
        "requestBody": _BODY,
        "responses": {
            "200": _OF_A_CLIENT,
            "400": _refused("The registration is not valid."),
            **_NOT_ADMIN,
            "404": _UNKNOWN,
            "409": _refused("The client is registered in a file."),
            "412": _CHANGED,
            "415": _refused("The body is not application/json."),
            "503": _UNAVAILABLE,
        },
    },
    ("DELETE", clients.CLIENT_PATH): {
        "summary": "Remove a client",
        "parameters": [_ID, _IF_MATCH],
        "responses": {
            "204": _answer("It is removed."),
            **_NOT_ADMIN,
            "404": _UNKNOWN,
            "409": _refused("The client is registered in a file."),
            "412": _CHANGED,
            "503": _UNAVAILABLE,
        },
    },
}
