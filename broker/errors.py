"""Every error the broker raises on purpose.

    BrokerError
    ├── ConfigurationError        a setting or a store cannot be used: one line on stderr, exit code 2
    ├── StoreUnavailable          the store does not answer: 503 with Retry-After
    │   ├── StoreFull             the store answers, but has no room: 503 with Retry-After and the reason
    │   └── Overloaded            changes come faster than they are delivered: 503 with Retry-After
    ├── IndexIncomplete           the search indexes of a type are being built: 503 with Retry-After
    ├── KeysUnavailable           the keys of a client or issuer cannot be fetched: 503 with Retry-After
    ├── OAuthError                a request to an OAuth endpoint is refused: 400 in the JSON of RFC 6749
    └── RequestError              the request cannot be accepted; carries one or more issues
        ├── Malformed             400: not JSON, not FHIR, or not understood
        │   └── TooDeep           413: nested deeper than the limit
        ├── Unauthenticated       401: no access token, or not a valid one
        ├── Forbidden             403: the caller lacks the scope or role
        ├── NotFound              404: does not exist
        ├── MethodNotAllowed      405: the resource has no such interaction
        ├── NotAcceptable         406: no such format, or no conversion to the requested release
        ├── Conflict              409: the current state does not allow it
        ├── Gone                  410: was deleted
        ├── PreconditionFailed    412: If-Match failed, or a condition matches several resources
        ├── TooLarge              413: the body exceeds a limit
        ├── UnsupportedMedia      415: the body has a format the broker does not read
        ├── Unprocessable         422: understood, but against a rule of FHIR or of the topic
        └── TooMany               429: the client is at a limit of its own, with Retry-After

`services/http_status.py` maps these to status codes, and only `fhir/outcomes.py` writes them as an
OperationOutcome.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue of an OperationOutcome: `code` is an issue-type code, `expression` the FHIRPath of the
    element to correct.
    """

    code: str
    text: str
    expression: str | None = None
    severity: str = "error"


class BrokerError(Exception):
    """Base of every error the broker raises on purpose."""


class ConfigurationError(BrokerError):
    """A setting or a store cannot be used. The message is one line: what is wrong and what to change."""


class StoreUnavailable(BrokerError):  # noqa: N818 named after the condition, as are those below
    """The store does not answer or refuses writes. Nothing was acknowledged; the caller may retry."""


class StoreFull(StoreUnavailable):
    """The store has no room for more data. Reads still work; writes succeed again once there is room."""


class Overloaded(StoreUnavailable):
    """Changes come faster than the broker delivers them. Nothing was accepted."""

    def __init__(self, text: str, *, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class IndexIncomplete(BrokerError):  # noqa: N818
    """The search indexes of a resource type do not have every resource yet. The caller may retry."""

    def __init__(self, text: str, *, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class KeysUnavailable(BrokerError):  # noqa: N818
    """The public keys of a client or issuer are needed, and cannot be fetched now. The caller may retry."""

    def __init__(self, text: str, *, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


OAuthErrorCode = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_client_metadata",
]


class OAuthError(BrokerError):
    """A request to an OAuth endpoint is refused (RFC 6749, 5.2, and RFC 7591, 3.2.2).

    The message is for the client's developer: what is wrong, and nothing of what was sent.
    """

    def __init__(self, code: OAuthErrorCode, text: str) -> None:
        super().__init__(text)
        self.code: OAuthErrorCode = code


class RequestError(BrokerError):
    """The request cannot be accepted; `issues` give the reason for each element."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__("; ".join(issue.text for issue in issues))
        self.issues = issues


class Malformed(RequestError):  # noqa: N818
    """The body or a parameter is not understood."""


class Unauthenticated(RequestError):  # noqa: N818
    """The request has no access token (`was_sent` is False), or one that is not valid.

    The answer is the same whatever is wrong with a token.
    """

    def __init__(self, *issues: Issue, was_sent: bool = False) -> None:
        text = "This needs an access token. Request one at the token endpoint of smart-configuration."
        if was_sent:
            text = "The access token is not valid, or not any more. Request a new one at the token endpoint."
        super().__init__(*(issues or (Issue("login", text),)))
        self.was_sent = was_sent


class Forbidden(RequestError):  # noqa: N818
    """The caller lacks the scope or role for this; `scope` names the scope."""

    def __init__(self, *issues: Issue, scope: str = "") -> None:
        super().__init__(*issues)
        self.scope = scope


class NotFound(RequestError):  # noqa: N818
    """The resource or route does not exist."""


class MethodNotAllowed(RequestError):  # noqa: N818
    """The resource has no such interaction."""


class NotAcceptable(RequestError):  # noqa: N818
    """The requested format or release is not available."""


class Conflict(RequestError):  # noqa: N818
    """The current state does not allow it."""


class Gone(RequestError):  # noqa: N818
    """The resource was deleted."""


class PreconditionFailed(RequestError):  # noqa: N818
    """If-Match failed, or a conditional request matches several resources."""


class TooDeep(Malformed):
    """The body nests deeper than the limit."""


class TooLarge(RequestError):  # noqa: N818
    """The body exceeds a limit, which `limit` names for the metrics."""

    def __init__(self, *issues: Issue, limit: str = "body") -> None:
        super().__init__(*issues)
        self.limit = limit


class TooMany(RequestError):  # noqa: N818
    """The client is at a limit of its own, which `limit` names for the metrics. Other clients are not."""

    def __init__(self, issue: Issue, *, limit: str, retry_after_s: int) -> None:
        super().__init__(issue)
        self.limit = limit
        self.retry_after_s = retry_after_s


class UnsupportedMedia(RequestError):  # noqa: N818
    """The body has a format the broker does not read."""


class Unprocessable(RequestError):  # noqa: N818
    """The request is understood, but against a rule of FHIR or of the topic."""
