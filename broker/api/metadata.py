"""What a base says about itself: its CapabilityStatement, and the OperationDefinitions it names."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker import __version__
from broker.api.exchange import FhirRequest, FhirResponse
from broker.api.search_capabilities import stored_searches
from broker.api.searchsets import each_of, searchset
from broker.errors import Issue, NotFound
from broker.fhir.capabilities import Capabilities, SearchCapability
from broker.fhir.operation_definitions import OPERATIONS, definitions, operation_definitions
from broker.fhir.search_parameter_urls import search_parameter_url
from broker.model.resource import Resource
from broker.model.search import ParameterType
from broker.services.audit_fields import AUDIT_FIELDS
from broker.services.resource_search import ResourceSearchService
from broker.services.search import Fields, SearchField
from broker.services.subscription_fields import SUBSCRIPTION_FIELDS
from broker.services.topic_fields import TOPIC_FIELDS
from broker.services.topics import TopicService

_DEFINITION = "OperationDefinition"
_OPEN = (
    "No authentication: whoever can connect may do everything. "
    "Meant for one machine or a network that is closed by other means."
)
_SMART = (
    "Clients send access tokens of SMART Backend Services; .well-known/smart-configuration has the endpoints."
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the CapabilityStatement states about this process: start time (ms), channel types, and whether
    clients need access tokens.
    """

    started_ms: int
    channels: Sequence[str]
    is_smart: bool

    @property
    def security(self) -> str:
        """Who may do what, in a sentence."""
        return _SMART if self.is_smart else _OPEN


class MetadataHandlers:
    """The rows for `metadata` and OperationDefinition."""

    def __init__(self, topics: TopicService, stored: ResourceSearchService, facts: ServerFacts) -> None:
        self._topics = topics
        self._stored = stored
        self._facts = facts

    async def read(self, request: FhirRequest) -> FhirResponse:
        """The CapabilityStatement of the base."""
        searches: Mapping[str, Fields[Any]] = {
            "AuditEvent": AUDIT_FIELDS[request.release],
            "Subscription": SUBSCRIPTION_FIELDS[request.release],
            request.adapter.topic_type: TOPIC_FIELDS[request.release],
            _DEFINITION: _FIELDS,
        }
        # the first time it reads the table of all search parameters
        stored = await asyncio.to_thread(stored_searches, request.release, self._stored.is_searched)
        resources = {operation.resource_in(request.release) for operation in OPERATIONS}
        capabilities = Capabilities(
            base=request.base,
            websocket=f"ws{request.base_url.removeprefix('http')}/ws",
            software_version=__version__,
            at_ms=self._facts.started_ms,
            searches={**stored.searches}
            | {
                resource_type: [
                    SearchCapability(
                        code, str(field.type), search_parameter_url(request.release, resource_type, code)
                    )
                    for code, field in fields.items()
                ]
                for resource_type, fields in searches.items()
            },
            histories=frozenset(filter(self._stored.is_searched, request.adapter.resource_types)),
            includes={name: codes for name, codes in stored.includes.items() if name not in searches},
            operations={each: definitions(request.release, request.base, each) for each in resources},
            channels=sorted(self._facts.channels),
            security=self._facts.security,
            is_smart=self._facts.is_smart,
        )
        topics = self._topics.all(request.principal)
        return FhirResponse(body=request.adapter.capability_statement(topics, capabilities).text)

    def is_own_operation(self, request: FhirRequest) -> bool:
        """Whether an OperationDefinition is one of this base; others are resources that a producer stored."""
        return any(definition.id == request.params["id"] for definition in self._definitions(request))

    async def read_operation(self, request: FhirRequest) -> FhirResponse:
        """The OperationDefinition of an operation of this base."""
        for definition in self._definitions(request):
            if definition.id == request.params["id"]:
                return FhirResponse(body=definition.text)
        text = f"{request.path} does not exist. Search {_DEFINITION} for those that do."
        raise NotFound(Issue("not-found", text))

    async def search_operations(self, request: FhirRequest) -> FhirResponse:
        """Among the operations of this base."""
        definitions = each_of(self._definitions(request))
        return await searchset(request, _DEFINITION, _FIELDS, definitions, lambda definition: definition)

    def _definitions(self, request: FhirRequest) -> Sequence[Resource]:
        return operation_definitions(
            request.release,
            version=request.adapter.version,
            base=request.base,
            at_ms=self._facts.started_ms,
        )


def _field(parameter_type: ParameterType, name: str) -> SearchField[Resource]:
    def values(definition: Resource) -> list[str]:
        value = definition.fields[name]
        # FHIR writes booleans in lower case
        return [str(value).lower() if isinstance(value, bool) else str(value)]

    return SearchField(parameter_type, values)


_TOKEN, _STRING = ParameterType.TOKEN, ParameterType.STRING
_FIELDS: Fields[Resource] = {
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
