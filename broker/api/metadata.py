"""The CapabilityStatement of a base."""

from broker import __version__
from broker.api import subscriptions, topics
from broker.api.responses import Call, Reply
from broker.fhir.capabilities import Capabilities


async def read(call: Call) -> Reply:
    offered = Capabilities(
        base=call.base,
        software_version=__version__,
        at_ms=call.services.started_ms,
        subscription_search={code: field.type for code, field in subscriptions.FIELDS[call.release].items()},
        topic_search={code: field.type for code, field in topics.FIELDS[call.release].items()},
    )
    return Reply(body=call.adapter.capability_statement(call.services.catalog.all(), offered))
