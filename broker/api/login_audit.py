"""Authenticates requests, and records those that fail in the audit trail."""

from collections.abc import Callable, Mapping

from starlette.types import Scope

from broker.api.authentication import Authenticate
from broker.errors import RequestError, Unauthenticated
from broker.model.principal import ANONYMOUS, Principal
from broker.services.login_failures import LoginFailures


def address_of(scope: Scope) -> str:
    """The network address that a connection came from."""
    client = scope.get("client")
    return str(client[0]) if client else ""


class LoginAudit:
    """`authenticate` with a record of its failures. One a process."""

    def __init__(self, authenticate: Authenticate, failures: LoginFailures) -> None:
        self._authenticate = authenticate
        self._failures = failures

    async def principal_of(
        self, headers: Mapping[str, str], address: str, is_public: Callable[[], bool] = lambda: False
    ) -> Principal:
        """Raises the `RequestError` of bad credentials.

        What is public is so for a request with an outdated token too: then the principal is nobody.
        """
        try:
            return await self._authenticate(headers)
        except RequestError as error:
            if isinstance(error, Unauthenticated) and is_public():
                return ANONYMOUS
            await self.record_failure(address, error.issues[0].code if error.issues else "login")
            raise

    async def record_failure(self, address: str, reason: str) -> None:
        """Records a failed authentication; `reason` is a code of ours."""
        await self._failures.record(address, reason)
