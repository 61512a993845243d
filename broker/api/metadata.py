"""What a base says of itself: its CapabilityStatement and the OperationDefinitions it names."""

from collections.abc import Mapping, Sequence
from typing import Any

from broker import __version__
from broker.api import resources, subscriptions, topics
from broker.api.responses import Call, Reply
from broker.api.search import Field
from broker.api.searchsets import respond, with_form
from broker.fhir.capabilities import Capabilities
from broker.fhir.documents import parse
from broker.fhir.operation_definitions import OPERATIONS, definitions, operation_definitions
from broker.model.search import ParameterType

_OPEN = "No authentication: whoever can connect may do everything. Meant for one machine or a network that is closed by other means."
_KIND = "OperationDefinition"


async def read(call: Call) -> Reply:
    services = call.services
    searches: Mapping[str, Mapping[str, Field[Any]]] = {
        "Subscription": subscriptions.FIELDS[call.release],
        call.adapter.topic_type: topics.FIELDS[call.release],
        _KIND: FIELDS,
    }
    offered = Capabilities(
        base=call.base,
        websocket=f"ws{services.base_url.removeprefix('http')}/ws",
        software_version=__version__,
        at_ms=services.started_ms,
        searches={
            kind: {code: str(field.type) for code, field in fields.items()}
            for kind, fields in searches.items()
        },
        operations={
            kind: definitions(call.release, call.base, kind) for kind in {one.resource for one in OPERATIONS}
        },
        channels=sorted(services.channels),
        security=_OPEN if services.settings.auth == "off" else f"Access control: {services.settings.auth}.",
    )
    return Reply(body=call.adapter.capability_statement(services.catalog.all(), offered))


def _definitions(call: Call) -> Sequence[bytes]:
    return operation_definitions(
        call.release, version=call.adapter.version, base=call.base, at_ms=call.services.started_ms
    )


async def read_operation(call: Call) -> Reply:
    """An operation of this base where it is one, else whatever OperationDefinition a producer stored."""
    for body in _definitions(call):
        if parse(body)["id"] == call.params["id"]:
            return Reply(body=body)
    return await resources.read(call._replace(params={**call.params, "type": _KIND}))


async def find_operations(call: Call) -> Reply:
    return respond(call, _KIND, FIELDS, _definitions(call), lambda body: body)


async def find_operations_by_form(call: Call) -> Reply:
    return await find_operations(with_form(call))


def _field(kind: ParameterType, *names: str) -> Field[bytes]:
    def values(body: bytes) -> list[str]:
        found = [parse(body)[name] for name in names]
        flat = [one for some in found for one in (some if isinstance(some, list) else [some])]
        # FHIR spells booleans in small letters
        return [str(one).lower() if isinstance(one, bool) else str(one) for one in flat]

    return Field(kind, values)


_TOKEN, _STRING = ParameterType.TOKEN, ParameterType.STRING
FIELDS: Mapping[str, Field[bytes]] = {
    "_id": _field(_TOKEN, "id"),
    "code": _field(_TOKEN, "code"),
    "date": _field(ParameterType.DATE, "date"),
    "instance": _field(_TOKEN, "instance"),
    "kind": _field(_TOKEN, "kind"),
    "name": _field(_STRING, "name"),
    "status": _field(_TOKEN, "status"),
    "system": _field(_TOKEN, "system"),
    "title": _field(_STRING, "title"),
    "type": _field(_TOKEN, "type"),
    "url": _field(ParameterType.URI, "url"),
}
