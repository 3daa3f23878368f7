"""Spans as OTLP wants them. The only module that imports the extra `traces`."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status

from nanoclaw import __version__
from nanoclaw.traces.spans import Span, Value

_KINDS: Final = {
    "server": trace_pb2.Span.SPAN_KIND_SERVER,
    "client": trace_pb2.Span.SPAN_KIND_CLIENT,
    "internal": trace_pb2.Span.SPAN_KIND_INTERNAL,
}


def encoded(spans: Iterable[Span], installation: str) -> bytes:
    """An `ExportTraceServiceRequest`."""
    about = {"service.name": "nanoclaw", "service.version": __version__, "service.instance.id": installation}
    ours = ScopeSpans(scope=InstrumentationScope(name="nanoclaw"), spans=[_span(span) for span in spans])
    everything = ResourceSpans(resource=Resource(attributes=_values(about)), scope_spans=[ours])
    return ExportTraceServiceRequest(resource_spans=[everything]).SerializeToString()


def _span(span: Span) -> trace_pb2.Span:
    return trace_pb2.Span(
        trace_id=span.trace,
        span_id=span.id,
        parent_span_id=span.parent,
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=_nanoseconds(span.began),
        end_time_unix_nano=_nanoseconds(span.ended),
        attributes=_values(span.values),
        events=[
            trace_pb2.Span.Event(name=note.name, time_unix_nano=_nanoseconds(note.at), attributes=_values(note.values))
            for note in span.notes
        ],
        status=Status(code=Status.STATUS_CODE_ERROR, message=span.problem) if span.problem else None,
    )


def _values(values: Mapping[str, Value | None]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items() if value is not None]


def _value(value: Value) -> AnyValue:
    match value:
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000
