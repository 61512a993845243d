"""The access check: what a principal needs to use one row of a table of interactions, operations or routes.

Each row has an `Access`. `authorize` is the only function that evaluates it: for a request, for each entry of
a Bundle, and for the routes outside the FHIR bases. It is pure.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from broker.errors import Forbidden, Issue
from broker.model.principal import Principal, PrincipalRole

_SCOPE = re.compile(r"(patient|user|system)/(\*|[A-Za-z]+)\.(c?r?u?d?s?)")


@dataclass(frozen=True, slots=True)
class Access:
    """What a row needs: a scope, a role, or nothing (`Access.PUBLIC`).

    In `scope`, `{type}` stands for the resource type of the request. Raises `ValueError` unless exactly one
    is set.
    """

    scope: str = ""
    role: PrincipalRole | None = None
    is_public: bool = False

    PUBLIC: ClassVar["Access"]

    def __post_init__(self) -> None:
        if bool(self.scope) + (self.role is not None) + self.is_public != 1:
            raise ValueError("an Access has exactly one of scope, role and is_public")

    def describe(self, resource_type: str) -> str:
        """The requirement in words, for the refusal."""
        return f"the role {self.role}" if self.role else f"the scope {self._scope_for(resource_type)}"

    def is_met_by(self, principal: Principal, resource_type: str = "") -> bool:
        """Whether the principal may use the row for the resource type."""
        if self.is_public:
            return True
        if self.role is not None:
            return self.role in principal.roles
        return _covers(principal.scopes, self._scope_for(resource_type))

    def _scope_for(self, resource_type: str) -> str:
        return self.scope.replace("{type}", resource_type or "*")


Access.PUBLIC = Access(is_public=True)


def authorize(principal: Principal, access: Access, resource_type: str = "") -> None:
    """Raises `Forbidden` unless the principal has what the access needs for the resource type."""
    if not access.is_met_by(principal, resource_type):
        text = (
            f"The client {principal.client_id!r} may not do this: it lacks {access.describe(resource_type)}. "
            "Ask the administrator of the broker to grant it."
        )
        raise Forbidden(Issue("forbidden", text))


@lru_cache(maxsize=1024)
def _covers(granted: frozenset[str], needed: str) -> bool:
    """Whether one granted scope contains the needed one. A granted scope that restricts by a query covers
    nothing.
    """
    wanted = _SCOPE.fullmatch(needed)
    if wanted is None:
        raise ValueError(f"{needed!r} is not a SMART scope")
    context, resource_type, permissions = wanted.groups()
    for scope in granted:
        held = _SCOPE.fullmatch(scope)
        if (
            held is not None
            and held[1] == context
            and held[2] in {"*", resource_type}
            and set(permissions) <= set(held[3])
        ):
            return True
    return False
