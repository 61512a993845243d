"""The interface between channels and what gets access tokens for endpoints.

`delivery/outbound_tokens.py` implements it; a channel without it sends what its subscription has registered.
"""

from typing import NamedTuple, Protocol

from broker.model.change import Tenant


class Credentials(NamedTuple):
    """A header for one request to the URL it was got for, and to no other (S-105)."""

    authorization: str


class TokenUnavailable(NamedTuple):
    """There is no access token now. The subscriber may see `text`: it names the origin of the token endpoint
    and what that answered, no secret. `retry_after_s` is the wait that it asked for.
    """

    text: str
    retry_after_s: float | None = None


class Authorization(Protocol):
    """Gets credentials for endpoints that ask for them."""

    async def credentials(
        self, tenant: Tenant, url: str, *, timeout_s: float
    ) -> Credentials | TokenUnavailable | None:
        """Those for a request to the URL; None if it is to be sent as registered."""
        ...

    async def refused(self, tenant: Tenant, url: str, credentials: Credentials) -> None:
        """The endpoint answered 401 to these: they are not given out again (S-104)."""
        ...


class NoAuthorization:
    """Sends everything as it was registered."""

    async def credentials(self, tenant: Tenant, url: str, *, timeout_s: float) -> None:  # noqa: ARG002
        return None

    async def refused(self, tenant: Tenant, url: str, credentials: Credentials) -> None:
        """Nothing was given out."""
