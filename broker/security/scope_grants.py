"""Which scopes clients may be registered for, and which of them a token request is granted.

A scope that the broker does not enforce to the letter is refused, never widened: other contexts than
`system`, types of no release, and restrictions by parameters that it does not evaluate (S-082, S-086).
"""

from collections.abc import Sequence

from broker.errors import OAuthError
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.search_parameters import SearchParameters
from broker.model.release import Release
from broker.model.scopes import ANY_TYPE, Scope, Scopes, covers

RESTRICTING = ("_security", "_tag", "category", "code", "patient")
"""The search parameters that restrict a scope."""
SUPPORTED = (
    "system/*.cruds",
    "system/*.rs",
    "system/Subscription.cruds",
    "system/SubscriptionTopic.rs",
    "system/Observation.cruds",
    "system/Patient.cruds",
    "system/Device.cruds",
    "system/Encounter.cruds",
)
"""Examples for discovery: any other resource type may stand in their place."""
_FOR_ALL_TYPES = frozenset({"_security", "_tag", "patient"})
_READS = frozenset("rs")
_FRAMEWORK = frozenset({"Subscription", "SubscriptionTopic", "OperationDefinition"})
_TYPES = frozenset().union(*RESOURCE_TYPES.values())


def check_registrable(scope: Scope) -> None:
    """Raises `ValueError`, with the reason, for a scope that nobody is granted."""
    if scope.context != "system":
        raise ValueError(f"{scope} is not for a system: a backend service gets system/ scopes only")
    if scope.resource_type != ANY_TYPE and scope.resource_type not in _TYPES:
        raise ValueError(f"{scope} names no resource type of FHIR R4, R4B or R5")
    if not scope.restrictions:
        return
    if not set(scope.permissions) <= _READS:
        raise ValueError(f"{scope} restricts a write, which is not supported: only r and s are restricted")
    if scope.resource_type in _FRAMEWORK:
        raise ValueError(f"{scope} restricts {scope.resource_type}, which is not supported")
    for name, _ in scope.restrictions:
        if not _restricts(scope.resource_type, name):
            raise ValueError(
                f"{scope} is restricted by {name!r}, which is not supported for {scope.resource_type}: "
                f"use {', '.join(RESTRICTING)} where the type has the parameter"
            )


def grant(requested: str, registered: Scopes) -> Sequence[Scope]:
    """The scopes of a token request, in their order, exactly as they were written.

    Raises `OAuthError` unless the client is registered for all of them: a smaller set than the client asked
    for would fail later, and less clearly (S-063).
    """
    scopes: dict[Scope, Scope] = {}
    for word in requested.split():
        try:
            scope = Scope.parse(word)
            check_registrable(scope)
        except ValueError as error:
            raise OAuthError("invalid_scope", f"{error}.") from error
        scopes.setdefault(scope, scope)
    if not scopes:
        raise OAuthError("invalid_scope", "No scope is requested. Name the scopes that you need in `scope`.")
    missing = [str(scope) for scope in scopes.values() if not covers(registered, scope)]
    if missing:
        raise OAuthError("invalid_scope", f"The client is not registered for {' '.join(missing)}.")
    return list(scopes.values())


def _restricts(resource_type: str, name: str) -> bool:
    if name not in RESTRICTING:
        return False
    if resource_type == ANY_TYPE:
        return name in _FOR_ALL_TYPES
    table = SearchParameters()
    return any(table.find(release, resource_type, name) is not None for release in Release)
