"""Reads the headers of a request from its ASGI scope, and sends a `FhirResponse` as ASGI messages.

For the endpoints that devices call for every reading, where request and response of a framework would take
much of the time.
"""

from starlette.types import Message, Scope, Send

from broker.api.exchange import FhirResponse

_BODILESS = frozenset({204, 304})


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers by their names in lower case. Lines of one name are one list (RFC 9110, 5.3): ignoring a
    line would ignore a precondition, and two Authorization lines are no credentials.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def send_response(response: FhirResponse, send: Send, *, has_body: bool = True) -> None:
    """Sends the whole response, of which `chunks` are not a part. A HEAD is answered without the body."""
    await send(_start_of(response))
    await send({"type": "http.response.body", "body": response.body if has_body else b""})


def _start_of(response: FhirResponse) -> Message:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers.items()]
    if response.body:
        headers.append((b"content-type", response.media_type.encode()))
    if response.status not in _BODILESS:
        headers.append((b"content-length", str(len(response.body)).encode()))
    return {"type": "http.response.start", "status": response.status, "headers": headers}
