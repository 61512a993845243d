"""A collector of traces of the tests' own: it decodes OTLP over HTTP as OpenTelemetry's Protobuf says."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

_WAIT_S = 60.0


class CollectedSpan(NamedTuple):
    """A span with the attributes of its process; ids are hexadecimal, '' for none."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    is_error: bool
    text: str
    started_ns: int
    ended_ns: int


@dataclass
class Collector:
    """Listens while it is entered. `status` is what it answers."""

    status: int = 200
    spans: list[CollectedSpan] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        self._changed = asyncio.Event()
        app = web.Application()
        app.router.add_post("/v1/traces", self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1/traces"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.headers.append(dict(request.headers))
        if self.status == 200:
            self.bodies.append(body)
            self.spans += _decode(body)
        self._changed.set()
        return web.Response(status=self.status)

    def named(self, name: str, trace_id: str = "") -> list[CollectedSpan]:
        """The spans of this name, of one trace or of all."""
        return [span for span in self.spans if span.name == name and trace_id in {"", span.trace_id}]

    def chain(self, span: CollectedSpan) -> list[CollectedSpan]:
        """The span and those above it, the first one first."""
        above = [each for each in self.spans if each.span_id == span.parent_id]
        return [*self.chain(above[0]), span] if above else [span]

    def has_whole(self, trace_id: str, producer: str) -> bool:
        """Whether there is a span `send` of the trace, and all spans above it up to that of the producer."""
        return any(self.chain(span)[0].parent_id == producer for span in self.named("send", trace_id))

    async def until(self, holds: Callable[[], object]) -> None:
        """Waits until the condition on what was collected holds. Raises TimeoutError."""
        async with asyncio.timeout(_WAIT_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


def _decode(body: bytes) -> list[CollectedSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        CollectedSpan(
            span.name,
            trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            tuple(link.span_id.hex() for link in span.links),
            _values(span.attributes),
            _values(of_resource.resource.attributes),
            span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
            span.status.message,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
        )
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    def value(attribute: KeyValue) -> object:
        return getattr(attribute.value, attribute.value.WhichOneof("value") or "string_value")

    return {attribute.key: value(attribute) for attribute in attributes}
