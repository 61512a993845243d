"""The keys of tokens: the broker's own, those of other servers, client assertions, and console logins."""

from broker.model.change import Tenant


def binding_token(digest: str) -> str:
    """String, JSON: what a binding token stands for; it is removed when the token is redeemed or expires."""
    return f"broker:binding-token:{digest}"


def access_token(digest: str) -> str:
    """String, JSON: what an access token stands for; it is removed when the token is revoked or expires."""
    return f"broker:access-token:{digest}"


def used_assertion(digest: str) -> str:
    """String: the request that used a client assertion; it expires when the assertion does."""
    return f"broker:used-assertion:{digest}"


def outbound_token(tenant: Tenant, name: str) -> str:
    """String: an access token of another server, sealed; it expires when it is to be replaced."""
    return f"broker:outbound-token:{tenant}:{name}"


def outbound_turn(tenant: Tenant, name: str) -> str:
    """String: who gets that token at the moment; it expires."""
    return f"broker:outbound-turn:{tenant}:{name}"


def console_session(digest: str) -> str:
    """String, JSON: who is logged in to the console; it is removed at the logout, or expires."""
    return f"broker:console-session:{digest}"


def console_link(digest: str) -> str:
    """String: the tenant of a login link of the console; it is removed when it is used, or expires."""
    return f"broker:console-link:{digest}"
