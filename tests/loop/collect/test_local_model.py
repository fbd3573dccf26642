"""A model of ours behind the proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from sqlalchemy import select

from prospect.collect.access import Access
from prospect.collect.app import Serving, make_app
from prospect.collect.held import HeldModels
from prospect.collect.local import LocalUpstream
from prospect.collect.local_job import LocalModel
from prospect.collect.store import Store
from prospect.collect.tables import turn
from prospect.collect.tokens import Signer
from prospect.demo.base import BASE
from upstreams import Running

QUESTION = [{"role": "user", "content": "Order 4536: I paid two times for one radio. What now? Yours, Jack"}]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    store = Store.open(tmp_path_factory.mktemp("local") / "store.sqlite", rater_key=b"r" * 32)
    upstream = LocalUpstream(HeldModels([LocalModel.load(str(BASE))]))
    access = Access(None, Signer(lambda: [b"v" * 32]))
    server = Running(make_app(store, upstream, access, Serving(model=str(BASE), consent=True)))
    server.store, server.upstream = store, upstream  # type: ignore[attr-defined]
    yield server
    server.close()


@pytest.fixture
def client(running: Running) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_stream_says_what_the_whole_answer_says(client: Any) -> None:
    settings = {"model": "any", "messages": QUESTION, "seed": 3, "max_tokens": 60}
    whole = client.chat.completions.create(**settings)
    chunks = list(client.chat.completions.create(**settings, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert len([chunk for chunk in chunks if chunk.choices[0].delta.content]) > 5, "it came token by token"
    assert whole.usage.completion_tokens > 5


def test_it_answers_as_generate_does(client: Any) -> None:
    from prospect.feedback.records import Message
    from prospect.models.sampling import generate

    one = LocalModel.load(str(BASE))
    prompt = (Message("user", QUESTION[0]["content"]),)
    [[expected]] = generate(one.model, one.tokenizer, [prompt], max_new_tokens=80, temperature=0, top_p=1.0)
    said = client.chat.completions.create(model="any", messages=QUESTION, temperature=0, max_tokens=80)
    assert said.choices[0].message.content == expected.text
    assert said.choices[0].finish_reason == ("stop" if expected.finished else "length")


def test_limits_stops_and_choices_hold(client: Any) -> None:
    cut = client.chat.completions.create(model="any", messages=QUESTION, max_tokens=4)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 4)
    several = client.chat.completions.create(model="any", messages=QUESTION, n=3, seed=1, max_tokens=30)
    assert len({choice.message.content for choice in several.choices}) > 1
    text = several.choices[0].message.content
    word = text.split()[3]
    for stream in (False, True):
        stopped = client.chat.completions.create(
            model="any", messages=QUESTION, seed=1, max_tokens=30, stop=[word], stream=stream
        )
        choices = [chunk.choices[0] for chunk in stopped] if stream else stopped.choices
        said = "".join((c.delta if stream else c.message).content or "" for c in choices)
        assert said == text[: text.index(word)]
        assert choices[-1].finish_reason == "stop"


def test_plain_text_is_continued(client: Any) -> None:
    assert client.completions.create(model="any", prompt="Dear ", max_tokens=5, temperature=0).choices[0].text


def test_it_names_itself(client: Any) -> None:
    assert [model.id for model in client.models.list()] == [str(BASE)]
    assert client.models.retrieve(str(BASE)).id == str(BASE)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")


def turns(running: Any) -> int:
    httpx2.get(f"{running.url}/readyz")  # what waits is written
    with running.store.database.reading() as connection:
        return len(connection.execute(select(turn.c.id)).all())


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": "hot"}, {"temperature": -1}, {"top_p": 0}, {"n": 0}, {"n": 10**6}, {"max_tokens": 10**9},
     {"max_tokens": -1}, {"seed": 1.5}, {"stop": {}},
     {"messages": [{"role": "user"}]}, {"messages": [{"content": "x"}]},
     {"messages": [{"role": "user", "content": "very " * 5000}]}],
)  # fmt: skip
def test_what_the_model_cannot_do_is_a_400(wrong: dict[str, Any], running: Running) -> None:
    before = turns(running)
    answer = httpx2.post(f"{running.url}/v1/chat/completions", json={"messages": QUESTION, **wrong})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]
    assert turns(running) == before, "what was refused is no turn"


def test_a_client_that_leaves_frees_the_model(running: Running) -> None:
    body = {"messages": QUESTION, "stream": True, "n": 16, "max_tokens": 150}
    with httpx2.stream("POST", f"{running.url}/v1/chat/completions", json=body) as response:
        assert json.loads(next(response.iter_lines()).removeprefix("data: "))["choices"]
    answer = httpx2.post(f"{running.url}/v1/chat/completions", json={"messages": QUESTION, "max_tokens": 1}, timeout=30)
    assert answer.status_code == 200
    assert not running.upstream._jobs
