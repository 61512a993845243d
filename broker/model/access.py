"""The access check: what a principal needs to use one row of a table of interactions, operations or routes.

Each row has an `Access`. `authorize` is the only function that evaluates it: for a request, for each entry of
a Bundle, and for the routes outside the FHIR bases. It is pure.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from broker.errors import Forbidden, Issue, Unauthenticated
from broker.model.principal import Principal, PrincipalRole
from broker.model.scopes import ANY_TYPE, Scope, alternatives, covers


@dataclass(frozen=True, slots=True)
class Access:
    """What a row needs: a scope, a role, a client of any kind (`Access.AUTHENTICATED`), or nothing
    (`Access.PUBLIC`).

    In `scope`, `{type}` stands for the resource type of the request. With `is_restrictable`, a scope with a
    restriction meets it, and the handler applies the restriction to the resource. Raises `ValueError` unless
    exactly one of the others is set.
    """

    scope: str = ""
    is_restrictable: bool = False
    role: PrincipalRole | None = None
    is_authenticated: bool = False
    is_public: bool = False

    PUBLIC: ClassVar["Access"]
    AUTHENTICATED: ClassVar["Access"]

    def __post_init__(self) -> None:
        if bool(self.scope) + (self.role is not None) + self.is_authenticated + self.is_public != 1:
            raise ValueError("an Access has exactly one of scope, role, is_authenticated and is_public")

    def describe(self, resource_type: str) -> str:
        """The requirement in words, for the refusal."""
        return f"the role {self.role}" if self.role else f"the scope {self.needed_scope(resource_type)}"

    def is_met_by(self, principal: Principal, resource_type: str = "") -> bool:
        """Whether the principal may use the row for the resource type."""
        if self.is_public:
            return True
        if self.is_authenticated:
            return not principal.is_anonymous
        if self.role is not None:
            return self.role in principal.roles
        needed = self.needed_scope(resource_type)
        if covers(principal.scopes, needed):
            return True
        return self.is_restrictable and all(
            alternatives(principal.scopes, needed.resource_type, letter) for letter in needed.letters
        )

    def needed_scope(self, resource_type: str) -> Scope:
        """The scope that the row needs for a resource type."""
        return _needed(self.scope, resource_type)


Access.PUBLIC = Access(is_public=True)
Access.AUTHENTICATED = Access(is_authenticated=True)


def authorize(principal: Principal, access: Access, resource_type: str = "") -> None:
    """Raises `Forbidden` unless the principal has what the access needs for the resource type, and
    `Unauthenticated` if it is no client at all.
    """
    if access.is_met_by(principal, resource_type):
        return
    if principal.is_anonymous:
        raise Unauthenticated
    needed = "" if access.role else str(access.needed_scope(resource_type))
    text = (
        f"The client {principal.client_id!r} may not do this: it lacks {access.describe(resource_type)}. "
        "Ask the administrator of the broker to grant it."
    )
    raise Forbidden(Issue("forbidden", text), scope=needed)


@lru_cache(maxsize=1024)
def _needed(scope: str, resource_type: str) -> Scope:
    return Scope.parse(scope.replace("{type}", resource_type or ANY_TYPE))
