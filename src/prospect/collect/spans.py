"""OpenTelemetry: a span for each request that was answered, an event for each vote.

No text, no key and no name of a person is in them. Nothing is computed where no SDK is configured, as
`opentelemetry-instrument` does it from the variables OTEL_*.

Source: semantic conventions for generative AI (open-telemetry/semantic-conventions-genai), status development: spans of
inference, and the event gen_ai.evaluation.result.
"""

from __future__ import annotations

import time
from typing import Any, Self

from opentelemetry import _logs, trace
from opentelemetry.trace import ProxyTracerProvider, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from prospect.collect.exchange import Exchange
from prospect.collect.turns import Vote

_SCOPE = "prospect.collect"
_REASONS = ("stop", "length", "tool_calls", "function_call", "content_filter")
_LABELS = {1: "up", -1: "down", 0: "retracted"}


class Spans:
    """Tells OpenTelemetry what happens.

    Args:
        tracer: makes spans.
        logger: emits events.
    """

    def __init__(self, tracer: trace.Tracer, logger: _logs.Logger) -> None:
        self._tracer, self._logger = tracer, logger
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def configured(cls) -> Self | None:
        """Return what tells the SDK that was configured before; None where none was."""
        if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
            return None
        return cls(trace.get_tracer(_SCOPE), _logs.get_logger(_SCOPE))

    def exchange(self, one: Exchange) -> None:
        """Tell of a request and its answer: a span from its arrival to the upstream's last byte."""
        began = round(one.created.timestamp() * 1e9)
        span = self._tracer.start_span(
            f"{'chat' if one.asked.chat else 'text_completion'} {one.model}".strip(),
            context=self._propagator.extract(one.asked.trace),
            kind=SpanKind.CLIENT,
            attributes=_attributes(one),
            start_time=began,
        )
        if one.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(began + round((one.upstream_seconds or time.perf_counter() - one.began) * 1e9))

    def vote(self, one: Vote) -> None:
        """Tell of a vote that was kept."""
        self._logger.emit(
            timestamp=time.time_ns(),
            event_name="gen_ai.evaluation.result",
            attributes={
                "gen_ai.evaluation.name": "thumb",
                "gen_ai.evaluation.score.value": float(one.value),
                "gen_ai.evaluation.score.label": _LABELS[one.value],
                "gen_ai.response.id": one.turn,
            },
        )


def _attributes(one: Exchange) -> dict[str, Any]:
    answer = one.answer
    found = {
        "gen_ai.operation.name": "chat" if one.asked.chat else "text_completion",
        "gen_ai.provider.name": "openai",  # whose protocol it is; who serves the model is not known
        "gen_ai.request.model": one.model or None,
        "gen_ai.response.id": one.id,
        "gen_ai.response.model": answer.model or None,
        "gen_ai.response.finish_reasons": [
            choice.finish if choice.finish in _REASONS else "other"  # a server may say anything
            for _, choice in sorted(answer.choices.items())
            if choice.finish is not None
        ]
        or None,
        "gen_ai.usage.input_tokens": answer.prompt_tokens,
        "gen_ai.usage.output_tokens": answer.completion_tokens,
        "prospect.arm": one.arm,
        "prospect.ended": one.ended,
        "error.type": "upstream_error" if one.failed else None,
    }
    return {name: value for name, value in found.items() if value is not None}
