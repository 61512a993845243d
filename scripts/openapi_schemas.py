"""The schemas of `scripts/openapi.py`: what the endpoints beside FHIR answer and take."""

from collections.abc import Mapping
from typing import Any

from broker.ingest.readings.values import ReadingStatus

Node = dict[str, Any]
TEXT: Node = {"type": "string"}
SCOPES = "scopes of SMART v2, separated by blanks"
_FLAG: Node = {"type": "boolean"}


def object_of(members: Mapping[str, Any], *required: str, others: bool = False) -> Node:
    node: Node = {"type": "object", "properties": dict(members)}
    if required:
        node["required"] = list(required)
    return node if others else node | {"additionalProperties": False}


def schema(name: str) -> Node:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Node) -> Node:
    return {"type": "array", "items": items}


_STATUS: Node = {"type": "string", "enum": [str(status) for status in ReadingStatus]}
_RESULT: Node = {
    "status": _STATUS,
    "observations": _list(schema("StoredObservation")),
    "problems": _list(schema("ReadingProblem")),
    "deadLetter": {"type": "string", "description": "The dead letter of a quarantined payload."},
}
_REGISTRATION: Node = {
    "client_id": TEXT,
    "client_name": TEXT,
    "scope": {"type": "string", "description": SCOPES},
    "jwks": schema("KeySet"),
    "jwks_uri": {"type": "string", "format": "uri"},
    "tenant": TEXT,
    "roles": _list({"type": "string", "enum": ["admin", "auditor", "operator"]}),
    "disabled": _FLAG,
}
SCHEMAS: Mapping[str, Node] = {
    "Alive": object_of({"status": {"const": "alive"}}, "status"),
    "Readiness": object_of(
        {
            "status": {"enum": ["ready", "not ready"]},
            "parts": {"type": "object", "additionalProperties": TEXT, "description": "ok, or what is wrong"},
            "warnings": {"type": "object", "additionalProperties": TEXT},
        },
        "status",
        "parts",
    ),
    "ReadingResult": object_of(_RESULT, "status"),
    "ReadingResults": object_of(
        {
            **{str(status): {"type": "integer"} for status in ReadingStatus},
            "results": _list(object_of({"index": {"type": "integer"}, **_RESULT}, "index", "status")),
        },
        *map(str, ReadingStatus),
        "results",
    ),
    "StoredObservation": object_of(
        {"status": _STATUS, "reference": TEXT, "version": TEXT, "url": {"type": "string", "format": "uri"}},
        "status",
        "reference",
        "version",
        "url",
    ),
    "ReadingProblem": object_of(
        {
            "code": {"type": "string", "description": "An issue type of FHIR."},
            "reason": TEXT,
            "mapping": TEXT,
            "field": TEXT,
            "place": {"type": "string", "description": "Where in the payload, such as readings[2].hr."},
            "text": TEXT,
            "candidates": _list(TEXT),
        },
        "code",
        "reason",
        "text",
    ),
    "OperationOutcome": object_of(
        {"resourceType": {"const": "OperationOutcome"}, "issue": _list({"type": "object"})},
        "resourceType",
        "issue",
        others=True,
    ),
    "Token": object_of(
        {
            "access_token": TEXT,
            "token_type": {"const": "bearer"},
            "expires_in": {"type": "integer"},
            "scope": {"type": "string", "description": SCOPES},
        },
        "access_token",
        "token_type",
        "expires_in",
        "scope",
    ),
    "Introspection": object_of(
        {
            "active": _FLAG,
            "scope": TEXT,
            "client_id": TEXT,
            "exp": {"type": "integer"},
            "iat": {"type": "integer"},
            "token_type": TEXT,
        },
        "active",
        others=True,
    ),
    "Nothing": object_of({}),
    "OAuthError": object_of({"error": TEXT, "error_description": TEXT}, "error"),
    "KeySet": object_of({"keys": _list({"type": "object", "required": ["kty"]})}, "keys"),
    "Registration": object_of(_REGISTRATION, "scope"),
    "Client": object_of(
        {**_REGISTRATION, "source": {"enum": ["file", "store"]}}, "client_id", "scope", "source", others=True
    ),
    "Clients": object_of({"clients": _list(schema("Client"))}, "clients"),
}
