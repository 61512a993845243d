"""A registered client, and its registration in the terms of RFC 7591."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from broker.model.audit import BROKER_AGENT, UNKNOWN_AGENT
from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Tenant
from broker.model.principal import LOCAL_ADMINISTRATOR, OPEN_PRINCIPAL, PrincipalRole
from broker.model.scopes import Scope, Scopes
from broker.security.public_keys import PublicKey, RegistrationError, parse_key_set
from broker.security.scope_grants import check_registrable
from broker.security.token_request_words import GRANT_TYPE

AUTH_METHOD = "private_key_jwt"
_RESERVED = frozenset({OPEN_PRINCIPAL.client_id, LOCAL_ADMINISTRATOR, BROKER_AGENT, UNKNOWN_AGENT})
"""They stand for the client of a broker without access control, for who has a login link of the console, and
in the audit trail for the broker and for nobody.
"""
CLIENT_ID = re.compile(r"[\x21-\x7e]{1,128}")
_MEMBERS = frozenset(
    {"client_id", "client_name", "scope", "jwks", "jwks_uri", "tenant", "roles", "disabled"}
    | {"token_endpoint_auth_method", "grant_types"}
)
KEYS_SINCE = "keys_since"
"""Member of the broker's own: when each key was registered, by its `kid`."""
_INFORMATIVE = frozenset(
    {
        KEYS_SINCE,
        "client_uri",
        "logo_uri",
        "contacts",
        "tos_uri",
        "policy_uri",
        "software_id",
        "software_version",
    }
    | {"client_id_issued_at", "response_types", "redirect_uris", KEYS_SINCE}
)
"""Members that say nothing to the broker: those of RFC 7591 that it has no use for, and when keys were
registered, which it adds itself.
"""


@dataclass(frozen=True, slots=True)
class Client:
    """A client that may request access tokens.

    It has `keys`, or the keys behind `jwks_uri`. `scopes` are the most that it is granted. One that is
    disabled gets no token, and its tokens are not accepted any more.
    """

    client_id: str
    name: str
    tenant: Tenant
    roles: frozenset[PrincipalRole]
    scopes: Scopes
    keys: tuple[PublicKey, ...] = ()
    jwks_uri: str = ""
    is_disabled: bool = False


class ClientRegistry(Protocol):
    """Where registered clients are found. It may answer with what was true at most five seconds ago."""

    async def find(self, client_id: str) -> Client | None:
        """The client of that id, also one that is disabled. Raises `StoreUnavailable`."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A client with the JSON it was registered by. One of a file is changed in the file only."""

    client: Client
    members: Mapping[str, Any]
    is_file: bool = False


UrlProblems = Callable[[str], Sequence[str]]
"""Why nothing can be fetched from a URL, as far as no lookup is needed; empty if it may be tried."""


def decode_registration(text: bytes) -> Any:
    """The JSON of a registration. Raises `ValueError`, also for a member that is given twice and for a text
    with a lone surrogate, which no answer could show.
    """
    try:
        registration = json.loads(text, object_pairs_hook=_without_duplicates)
        json.dumps(registration, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return registration


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is given twice")
    return members


def parse_client(registration: object, url_problems: UrlProblems) -> Client:
    """The client of a registration. Raises `RegistrationError` that names the element.

    A member that means nothing here is refused, so that a misspelled one is not ignored.
    """
    if not isinstance(registration, dict):
        raise RegistrationError("not a JSON object")
    for member in registration:
        if member not in _MEMBERS | _INFORMATIVE:
            raise RegistrationError(
                f"{member}: not a member of a registration; {', '.join(sorted(_MEMBERS))} are"
            )
    client_id = _text(registration, "client_id")
    if not CLIENT_ID.fullmatch(client_id):
        raise RegistrationError("client_id: give 1 to 128 printable ASCII characters without spaces")
    if client_id in _RESERVED:
        raise RegistrationError(f"client_id: {client_id!r} has a meaning of its own. Choose another")
    _check_flow(registration)
    keys, jwks_uri = _keys(registration, url_problems)
    return Client(
        client_id,
        name=_text(registration, "client_name", client_id),
        tenant=_tenant(registration),
        roles=_roles(registration),
        scopes=_scopes(registration),
        keys=keys,
        jwks_uri=jwks_uri,
        is_disabled=_is_disabled(registration),
    )


def _text(registration: Mapping[str, Any], member: str, default: str | None = None) -> str:
    value = registration.get(member, default)
    if value is None:
        raise RegistrationError(f"{member}: missing")
    if not isinstance(value, str):
        raise RegistrationError(f"{member}: not a string")
    return value


def _check_flow(registration: Mapping[str, Any]) -> None:
    if _text(registration, "token_endpoint_auth_method", AUTH_METHOD) != AUTH_METHOD:
        raise RegistrationError(f"token_endpoint_auth_method: only {AUTH_METHOD} is supported")
    if GRANT_TYPE not in _strings(registration, "grant_types", [GRANT_TYPE]):
        raise RegistrationError(f"grant_types: {GRANT_TYPE} is missing, and no other is supported")


def _keys(registration: Mapping[str, Any], url_problems: UrlProblems) -> tuple[tuple[PublicKey, ...], str]:
    has_set, has_url = "jwks" in registration, "jwks_uri" in registration
    if has_set == has_url:
        raise RegistrationError("jwks: give either jwks or jwks_uri")
    if has_url:
        url = _text(registration, "jwks_uri")
        for problem in url_problems(url):
            raise RegistrationError(f"jwks_uri: {problem}")
        return (), url
    try:
        return parse_key_set(registration["jwks"]), ""
    except ValueError as error:
        raise RegistrationError(f"jwks.{error}") from error


def _tenant(registration: Mapping[str, Any]) -> Tenant:
    tenant = _text(registration, "tenant", DEFAULT_TENANT)
    if not TENANT_PATTERN.fullmatch(tenant):
        raise RegistrationError("tenant: give 1 to 64 letters, digits, - and _")
    return Tenant(tenant)


def _roles(registration: Mapping[str, Any]) -> frozenset[PrincipalRole]:
    roles = _strings(registration, "roles", [])
    for role in roles:
        if role not in set(PrincipalRole):
            raise RegistrationError(f"roles: {role!r} is not one of {', '.join(PrincipalRole)}")
    return frozenset(PrincipalRole(role) for role in roles)


def _scopes(registration: Mapping[str, Any]) -> Scopes:
    text = _text(registration, "scope", "")
    try:
        scopes = [Scope.parse(word) for word in text.split()]
        for scope in scopes:
            check_registrable(scope)
    except ValueError as error:
        raise RegistrationError(f"scope: {error}") from error
    return frozenset(scopes)


def _is_disabled(registration: Mapping[str, Any]) -> bool:
    value = registration.get("disabled", False)
    if not isinstance(value, bool):
        raise RegistrationError("disabled: not true or false")
    return value


def _strings(registration: Mapping[str, Any], member: str, default: Sequence[str]) -> list[str]:
    value = registration.get(member, default)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise RegistrationError(f"{member}: not a list of strings")
    return value
