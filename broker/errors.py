"""Every error the broker raises on purpose.

    BrokerError
    ├── ConfigurationError        a setting or a store that can't be used: one line, exit code 2
    ├── StoreUnavailable          the store is away: 503 with Retry-After
    │   └── StoreFull             it answers, and has no room: 503 with Retry-After, and why
    └── RequestError              the caller's request can't be honoured; carries one or more issues
        ├── Malformed             400: not JSON, not FHIR, not understood
        ├── Forbidden             403
        ├── NotFound              404: unknown
        ├── MethodNotAllowed      405
        ├── NotAcceptable         406: no such format, or no conversion to the release asked for
        ├── Conflict              409
        ├── Gone                  410: deleted
        ├── PreconditionFailed    412: If-Match, or a condition that matches several
        ├── TooLarge              413
        ├── UnsupportedMedia      415
        └── Unprocessable         422: understood, but against a rule

Only `api/` maps these to status codes and only `fhir/outcomes.py` writes them as an OperationOutcome.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Issue:
    """One OperationOutcome issue: `code` is an issue-type code, `expression` the FHIRPath of the element to mend."""

    code: str
    text: str
    expression: str | None = None
    severity: str = "error"


class BrokerError(Exception):
    """Base of every error the broker raises on purpose."""


class ConfigurationError(BrokerError):
    """A setting or a store that can't be used; the message is one line that says what to change."""


class StoreUnavailable(BrokerError):  # noqa: N818 named for what is the case
    """The store is away or refuses writes; nothing was acknowledged."""


class StoreFull(StoreUnavailable):
    """The store has no room for more; what is in it can be read, and it takes more again once there is room."""


class RequestError(BrokerError):
    """The request can't be honoured; `issues` say why, element by element."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__("; ".join(issue.text for issue in issues))
        self.issues = issues


class Malformed(RequestError):  # noqa: N818
    """The body or a parameter can't be understood."""


class Forbidden(RequestError):  # noqa: N818
    """The caller may not do this."""


class NotFound(RequestError):  # noqa: N818
    """Nothing of that name."""


class MethodNotAllowed(RequestError):  # noqa: N818
    """The resource has no such interaction."""


class NotAcceptable(RequestError):  # noqa: N818
    """The form asked for can't be given."""


class Conflict(RequestError):  # noqa: N818
    """The state forbids it."""


class Gone(RequestError):  # noqa: N818
    """It was deleted."""


class PreconditionFailed(RequestError):  # noqa: N818
    """If-Match, or a conditional request that several resources match."""


class TooLarge(RequestError):  # noqa: N818
    """The body is over the limit."""


class UnsupportedMedia(RequestError):  # noqa: N818
    """The body is in a format the broker doesn't read."""


class Unprocessable(RequestError):  # noqa: N818
    """Understood, but against a rule of FHIR or of the topic."""
