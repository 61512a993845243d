"""The channel `fhir-write`: writes the resources of events to a FHIR server that an administrator set up.

Events are written in their order. A resource that the server refuses, with its OperationOutcome, becomes a
dead letter, and those behind it are written; whatever else goes wrong ends the attempt, and what was not
written is tried again. A handshake and a heartbeat check what the server can do, and write nothing.

Requests are conditional or name the id, so a repeated one changes nothing twice.
"""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from broker.channels.authorization import Authorization
from broker.channels.base import SendRequest, StatelessChannel
from broker.channels.fhir_server import Accepted, Failure, FhirServer, ItemRefused
from broker.channels.reference_lookup import ReferenceLookup, Unresolved
from broker.channels.rest_hook import check_json_type
from broker.channels.write_progress import WriteProgress
from broker.channels.write_targets import SCHEME, WriteTarget, WriteTargets
from broker.egress.http import HttpSend
from broker.errors import Issue
from broker.fhir.identifiers import identifiers
from broker.fhir.server_answers import EntryAnswer, reference_of, transaction_answers
from broker.fhir.server_capabilities import missing_capabilities
from broker.fhir.server_references import LogicalReference, logical_references
from broker.fhir.server_writes import (
    NotWritable,
    Skipped,
    WriteItem,
    WriteMode,
    WriteRequest,
    transaction,
    write_request,
)
from broker.model.change import Interaction
from broker.model.notification import DeliveryError, ErrorReport, Notification, NotificationType
from broker.model.outcome import Delivered, DeliveryOutcome, Refused, Unreachable
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent, Subscription

_MINIMAL = ("Prefer", "return=minimal")
_ENTRY_OVERHEAD_BYTES = 400
"""About what an entry of a transaction has besides its resource."""


class FhirWriteChannel(StatelessChannel):
    """Shared by all subscriptions and targets."""

    is_pushed = True
    is_for_administrators = True
    writes_resources = True

    def __init__(
        self, send: HttpSend, targets: WriteTargets, authorization: Authorization, lookup: ReferenceLookup
    ) -> None:
        self._send = send
        self._targets = targets
        self._authorization = authorization
        self._lookup = lookup
        self._max_entries: dict[WriteTarget, int] = {}
        """How many entries a server takes that has answered 413."""

    def check(self, subscription: Subscription) -> list[Issue]:
        channel, issues = subscription.channel, []
        target = self._targets.find(subscription.tenant, channel.endpoint)
        if target is None:
            text = (
                f"the endpoint of this channel is {SCHEME} and the name of a target of the tenant that the "
                "administrator has set up (BROKER_WRITE_TARGETS)"
            )
            issues.append(Issue("invalid", text, "endpoint"))
        elif target.rules.release is not subscription.release:
            release = target.rules.release.upper()
            text = f"the server is written to in {release}: register the Subscription in {release}"
            issues.append(Issue("not-supported", text, "endpoint"))
        if channel.content is not PayloadContent.FULL_RESOURCE:
            text = "resources are written, so the content is full-resource"
            issues.append(Issue("not-supported", text, "content"))
        text = "the administrator sets up how a server is reached; leave the header out"
        issues += [Issue("forbidden", text, f"parameter[{n}]") for n in range(len(channel.headers))]
        return [*issues, *check_json_type(channel)]

    def concurrency_key(self, subscription: Subscription) -> str:
        """The origin of the server, as for a rest-hook."""
        target = self._targets.find(subscription.tenant, subscription.channel.endpoint)
        parts = urlsplit("" if target is None else target.base)
        return f"{parts.scheme}://{parts.netloc}"

    async def send(self, request: SendRequest) -> DeliveryOutcome:
        subscription, notification = request.subscription, request.notification
        target = self._targets.find(subscription.tenant, subscription.channel.endpoint)
        if target is None:
            text = f"the administrator has set up no target {subscription.channel.endpoint!r}"
            return Unreachable(ErrorReport(None, text))
        server = FhirServer(
            self._send,
            self._authorization,
            target,
            request.timeout_s,
            request.traceparent,
            request.exchange,
        )
        if notification.type in {NotificationType.HANDSHAKE, NotificationType.HEARTBEAT}:
            return await _check_capabilities(server)
        return await _Attempt(server, self._lookup, self._max_entries, notification).run()


async def _check_capabilities(server: FhirServer) -> DeliveryOutcome:
    answer = await server.request("GET", "metadata")
    match answer:
        case Accepted(body=body):
            missing = missing_capabilities(body, server.target.needs)
        case ItemRefused(text=text):
            return Refused(False, ErrorReport(DeliveryError.ERROR_RESPONSE, text))
        case _:
            return answer
    if missing is None:
        text = "the answer to metadata is no CapabilityStatement"
        return Refused(False, ErrorReport(DeliveryError.ERROR_RESPONSE, text))
    if missing:
        text = f"the server can't be written to as its target says: {'; '.join(missing)}"
        return Refused(False, ErrorReport(None, text))
    return Delivered("the server can do what its target needs")


class _Attempt:
    """Writes the resources of one notification."""

    def __init__(
        self,
        server: FhirServer,
        lookup: ReferenceLookup,
        max_entries: dict[WriteTarget, int],
        notification: Notification,
    ) -> None:
        self._server = server
        self._target = server.target
        self._lookup = lookup
        self._max_entries = max_entries
        self._notification = notification
        self._given = dict(_resources(notification))
        self._progress = WriteProgress([focus.event.number for focus in notification.foci])

    async def run(self) -> DeliveryOutcome:
        for chunk in self._chunks():
            failure = await self._write(chunk)
            if failure is not None:
                return self._progress.outcome(failure)
        return self._progress.outcome(None)

    def _chunks(self) -> Iterator[list[WriteRequest]]:
        """The requests by transaction, in order. What can't be written is decided on the way."""
        chunk: list[WriteRequest] = []
        size = 0
        for focus in self._notification.foci:
            key = focus.event.focus
            item = WriteItem(focus.event.number, focus.event.interaction, key.type, key.id, focus.resource)
            request: WriteRequest | NotWritable | Skipped
            if key.type in self._target.types:
                request = write_request(item, self._target.rules)
            else:
                request = NotWritable(item, f"{key.type} is none of the types that may be written there")
            match request:
                case NotWritable(item=item, reason=reason):
                    self._progress.refuse(item.number, reason)
                    continue
                case Skipped(item=item):
                    self._progress.accept(item.number)
                    continue
            added = _ENTRY_OVERHEAD_BYTES + len(request.resource.text if request.resource else b"")
            is_full = len(chunk) >= self._max_entries.get(self._target, self._target.max_entries)
            if chunk and (is_full or size + added > self._target.max_bundle_bytes):
                yield chunk
                chunk, size = [], 0
            chunk.append(request)
            size += added
        if chunk:
            yield chunk

    async def _write(self, requests: Sequence[WriteRequest]) -> Failure | None:
        """Writes them as one transaction; one that is refused in halves, down to the resource that is at
        fault: a refused transaction has written nothing. Returns why the attempt ends here, if it does.
        """
        resolved = await self._resolved(requests)
        if not isinstance(resolved, list):
            return resolved
        if not resolved:
            return None
        if len(resolved) == 1:
            return await self._write_single(resolved[0])
        answer = await self._server.request("POST", "", transaction(resolved), headers=(_MINIMAL,))
        match answer:
            case Accepted(body=body):
                answers = transaction_answers(body, len(resolved))
                if answers is None:
                    text = "the answer to a transaction is no transaction-response with its entries"
                    return Refused(True, ErrorReport(DeliveryError.ERROR_RESPONSE, text))
                for request, entry in zip(resolved, answers, strict=True):
                    self._record(request, entry)
                return None
            case ItemRefused(status=status):
                half = len(resolved) // 2
                if status == 413:
                    self._max_entries[self._target] = half
                numbers = [request.item.number for request in resolved]
                left = [request for request in requests if request.item.number in numbers]
                return await self._write(left[:half]) or await self._write(left[half:])
            case _:
                return answer

    async def _resolved(self, requests: Sequence[WriteRequest]) -> list[WriteRequest] | Failure:
        """The requests with their references resolved; those whose references can't be are refused, and the
        rest refers to them no more.
        """
        while True:
            in_bundle = self._in_bundle(requests)
            resolved, left = [], []
            for request in requests:
                result = await self._lookup.resolved(self._server, request, in_bundle, self._given)
                match result:
                    case WriteRequest():
                        resolved.append(result)
                        left.append(request)
                    case Unresolved(reason=reason, outcome=outcome):
                        self._progress.refuse(request.item.number, reason, outcome)
                    case _:
                        return result
            if len(left) == len(requests) or not left:
                return resolved
            requests = left

    def _in_bundle(self, requests: Sequence[WriteRequest]) -> dict[str, str]:
        """What the transaction writes itself. With the broker's ids the references fit as they are."""
        if len(requests) < 2 or self._target.rules.mode is WriteMode.UPDATE:
            return {}
        written = [(request, request.resource) for request in requests if request.resource is not None]
        full_urls = {request.item.reference: request.full_url for request, _ in written}
        if any(logical_references(resource) for _, resource in written):
            for request, resource in written:
                for token in identifiers(resource):
                    full_urls[LogicalReference(request.item.type, token).key] = request.full_url
        return full_urls

    async def _write_single(self, request: WriteRequest) -> Failure | None:
        headers = [_MINIMAL]
        if request.if_none_exist:
            headers.append(("If-None-Exist", request.if_none_exist))
        body = b"" if request.resource is None else request.resource.text
        answer = await self._server.request(request.method, request.url, body, headers=tuple(headers))
        match answer:
            case Accepted(status=status, location=location):
                self._record(request, EntryAnswer(status, reference_of(location)))
            case ItemRefused(status=404 | 410) if request.method == "DELETE":
                self._progress.accept(request.item.number)  # what is to be deleted is not there
            case ItemRefused(text=text, outcome=outcome):
                self._refuse(request, text, outcome)
            case _:
                return answer
        return None

    def _record(self, request: WriteRequest, answer: EntryAnswer) -> None:
        item = request.item
        if answer.status >= 400 and request.method != "DELETE":
            self._refuse(request, f"the server answered {answer.status}: {answer.summary}", answer.outcome)
            return
        self._progress.accept(item.number)
        if item.interaction is Interaction.DELETE:
            self._lookup.forget(self._target, item.reference)
        elif answer.reference.startswith(f"{item.type}/"):
            self._lookup.remember(self._target, item.reference, answer.reference)

    def _refuse(self, request: WriteRequest, text: str, outcome: bytes) -> None:
        """A wrong reference may be the reason: the next attempt looks it up."""
        self._progress.refuse(request.item.number, text, outcome)
        self._lookup.forget_references(self._target, request.item.resource)


def _resources(notification: Notification) -> Iterator[tuple[str, Resource]]:
    """The resources that the notification has, by `Type/id`."""
    for focus in notification.foci:
        if focus.resource is not None:
            yield focus.event.focus.reference, focus.resource
        for included, resource in zip(focus.event.context, focus.context, strict=False):
            if resource is not None:
                yield included.key.reference, resource
