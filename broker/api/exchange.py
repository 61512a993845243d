"""The request and the response of one FHIR interaction, independent of HTTP: a batch entry is a request of
its own.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from starlette.datastructures import QueryParams

from broker.api.media import FHIR_JSON, is_json_patch
from broker.api.preferences import Preferences, parse_preferences
from broker.errors import Issue, Malformed, Unprocessable
from broker.fhir.identity import check_id
from broker.fhir.preconditions import version_condition
from broker.fhir.release import ReleaseAdapter, adapter
from broker.ingest.patches import Patch, parse_patch
from broker.model.audit import AuditEntity, Requester
from broker.model.json_patch import parse_json_patch
from broker.model.precondition import VersionCondition
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.model.release import Release
from broker.model.resource import Resource

_MAX_KEY_LENGTH = 256


class FhirRequest(NamedTuple):
    """One request to a FHIR base, or one entry of a batch or transaction.

    `base_url` is the URL of the broker. `path` is the part behind the FHIR base, without a leading slash;
    `params` are the variables of the row's path. Names of `headers` are in lower case. `resource` holds the
    body, empty without one. `address` is the network address that the request came from.
    """

    principal: Principal
    release: Release
    base_url: str
    method: str
    path: str
    params: Mapping[str, str]
    query: QueryParams
    headers: Mapping[str, str]
    resource: Resource
    address: str = ""

    @property
    def requester(self) -> Requester:
        """Who asks, for the audit trail."""
        return Requester(self.principal.client_id, self.address)

    @property
    def adapter(self) -> ReleaseAdapter:
        return adapter(self.release)

    @property
    def base(self) -> str:
        """The URL of the FHIR base."""
        return f"{self.base_url}/{self.release}"

    def url(self, path: str) -> str:
        """The absolute URL of a path below the FHIR base."""
        return f"{self.base}/{path}"

    @property
    def self_url(self) -> str:
        """The URL of this request."""
        return self.url(self.path) + (f"?{self.query}" if self.query else "")

    @property
    def preferences(self) -> Preferences:
        """What the Prefer header asks for."""
        return parse_preferences(self.headers.get("prefer", ""))

    @property
    def condition(self) -> VersionCondition:
        """What If-Match and If-None-Match of a write require; raises `Malformed`."""
        return version_condition(self.headers.get("if-match"), self.headers.get("if-none-match"))

    @property
    def patch(self) -> Patch:
        """The patch in the body; raises `Malformed` or `Unprocessable`."""
        if is_json_patch(self.headers.get("content-type", "")):
            return parse_json_patch(self.resource.text)
        return parse_patch(self.resource)

    @property
    def idempotency_key(self) -> str:
        """The Idempotency-Key, '' without one; raises `Unprocessable`.

        With access control it belongs to the client: another one that sends the same is not answered by it.
        """
        key = self.headers.get("idempotency-key", "").strip()
        if len(key) > _MAX_KEY_LENGTH:
            text = f"The Idempotency-Key is too long. Send at most {_MAX_KEY_LENGTH} characters."
            raise Unprocessable(Issue("too-long", text))
        is_shared = self.principal.client_id == OPEN_PRINCIPAL.client_id
        return key if is_shared or not key else f"{self.principal.client_id} {key}"


class FhirResponse(NamedTuple):
    """The response to a `FhirRequest`.

    `after` runs once the response has left. With `chunks`, they are the body, in `media_type`. `is_outcome`:
    the body is an OperationOutcome about a request that succeeded. `accessed` are the resources whose content
    or existence the response shows, for the audit trail; a write names none, since its entry is written
    with it. `audit_detail` says there what the resources alone do not.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})
    after: Callable[[], Awaitable[None]] | None = None
    media_type: str = FHIR_JSON
    chunks: AsyncIterator[bytes] | None = None
    is_outcome: bool = False
    accessed: Sequence[AuditEntity] = ()
    audit_detail: str = ""


Handler = Callable[[FhirRequest], Awaitable[FhirResponse]]


def id_of_update(request: FhirRequest) -> str:
    """The id of the URL, which the body must repeat (http.html#update); raises `Malformed`."""
    url_id, body_id = request.params["id"], request.resource.id
    check_id(url_id)
    element = f"{request.resource.type or 'Resource'}.id"
    if not body_id:
        text = f"The body has no id. Send the id of the URL, {url_id!r}, in it."
        raise Malformed(Issue("required", text, element))
    if body_id != url_id:
        text = f"The body has the id {body_id!r}, the URL {url_id!r}. Send the same id in both."
        raise Malformed(Issue("invalid", text, element))
    return url_id


def is_not_modified(request: FhirRequest, version: int, at_ms: int) -> bool:
    """Whether a read is answered by 304: by If-None-Match, without it by If-Modified-Since (RFC 9110,
    13.2.2).

    Raises `Malformed`.
    """
    condition = version_condition(None, request.headers.get("if-none-match"))
    if condition.if_none_match:
        return not condition.is_met_by(version)
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return parsedate_to_datetime(since).timestamp() >= at_ms // 1000
    except (ValueError, OverflowError):  # RFC 9110, 13.1.3: an invalid date is ignored
        return False


def version_headers(version: int, at_ms: int) -> dict[str, str]:
    """ETag and Last-Modified of a stored version."""
    return {"ETag": f'W/"{version}"', "Last-Modified": _http_date(at_ms // 1000)}


@lru_cache(maxsize=16)
def _http_date(at_s: int) -> str:
    """Cached: many responses carry the same second."""
    return formatdate(at_s, usegmt=True)
