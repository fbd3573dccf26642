"""What a server answers may be missing, of another form or absurd: it is read, or it is an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prospect.endpoint.replies import read_chat, read_completion, read_json


def chat(message: Any, **more: Any) -> Any:
    return {"choices": [{"message": message, "finish_reason": "stop"}], **more}


@pytest.mark.parametrize(
    ("message", "text", "thoughts"),
    [
        ({"content": "yes", "reasoning_content": None}, "yes", ""),
        ({"content": "yes", "reasoning_content": "hm"}, "yes", "hm"),
        ({"content": None, "reasoning": "hm"}, "", "hm"),
        ({"content": "yes", "reasoning": {"effort": "low"}}, "yes", ""),
        ({"reasoning_content": "hm"}, "", "hm"),
        ({"content": [{"type": "text", "text": "y"}, {"type": "image"}, {"type": "text", "text": "es"}]}, "yes", ""),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "y"},
                ]
            },
            "y",
            "hm",
        ),
        ({"content": "a\ud83d"}, "a?", ""),
    ],
)
def test_text_and_thoughts_are_read_where_the_server_put_them(message: Any, text: str, thoughts: str) -> None:
    found = read_chat(chat(message))
    assert (found.text, found.thoughts) == (text, thoughts)


@pytest.mark.parametrize("answer", [[], {}, {"choices": []}, chat(None), chat({"content": 3}), chat({"content": [3]})])
def test_an_answer_without_a_text_is_an_error(answer: Any) -> None:
    with pytest.raises(ValueError, match="no choices with a text"):
        read_chat(answer)
    with pytest.raises(ValueError, match="no choices with a text"):
        read_completion([answer])


@pytest.mark.parametrize("number", ["1e999", "NaN", "-1", "9" * 4000, "1e20"])
def test_an_absurd_number_is_an_error(number: str) -> None:
    answer = read_json(f'{{"choices": [{{"text": "yes"}}], "usage": {{"prompt_tokens": {number}}}}}'.encode())
    with pytest.raises(ValueError, match=r"usage\.prompt_tokens is no count"):
        read_completion(answer)


@pytest.mark.parametrize("usage", [None, [], "many", {"completion_tokens": None}, {"completion_tokens": "seven"}])
def test_what_is_no_number_is_not_counted(usage: Any) -> None:
    assert read_chat(chat({"content": "yes"}, usage=usage)).completion_tokens == 0


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"\xff\xfe\x00", b"", b"<html>"])
def test_json_that_cannot_be_read_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(body)


def test_a_reply_is_cut_where_the_server_says_so() -> None:
    assert read_completion({"choices": [{"text": "", "finish_reason": "length"}]}).cut
    assert not read_completion(json.loads('{"choices": [{"text": ""}]}')).cut
