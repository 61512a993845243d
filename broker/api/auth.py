"""Who asks. Until access control exists everyone who may connect is the one tenant; `serve` refuses to be open by accident."""

from collections.abc import Mapping

from broker.model.change import DEFAULT_TENANT, Tenant


def tenant_of(_headers: Mapping[str, str]) -> Tenant:
    """The tenant whose data the request may touch."""
    return DEFAULT_TENANT
