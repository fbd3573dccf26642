"""OpenAI's own client sees no difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

QUESTION = [{"role": "user", "content": "Where is it?"}]


@pytest.fixture
def client(desk: Callable[..., Any]) -> Any:
    one = desk(keys={"app": ("main", ["chat"])})
    with openai.OpenAI(base_url=f"{one.running.url}/v1", api_key=one.secrets["app"], max_retries=0) as client:
        client.desk = one
        yield client


def test_a_chat(client: Any) -> None:
    answer = client.chat.completions.create(model="openai", messages=QUESTION)
    assert answer.choices[0].message.content == "Grüße, 你好"
    assert client.desk.rows("select id from turn") == [(answer.id,)]


def test_a_stream_has_our_id_in_every_chunk(client: Any) -> None:
    chunks = list(client.chat.completions.create(model="openai-stream", messages=QUESTION, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "On its way."
    assert {chunk.id for chunk in chunks} == {row[0] for row in client.desk.rows("select id from turn")}


def test_completions(client: Any) -> None:
    assert client.completions.create(model="openai-completions", prompt="Once").choices[0].text == " way"
    chunks = client.completions.create(model="openai-stream-completions", prompt="Once", stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == " on it"


def test_models(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["m"]


def test_errors_are_of_the_classes_that_it_knows(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="model not found"):
        client.chat.completions.create(model="openai-error", messages=QUESTION)
    with pytest.raises(openai.APIError, match="broke off"):
        list(client.chat.completions.create(model="breaks", messages=QUESTION, stream=True))
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-none").models.list()
