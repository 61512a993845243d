"""Builds the channel that writes to the FHIR servers of BROKER_WRITE_TARGETS."""

import contextlib
from collections.abc import AsyncIterator, Callable

from broker.channels.authorization import Authorization
from broker.channels.base import Channel
from broker.channels.fhir_server import RESPONSE_LIMITS
from broker.channels.fhir_write import FhirWriteChannel
from broker.channels.reference_lookup import LocalResources, ReferenceLookup
from broker.channels.write_targets import WriteTargets
from broker.egress.client import EgressClient
from broker.egress.http_connection import ResponseLimits
from broker.fhir.conversion import convert
from broker.model.change import Tenant
from broker.model.release import Release
from broker.model.resource import Resource
from broker.settings import Settings
from broker.store.bodies import Bodies
from broker.store.protocol import Store
from broker.store.resources import Resources

CHANNEL = "fhir-write"


def load_write_targets(settings: Settings) -> WriteTargets:
    """The targets of BROKER_WRITE_TARGETS. Raises `ConfigurationError` for a file that is not valid."""
    return WriteTargets() if settings.write_targets is None else WriteTargets.read(settings.write_targets)


@contextlib.asynccontextmanager
async def write_channel(
    settings: Settings,
    store: Store,
    bodies: Bodies,
    authorization: Authorization,
    client: Callable[[ResponseLimits], EgressClient],
) -> AsyncIterator[dict[str, Channel]]:
    """The channel by its code, if there are targets. `client` makes a client for responses within limits:
    those of a FHIR server are longer than those of an endpoint.
    """
    targets = load_write_targets(settings)
    if not targets.are_there:
        yield {}
        return
    async with client(RESPONSE_LIMITS) as egress:
        lookup = ReferenceLookup(local_resources(Resources(store, bodies)), settings.base_url)
        yield {CHANNEL: FhirWriteChannel(egress.send, targets, authorization, lookup)}


def local_resources(resources: Resources) -> LocalResources:
    """Reads current versions in the release of a server."""

    async def read(tenant: Tenant, resource_type: str, resource_id: str, release: Release) -> Resource | None:
        version = await resources.current(tenant, resource_type, resource_id)
        if version is None or version.resource is None:
            return None
        return convert(version.resource, resource_type, version.release, release)

    return read
