"""Which endpoints ask for access tokens, and how the broker gets them: the file BROKER_OUTBOUND_AUTH (S-106).

The operator writes it; no Subscription changes it. A rule is of one tenant and one URL prefix, and a token
that was got by it is sent below that prefix only (S-105).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import unquote, urlsplit

from broker.errors import ConfigurationError
from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Tenant
from broker.security.key_provider import refuse_unknown, required_text
from broker.toml_tables import read_tables

Method = Literal["private_key_jwt", "client_secret_basic"]
_METHODS = ("private_key_jwt", "client_secret_basic")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class OutboundRule:
    """How to get the tokens for the URLs below `url`. Either `token_endpoint` is set, or `fhir_base`, whose
    discovery names it. `secret_file` has the secret of `client_secret_basic`.
    """

    tenant: Tenant
    url: str
    client_id: str
    scope: str
    method: Method
    token_endpoint: str = ""
    fhir_base: str = ""
    secret_file: Path | None = None

    @property
    def source(self) -> str:
        """Where tokens come from, for the cache and for texts."""
        return self.token_endpoint or self.fhir_base

    def secret(self) -> str:
        """The content of `secret_file`, read at each use. Raises `ConfigurationError`."""
        if self.secret_file is None:
            return ""
        try:
            return self.secret_file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise ConfigurationError(
                f"The file {self.secret_file} with the client's secret cannot be read."
            ) from None


class OutboundRules:
    """Finds the rule of an endpoint: the longest prefix of its tenant."""

    def __init__(self, rules: Sequence[OutboundRule] = ()) -> None:
        self._rules: dict[Tenant, list[tuple[str, str, OutboundRule]]] = {}
        for rule in rules:
            self._rules.setdefault(rule.tenant, []).append((*_origin_and_path(rule.url), rule))
        for listed in self._rules.values():
            listed.sort(key=lambda entry: len(entry[1]), reverse=True)

    @classmethod
    def read(cls, path: Path) -> "OutboundRules":
        """Raises `ConfigurationError` that names the table and the member."""
        rules: dict[tuple[Tenant, tuple[str, str]], OutboundRule] = {}
        for number, members in enumerate(read_tables(path, "BROKER_OUTBOUND_AUTH", "endpoint"), 1):
            try:
                rule = _parse(dict(members), path.parent)
            except (ConfigurationError, ValueError, TypeError) as error:
                raise ConfigurationError(f"{path}: endpoint {number}: {error}") from error
            key = (rule.tenant, _origin_and_path(rule.url))
            if key in rules:
                raise ConfigurationError(
                    f"{path}: endpoint {number}: another one has the same url and tenant."
                )
            rules[key] = rule
        return cls(list(rules.values()))

    def all(self) -> Sequence[OutboundRule]:
        """Those of every tenant."""
        return [rule for listed in self._rules.values() for _, _, rule in listed]

    def find(self, tenant: Tenant, url: str) -> OutboundRule | None:
        """The rule for a URL; None if no token is to be sent to it."""
        listed = self._rules.get(tenant)
        if not listed:
            return None
        try:
            origin, path = _origin_and_path(url)
        except ValueError:
            return None
        if any(unquote(segment) in {".", ".."} for segment in path.split("/")):
            return None  # it leads out of the prefix
        for rule_origin, prefix, rule in listed:
            if origin == rule_origin and (path + "/").startswith(prefix):
                return rule
        return None


def _origin_and_path(url: str) -> tuple[str, str]:
    """The origin in one spelling, and the path with a slash at the end of each segment."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not an http or https URL.")
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}:{port}", parts.path.rstrip("/") + "/"


def _parse(members: dict[str, Any], folder: Path) -> OutboundRule:
    tenant = members.pop("tenant", DEFAULT_TENANT)
    if not isinstance(tenant, str) or not TENANT_PATTERN.fullmatch(tenant):
        raise ConfigurationError("tenant is no name of a tenant.")
    method = members.pop("method", "private_key_jwt")
    if method not in _METHODS:
        raise ConfigurationError(f"method is none of {', '.join(_METHODS)}.")
    url, client_id, scope = (required_text(members, name) for name in ("url", "client_id", "scope"))
    sources = {name: _url(members, name) for name in ("token_endpoint", "fhir_base") if name in members}
    if len(sources) != 1:
        raise ConfigurationError("give either token_endpoint or fhir_base.")
    secret_file = None
    if method == "client_secret_basic":
        secret_file = folder / required_text(members, "secret_file")
    refuse_unknown(members)
    if urlsplit(url).query or urlsplit(url).fragment or "@" in urlsplit(url).netloc:
        raise ConfigurationError("url has more than an origin and a path.")
    _origin_and_path(url)
    return OutboundRule(
        Tenant(tenant), url, client_id, scope, cast("Method", method), **sources, secret_file=secret_file
    )


def _url(members: dict[str, Any], name: str) -> str:
    url = required_text(members, name)
    _origin_and_path(url)
    if urlsplit(url).fragment or "@" in urlsplit(url).netloc:
        raise ConfigurationError(f"{name} has a user name or a fragment.")
    return url if name == "token_endpoint" else url.rstrip("/")
