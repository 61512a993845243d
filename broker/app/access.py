"""Builds access control: the registered clients, how requests are authenticated, and the OAuth endpoints."""

from broker.api.authentication import Authenticate, authenticate_open, bearer
from broker.api.login_audit import LoginAudit
from broker.api.oauth import OAuthParts
from broker.app.channels import allowed_networks
from broker.app.parts import Parts
from broker.egress.addresses import Allowance, check_url
from broker.egress.documents import DocumentClient, NotFetched
from broker.model.principal import Principal
from broker.security.client_assertion import AssertionVerifier
from broker.security.client_directory import ClientDirectory
from broker.security.issuer_tokens import IssuerTokens
from broker.security.issuers import IssuerFile
from broker.security.key_sets import Fetch, KeySet, NoKeySet, client_keys
from broker.services.access_tokens import TokenService
from broker.settings import Settings
from broker.store.access_tokens import AccessTokens, UsedAssertions
from broker.workers.access_review import AccessReview
from broker.workers.client_reload import ClientReload


def load_clients(settings: Settings) -> ClientDirectory:
    """The clients of the files, none without access control. Raises `ConfigurationError` for a file that is
    not valid.
    """
    folder = settings.clients_dir if settings.auth == "smart" else None
    allowance = Allowance(allowed_networks(settings))
    clients = ClientDirectory(folder, lambda url: check_url(url, allowance))
    clients.load()
    return clients


def load_issuers(settings: Settings) -> IssuerFile:
    """The external issuers of the file, none without access control. Raises `ConfigurationError` for a file
    that is not valid.
    """
    allowance = Allowance(allowed_networks(settings))
    path = settings.issuers if settings.auth == "smart" else None
    issuers = IssuerFile(path, lambda url: check_url(url, allowance))
    issuers.load()
    return issuers


def build_authenticate(parts: Parts) -> Authenticate:
    """How a process with these settings authenticates requests."""
    if parts.settings.auth == "off":
        return authenticate_open
    own = parts.token_authenticator
    external = IssuerTokens(parts.issuers, key_sets_of(parts.documents), parts.clock)

    async def principal_of(token: str) -> Principal:
        if external.may_have_issued(token):
            return await external.authenticate(token)
        return await own.authenticate(token)

    return bearer(principal_of)


def build_oauth(parts: Parts, login: LoginAudit) -> OAuthParts:
    verifier = AssertionVerifier(
        parts.clients, client_keys(key_sets_of(parts.documents)), UsedAssertions(parts.store), parts.clock
    )
    tokens = TokenService(verifier, AccessTokens(parts.store), parts.token_authenticator)
    return OAuthParts(tokens, login, parts.audit_journal, parts.settings.base_url)


def key_sets_of(documents: DocumentClient) -> Fetch:
    """Fetches key sets as documents."""

    async def fetch(url: str) -> KeySet:
        try:
            return KeySet(*await documents.get(url))
        except NotFetched as error:
            raise NoKeySet(str(error)) from error

    return fetch


def build_access_review(parts: Parts) -> AccessReview:
    return AccessReview(parts.subscriptions, parts.access, parts.client_changes, parts.clock)


def build_client_reload(parts: Parts) -> ClientReload:
    return ClientReload(parts.clients, parts.client_changes, parts.cached_clients)
