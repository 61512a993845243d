"""External issuers of access tokens, such as the identity provider of a hospital: the file BROKER_ISSUERS.

The file (TOML) says for each issuer how its tokens are verified, and how their claims become a client, a
tenant, scopes and roles. `scope` is the most that any token is granted; so a mistake at the identity provider
gives nobody more than that.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.errors import ConfigurationError
from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Tenant
from broker.model.principal import PrincipalRole
from broker.model.scopes import Scope, Scopes, covers
from broker.security.clients import Client, UrlProblems
from broker.security.issuer_keys import ISSUER_ALGORITHMS
from broker.security.scope_grants import check_registrable

MAX_SKEW_S = 300
_NAME = re.compile(r"[a-z0-9-]{1,32}")
_DEFAULT_SKEW_S = 30
_MEMBERS = frozenset(
    {
        "name",
        "issuer",
        "audience",
        "jwks_uri",
        "algorithms",
        "clock_skew",
        "tenant",
        "tenant_claim",
        "tenants",
    }
    | {
        "client_claims",
        "person_claims",
        "scope_claims",
        "group_claims",
        "scope",
        "groups",
        "disabled_clients",
    }
)


@dataclass(frozen=True, slots=True)
class Grant:
    """What the members of a group have."""

    scopes: Scopes
    roles: frozenset[PrincipalRole]


@dataclass(frozen=True, slots=True)
class Issuer:
    """How the tokens of one issuer are verified and mapped. Claims are paths, `realm_access.roles`. A person
    who logs in to the console is named by `person_claims`, as a client is by `client_claims`.

    `scopes` are the most that a token is granted. With `tenant_claim`, the tenant is the value of that claim,
    which has to be one of `tenants`; else it is the only one of them.
    """

    name: str
    url: str
    audiences: tuple[str, ...]
    scopes: Scopes
    jwks_uri: str = ""
    algorithms: tuple[str, ...] = tuple(ISSUER_ALGORITHMS)
    skew_s: int = _DEFAULT_SKEW_S
    tenant_claim: str = ""
    tenants: tuple[Tenant, ...] = (DEFAULT_TENANT,)
    client_claims: tuple[str, ...] = ("client_id", "azp", "sub")
    person_claims: tuple[str, ...] = ("sub",)
    scope_claims: tuple[str, ...] = ("scope", "scp")
    group_claims: tuple[str, ...] = ("groups",)
    groups: Mapping[str, Grant] = field(default_factory=dict)
    disabled_clients: frozenset[str] = frozenset()

    def client_id(self, tenant: Tenant, client: str) -> str:
        """The id of a client of the issuer: unlike those of registered clients and of other issuers."""
        return f"{self.name}:{tenant}:{client}" if self.tenant_claim else f"{self.name}:{client}"

    def client(self, rest: str) -> Client | None:
        """The client of an id without the name of the issuer. It has the most that a token of it may have:
        what it is granted is in its tokens.
        """
        tenant, client = self.tenants[0], rest
        if self.tenant_claim:
            prefix, _, client = rest.partition(":")
            tenant = Tenant(prefix)
        if tenant not in self.tenants or not client:
            return None
        is_disabled = client in self.disabled_clients
        return Client(
            self.client_id(tenant, client), client, tenant, frozenset(), self.scopes, is_disabled=is_disabled
        )


class IssuerFile:
    """The issuers of a file, none without one. `read` changes nothing; `replace` replaces all at once."""

    def __init__(self, path: Path | None, url_problems: UrlProblems) -> None:
        self._path = path
        self._url_problems = url_problems
        self._by_url: Mapping[str, Issuer] = {}
        self._by_name: Mapping[str, Issuer] = {}

    def __bool__(self) -> bool:
        return bool(self._by_url)

    def load(self) -> None:
        """Reads and replaces. Where it raises what `read` raises, the issuers of before stay."""
        self.replace(self.read())

    def read(self) -> Sequence[Issuer]:
        """The issuers that the file has now. Raises `ConfigurationError`, one line with the file and the
        element that is not valid.
        """
        if self._path is None:
            return ()
        try:
            return list(parse_issuers(self._path.read_bytes(), self._url_problems))
        except OSError as error:
            raise ConfigurationError(
                f"BROKER_ISSUERS={self._path}: {error.strerror}. Name a file that can be read."
            ) from error
        except ValueError as error:
            raise ConfigurationError(f"{self._path}: {error}. Correct the file.") from error

    def replace(self, issuers: Sequence[Issuer]) -> None:
        self._by_url = {issuer.url: issuer for issuer in issuers}
        self._by_name = {issuer.name: issuer for issuer in issuers}

    def all(self) -> Sequence[Issuer]:
        """Those of the file."""
        return list(self._by_url.values())

    def find(self, url: str) -> Issuer | None:
        """The issuer of the claim `iss`."""
        return self._by_url.get(url)

    def claims_id(self, client_id: str) -> bool:
        """Whether clients of an issuer have ids like this, so that no other client may."""
        return client_id.partition(":")[0] in self._by_name and ":" in client_id

    def named(self, name: str) -> Issuer | None:
        """The issuer of that name."""
        return self._by_name.get(name)

    def client(self, client_id: str) -> Client | None:
        """The client of an issuer, as `Issuer.client` says."""
        name, _, rest = client_id.partition(":")
        issuer = self._by_name.get(name)
        return None if issuer is None else issuer.client(rest)


def parse_issuers(text: bytes, url_problems: UrlProblems) -> Iterator[Issuer]:
    """The issuers of a file. Raises `ValueError` that names the element."""
    document = tomllib.loads(text.decode())
    entries = document.pop("issuer", None)
    if document or not isinstance(entries, list) or not entries:
        raise ValueError("give one [[issuer]] for each issuer, and nothing else")
    names: set[str] = set()
    urls: set[str] = set()
    for n, entry in enumerate(entries):
        try:
            issuer = _issuer(entry, url_problems)
        except ValueError as error:
            raise ValueError(f"issuer[{n}].{error}") from error
        if issuer.name in names or issuer.url in urls:
            raise ValueError(f"issuer[{n}].name: another issuer has the same name or URL")
        names.add(issuer.name)
        urls.add(issuer.url)
        yield issuer


def _issuer(entry: Mapping[str, Any], url_problems: UrlProblems) -> Issuer:
    for member in entry:
        if member not in _MEMBERS:
            raise ValueError(f"{member}: not a member of an issuer; {', '.join(sorted(_MEMBERS))} are")
    name, url, jwks_uri = _source(entry, url_problems)
    limit = _scopes(entry, "scope")
    return Issuer(
        name,
        url,
        _audiences(entry),
        limit,
        jwks_uri=jwks_uri,
        algorithms=_algorithms(entry),
        skew_s=_skew_s(entry),
        tenant_claim=_text(entry, "tenant_claim"),
        tenants=_tenants(entry),
        client_claims=_texts(entry, "client_claims", ("client_id", "azp", "sub")),
        person_claims=_texts(entry, "person_claims", ("sub",)),
        scope_claims=_texts(entry, "scope_claims", ("scope", "scp")),
        group_claims=_texts(entry, "group_claims", ("groups",)),
        groups=_groups(entry, limit),
        disabled_clients=frozenset(_texts(entry, "disabled_clients", ())),
    )


def _source(entry: Mapping[str, Any], url_problems: UrlProblems) -> tuple[str, str, str]:
    """The name, the URL and the URL of the keys."""
    name, url, jwks_uri = (_text(entry, member) for member in ("name", "issuer", "jwks_uri"))
    if not _NAME.fullmatch(name):
        raise ValueError("name: give 1 to 32 lower-case letters, digits and -")
    for problem in url_problems(url):
        raise ValueError(f"issuer: {problem}")
    for problem in url_problems(jwks_uri) if jwks_uri else ():
        raise ValueError(f"jwks_uri: {problem}")
    return name, url, jwks_uri


def _audiences(entry: Mapping[str, Any]) -> tuple[str, ...]:
    audiences = _texts(entry, "audience", ())
    if not audiences:
        raise ValueError("audience: missing; give what the tokens for this broker have as aud")
    return audiences


def _algorithms(entry: Mapping[str, Any]) -> tuple[str, ...]:
    algorithms = _texts(entry, "algorithms", tuple(ISSUER_ALGORITHMS))
    for algorithm in algorithms:
        if algorithm not in ISSUER_ALGORITHMS:
            raise ValueError(f"algorithms: {algorithm!r} is not one of {', '.join(ISSUER_ALGORITHMS)}")
    return algorithms


def _tenants(entry: Mapping[str, Any]) -> tuple[Tenant, ...]:
    has_claim = "tenant_claim" in entry
    if has_claim != ("tenants" in entry) or (has_claim and "tenant" in entry):
        raise ValueError("tenant_claim: give it together with tenants, or tenant alone")
    texts = _texts(entry, "tenants", ()) if has_claim else (_text(entry, "tenant") or DEFAULT_TENANT,)
    for tenant in texts:
        if not TENANT_PATTERN.fullmatch(tenant):
            raise ValueError(f"tenants: {tenant!r} is not 1 to 64 letters, digits, - and _")
    return tuple(Tenant(tenant) for tenant in texts)


def _groups(entry: Mapping[str, Any], limit: Scopes) -> Mapping[str, Grant]:
    groups = entry.get("groups", {})
    if not isinstance(groups, dict):
        raise ValueError("groups: not a table")  # noqa: TRY004 as for every other mistake
    grants = {}
    for name, members in groups.items():
        if not isinstance(members, dict) or not members.keys() <= {"scope", "roles"}:
            raise ValueError(f"groups.{name}: give scope, roles, or both")
        roles = _texts(members, "roles", ())
        for role in roles:
            if role not in set(PrincipalRole):
                raise ValueError(f"groups.{name}.roles: {role!r} is not one of {', '.join(PrincipalRole)}")
        scopes = _scopes(members, "scope") if "scope" in members else frozenset()
        for scope in scopes:
            if not covers(limit, scope):
                raise ValueError(f"groups.{name}.scope: {scope} is more than `scope` of the issuer")
        grants[name] = Grant(scopes, frozenset(PrincipalRole(role) for role in roles))
    return grants


def _scopes(entry: Mapping[str, Any], member: str) -> Scopes:
    try:
        scopes = [Scope.parse(word) for word in _text(entry, member).split()]
        for scope in scopes:
            check_registrable(scope)
    except ValueError as error:
        raise ValueError(f"{member}: {error}") from error
    if not scopes:
        raise ValueError(f"{member}: missing; give the most that a token is granted")
    return frozenset(scopes)


def _skew_s(entry: Mapping[str, Any]) -> int:
    skew_s = entry.get("clock_skew", _DEFAULT_SKEW_S)
    if not isinstance(skew_s, int) or isinstance(skew_s, bool) or not 0 <= skew_s <= MAX_SKEW_S:
        raise ValueError(f"clock_skew: not a whole number of seconds from 0 to {MAX_SKEW_S}")
    return skew_s


def _text(entry: Mapping[str, Any], member: str) -> str:
    value = entry.get(member, "")
    if not isinstance(value, str):
        raise ValueError(f"{member}: not a string")  # noqa: TRY004 as for every other mistake
    return value


def _texts(entry: Mapping[str, Any], member: str, default: Sequence[str]) -> tuple[str, ...]:
    value = entry.get(member, default)
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) and each for each in value):
        raise ValueError(f"{member}: not a list of strings")
    return tuple(value)
