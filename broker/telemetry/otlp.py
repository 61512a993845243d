"""Encodes spans for a collector: the Protobuf of OTLP/HTTP. Only a process that traces imports this module,
because it imports Protobuf.
"""

from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from broker.model.trace import parent_id, trace_id
from broker.telemetry.tracing import RecordedSpan, SpanKind, Value

_KINDS: Mapping[SpanKind, SpanMessage.SpanKind.ValueType] = {
    SpanKind.INTERNAL: SpanMessage.SPAN_KIND_INTERNAL,
    SpanKind.SERVER: SpanMessage.SPAN_KIND_SERVER,
    SpanKind.CLIENT: SpanMessage.SPAN_KIND_CLIENT,
    SpanKind.CONSUMER: SpanMessage.SPAN_KIND_CONSUMER,
}


class OtlpEncoder:
    """`resource` says which process the spans are of."""

    def __init__(self, resource: Mapping[str, str], version: str) -> None:
        self._resource = Resource(attributes=_attributes(resource))
        self._scope = InstrumentationScope(name="fhir-broker", version=version)

    def encode(self, spans: Sequence[RecordedSpan]) -> bytes:
        """The body of one request."""
        of_scope = ScopeSpans(scope=self._scope, spans=[_message(span) for span in spans])
        of_resource = ResourceSpans(resource=self._resource, scope_spans=[of_scope])
        return bytes(ExportTraceServiceRequest(resource_spans=[of_resource]).SerializeToString())


def _message(span: RecordedSpan) -> SpanMessage:
    message = SpanMessage(
        name=span.name,
        kind=_KINDS[span.kind],
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id),
        start_time_unix_nano=span.started_ns,
        end_time_unix_nano=span.ended_ns,
        attributes=_attributes(span.attributes),
    )
    for link in span.links:
        message.links.add(trace_id=bytes.fromhex(trace_id(link)), span_id=bytes.fromhex(parent_id(link)))
    if span.error is not None:
        message.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=span.error))
    return message


def _attributes(attributes: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in attributes.items()]


def _value(value: Value) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
    return AnyValue(string_value=value)
