"""Builds access control: the registered clients, how requests are authenticated, and the OAuth endpoints."""

from broker.api.authentication import Authenticate, authenticate_open, bearer
from broker.api.oauth import OAuthParts
from broker.app.parts import Parts
from broker.security.client_assertion import AssertionVerifier, RegisteredKeys
from broker.security.client_directory import ClientDirectory
from broker.services.access_tokens import TokenService
from broker.settings import Settings
from broker.store.access_tokens import AccessTokens, UsedAssertions
from broker.workers.client_reload import ClientReload


def load_clients(settings: Settings) -> ClientDirectory:
    """The clients of the files, none without access control. Raises `ConfigurationError` for a file that is
    not valid.
    """
    clients = ClientDirectory(settings.clients_dir if settings.auth == "smart" else None)
    clients.load()
    return clients


def build_authenticate(parts: Parts) -> Authenticate:
    """How a process with these settings authenticates requests."""
    if parts.settings.auth == "off":
        return authenticate_open
    return bearer(parts.token_authenticator.authenticate)


def build_oauth(parts: Parts) -> OAuthParts:
    verifier = AssertionVerifier(parts.clients, RegisteredKeys(), UsedAssertions(parts.store), parts.clock)
    tokens = TokenService(verifier, AccessTokens(parts.store), parts.token_authenticator)
    return OAuthParts(tokens, parts.settings.base_url)


def build_client_reload(parts: Parts) -> ClientReload:
    return ClientReload(parts.clients, parts.client_changes)
