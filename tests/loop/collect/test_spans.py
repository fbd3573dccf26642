"""What OpenTelemetry is told, with the SDK's own exporters."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import _logs, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from prospect.collect.canary import Canary
from prospect.collect.exchange import Exchange
from prospect.collect.request import read_request
from prospect.collect.spans import Spans
from serving import eventually

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Told:
    """What was exported."""

    def __init__(self) -> None:
        self._spans, self._events = InMemorySpanExporter(), InMemoryLogRecordExporter()
        self.tracers, self.loggers = TracerProvider(), LoggerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self._events))

    @property
    def spans(self) -> list[Any]:
        return list(self._spans.get_finished_spans())

    @property
    def events(self) -> list[Any]:
        return [one.log_record for one in self._events.get_finished_logs()]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(
            [
                *(span.to_json() for span in self.spans),
                *(f"{event.body} {dict(event.attributes)}" for event in self.events),
            ]
        )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """An SDK that is configured."""
    found = Told()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: found.tracers)
    monkeypatch.setattr(_logs, "get_logger_provider", lambda: found.loggers)
    monkeypatch.setattr(trace, "get_tracer", found.tracers.get_tracer)
    monkeypatch.setattr(_logs, "get_logger", found.loggers.get_logger)
    return found


def span_of(told: Told) -> Any:
    return eventually(lambda: told.spans)[-1]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_a_span(stream: bool, desk: Callable[..., Any], told: Told) -> None:
    response = desk().chat("vllm-stream" if stream else "openai", stream=stream)
    span = span_of(told)
    assert span.name == f"chat {'vllm-stream' if stream else 'openai'}"
    attributes = dict(span.attributes)
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.request.model"] == span.name.removeprefix("chat ")
    assert attributes["gen_ai.response.id"] == response.headers["x-prospect-turn"]
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (9, 3)
    assert (attributes["prospect.arm"], attributes["prospect.ended"]) == ("current", "stop")
    assert 0 < span.end_time - span.start_time < 60e9
    assert span.status.status_code is StatusCode.UNSET and len(told.spans) == 1


def test_a_span_belongs_to_the_trace_of_the_request(desk: Callable[..., Any], told: Told) -> None:
    body = {"model": "openai", "messages": [{"role": "user", "content": "?"}]}
    desk().client.post("/v1/chat/completions", json=body, headers={"traceparent": PARENT})
    span = span_of(told)
    assert f"{span.context.trace_id:032x}-{span.parent.span_id:016x}" == PARENT[3:-3]


def test_an_upstream_that_fails_is_an_error(desk: Callable[..., Any], told: Told) -> None:
    desk().chat("drops")
    span = span_of(told)
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes["error.type"], span.attributes["prospect.ended"]) == ("upstream_error", "upstream_error")


def test_a_client_that_leaves_ends_the_span(desk: Callable[..., Any], told: Told) -> None:
    one = desk()
    body = {"model": "never-ends", "messages": [{"role": "user", "content": "?"}], "stream": True}
    with one.client.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_raw())
    assert span_of(told).attributes["prospect.ended"] == "client_left"


def test_the_shadow_has_a_span_of_its_own(desk: Callable[..., Any], told: Told) -> None:
    desk(model="openai", shadow=Canary("openai-cut", 1.0)).chat("any")
    eventually(lambda: len(told.spans) == 2)
    assert [span.attributes["prospect.arm"] for span in told.spans] == ["current", "shadow"]


@pytest.mark.parametrize(("value", "label"), [(1, "up"), (-1, "down"), (0, "retracted")])
def test_a_vote_is_an_event(value: int, label: str, desk: Callable[..., Any], told: Told) -> None:
    one = desk()
    turn = one.chat("openai").headers["x-prospect-turn"]
    assert one.client.post("/v1/feedback", json={"id": turn, "value": value}).status_code == 200
    [event] = told.events
    assert event.event_name == "gen_ai.evaluation.result"
    assert dict(event.attributes) == {
        "gen_ai.evaluation.name": "thumb",
        "gen_ai.evaluation.score.value": value,
        "gen_ai.evaluation.score.label": label,
        "gen_ai.response.id": turn,
    }


def test_no_text_no_key_and_no_name_is_told(
    desk: Callable[..., Any], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream-secret")
    one = desk({"shop": ("main", ["chat", "vote"])}, api_key_env="UPSTREAM_KEY")
    headers = {**one.key("shop"), "x-prospect-rater": "ada.lovelace", "x-prospect-conversation": "about-money"}
    for model in ("openai", "repeats-key", "breaks"):
        body = {"model": model, "messages": [{"role": "user", "content": "my secret question"}]}
        answer = one.client.post("/v1/chat/completions", json=body, headers=headers)
        turn = answer.headers.get("x-prospect-turn", "0" * 32)
        said = {"id": turn, "value": -1, "comment": "my secret comment", "rater": "ada.lovelace"}
        one.client.post("/v1/feedback", json=said, headers=headers)
        one.client.post("/v1/feedback", json={**said, "value": "my secret value"}, headers=headers)
        one.client.delete("/v1/feedback", params={"id": turn, "rater": "ada.lovelace"}, headers=headers)
    monkeypatch.setattr(one.store, "vote", lambda *_: 1 / 0)  # an error that nobody foresaw
    assert one.client.post("/v1/feedback", json=said, headers=headers).status_code == 500
    assert len(told.spans) >= 2 and told.events
    for word in ("secret", "lovelace", "about-money", one.secrets["shop"], "Grüße", "On its", "division"):
        assert word not in told.text and json.dumps(word)[1:-1] not in told.text, word


def test_a_finish_reason_that_nobody_knows_is_another(told: Told) -> None:
    asked = read_request(b'{"messages": [{"role": "user"}]}', {}, chat=True)
    exchange = Exchange(asked, "main", True, "m", "current", "")
    exchange.answer.add({"choices": [{"finish_reason": "because of my secret"}, {"finish_reason": "length"}]})
    Spans.configured().exchange(exchange)
    [span] = told.spans
    assert span.attributes["gen_ai.response.finish_reasons"] == ("other", "length")


def test_nothing_is_computed_where_no_sdk_is_configured() -> None:
    assert Spans.configured() is None
