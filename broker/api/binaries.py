"""Raw content of Binary: a body of any media type becomes a Binary resource, and a read returns the content
where the client does not ask for FHIR JSON.

The content is whatever a producer sent, so a browser that opens it must not run it on the broker's origin.
"""

import base64
import binascii

from starlette.datastructures import QueryParams

from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.media import is_fhir_json, media_types
from broker.errors import Issue, NotAcceptable
from broker.model import json_text
from broker.model.resource import Resource

_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Content-Disposition": "attachment",
}


def is_raw_write(method: str, path: str, content_type: str) -> bool:
    """Whether a body sent to the path (below the FHIR base) is the content of a Binary, not the resource."""
    is_target = (method == "POST" and path == "Binary") or (method == "PUT" and is_binary_read(path))
    return is_target and bool(content_type) and not is_fhir_json(content_type)


def is_binary_read(path: str) -> bool:
    """Whether the path is that of one Binary or of a version of it."""
    return path.startswith("Binary/") and "$" not in path


def binary_of(path: str, content_type: str, security_context: str, content: bytes) -> bytes:
    """The text of the Binary that has the content."""
    resource_id = path.partition("/")[2]
    members = {
        "resourceType": "Binary",
        **({"id": resource_id} if resource_id else {}),
        "contentType": content_type.strip(),
        **({"securityContext": {"reference": security_context}} if security_context else {}),
        **({"data": base64.b64encode(content).decode()} if content else {}),
    }
    return json_text.encode(members)


def with_content(request: FhirRequest, response: FhirResponse) -> FhirResponse:
    """The content of the Binary that a read found, where the client does not ask for FHIR JSON; raises
    `NotAcceptable` where it accepts neither.
    """
    if response.status != 200 or _wants_resource(request.query, request.headers.get("accept", "")):
        return response
    fields = Resource(response.body).fields
    media_type = str(fields.get("contentType", "application/octet-stream"))
    name = media_type.partition(";")[0].strip().lower()
    accept = request.headers.get("accept") or "*/*"
    accepted = {each for each, _ in media_types(accept)}
    if not accepted & {"*/*", f"{name.partition('/')[0]}/*", name}:
        text = (
            f"The content is {media_type}, and the client accepts {accept!r}. Accept application/fhir+json."
        )
        raise NotAcceptable(Issue("not-supported", text))
    try:
        content = base64.b64decode(str(fields.get("data", "")))
    except binascii.Error:  # stored as it came; the resource can be read as FHIR JSON
        return response
    return response._replace(body=content, media_type=media_type, headers={**response.headers, **_SAFE})


def _wants_resource(query: QueryParams, accept: str) -> bool:
    if query.get("_format"):
        return True
    return any(is_fhir_json(name) for name, _ in media_types(accept) if name)
