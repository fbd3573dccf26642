from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prospect.collect.answer import MOST_CHARACTERS, Answer, Choice
from prospect.collect.stream import MOST_EVENT_BYTES, EventReader, StreamReader, parse, with_id
from upstreams import ID, RECORDINGS, Recording

STREAMS = [recording for recording in RECORDINGS if recording.stream]
OURS = "0123456789abcdef"


def read(pieces: list[bytes]) -> tuple[bytes, Answer]:
    answer = Answer()
    reader = StreamReader(OURS, answer)
    output = b"".join(block for piece in pieces for block in reader.feed(piece)) + reader.finish()
    return output, answer


def split(body: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(places)]


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.name)
def test_a_stream_is_the_same_but_for_the_ids(recording: Recording) -> None:
    output, answer = read(recording.chunks)
    quoted = b'"' + ID.encode() + b'"'
    assert output == recording.body.replace(quoted, b'"' + OURS.encode() + b'"')
    assert [choice.message()["content"] for choice in answer.choices.values()] == recording.texts
    assert [answer.ended(choice) for choice in answer.choices.values()] == recording.ended
    assert answer.upstream_id == ID


@pytest.mark.parametrize(
    "recording", [r for r in RECORDINGS if not r.stream and r.status == 200], ids=lambda recording: recording.name
)
def test_a_whole_answer_is_the_same_but_for_its_own_id(recording: Recording) -> None:
    first = recording.body.index(b'"' + ID.encode() + b'"')
    if recording.name == "llamacpp":  # keys in order: "choices" before "id"
        assert first > recording.body.index(b'"choices"')
    output = with_id(recording.body, OURS)
    assert parse(output)["id"] == OURS
    assert output.replace(OURS.encode(), ID.encode(), 1) == recording.body
    answer = Answer(done=True)
    answer.add(parse(recording.body))
    assert [choice.message()["content"] for choice in answer.choices.values()] == recording.texts
    assert [answer.ended(choice) for choice in answer.choices.values()] == recording.ended


def test_an_id_within_a_tool_call_or_a_text_stays() -> None:
    body = b'{"choices":[{"message":{"tool_calls":[{"id":"x"}],"content":"\\"id\\":\\"x\\""}}], "id" : "x" }'
    assert with_id(body, OURS) == body[: body.rindex(b'"x"') + 1] + OURS.encode() + b'" }'


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_may_have_several_lines(end: bytes) -> None:
    lines = [b'data: {"id":', b'data: "x", "choices":', b'data: [{"delta": {"content": "Ja"}}]}', b"", b""]
    output, answer = read([end.join(lines)])
    assert output == end.join(lines).replace(b'"x"', b'"' + OURS.encode() + b'"')
    assert answer.choices[0].message()["content"] == "Ja"


def test_tool_calls_are_put_together_from_their_fragments() -> None:
    [recording] = [r for r in STREAMS if r.name == "openai-stream-tools"]
    [choice] = read(recording.chunks)[1].choices.values()
    assert [(call["id"], call["function"]) for call in choice.message()["tool_calls"]] == [
        ("c1", {"name": "find", "arguments": '{"order": 7}'}),
        ("c2", {"name": "end", "arguments": "{}"}),
    ]


def test_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    choice = Choice()
    for piece in ({"id": "a", "function": {"name": "f"}}, {"id": "b", "function": {"name": "g"}}):
        choice.add({"delta": {"tool_calls": [piece]}})
    choice.add({"delta": {"tool_calls": [{"function": {"arguments": "{}"}}]}})
    assert [call.name for call in choice.calls] == ["f", "g"]


def test_thoughts_and_usage_are_kept_apart_from_the_text() -> None:
    [recording] = [r for r in STREAMS if r.name == "vllm-stream"]
    answer = read(recording.chunks)[1]
    assert answer.choices[0].message() == {"role": "assistant", "content": "Ja", "reasoning_content": "Hm."}
    assert (answer.prompt_tokens, answer.completion_tokens) == (9, 3)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 2**16), max_size=40))
def test_any_split_gives_the_same_bytes_and_the_same_turn(recording: Recording, cuts: list[int]) -> None:
    assert read(split(recording.body, cuts)) == read([recording.body])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"data:", b" ", b'{"id":"x"}', b"[DONE]", b":", b"\xef\xbb\xbf"])),
    st.data(),
)
@example([b"data:", b'{"id":"x"}', b"\r", b"\n", b"\r", b"\n", b"data:", b'{"id":"x"}'], None)
def test_line_ends_of_every_kind_are_found_however_they_are_split(
    parts: list[bytes], data: st.DataObject | None
) -> None:
    body = b"".join(parts)
    cuts = data.draw(st.lists(st.integers(0, 2**16), max_size=9)) if data else list(range(len(body)))
    assert read(split(body, cuts)) == read([body])


def test_ten_thousand_mutated_streams_neither_fail_nor_lose_bytes() -> None:
    random_ = random.Random(0)
    joints = [b"\n\n", b"\r", b'"', b"{", b"}", b"[", b"null", b"-1", b"1e999", b"\\ud800", b"\xff", b"\x00", b"data: "]
    for number in range(10_000):
        body = bytearray(random_.choice(STREAMS).body)
        for _ in range(random_.randint(1, 6)):
            place = random_.randrange(len(body))
            match random_.randrange(4):
                case 0:
                    body[place] = random_.randrange(256)
                case 1:
                    del body[place : place + random_.randint(1, 30)]
                case 2:
                    body[place:place] = random_.choice(joints)
                case _:
                    body[place:place] = body[: random_.randrange(len(body))][-60:]
            body = body or bytearray(b"x")
        output, answer = read(split(bytes(body), [random_.randrange(2**16) for _ in range(3)]))
        assert output.replace(OURS.encode(), b"") == read([bytes(body)])[0].replace(OURS.encode(), b""), number
        for choice in answer.choices.values():
            assert answer.ended(choice) in ("stop", "length", "upstream_error")
            str(choice.message()).encode()


@pytest.mark.parametrize("value", [None, 1, -1, True, 1.5, "x", [], [[]], {}, {"a": {}}, [None], [1], "\ud800"])
def test_a_field_of_another_type_is_left_out(value: object) -> None:
    keys = ("id", "model", "system_fingerprint", "usage", "choices")
    answer = Answer()
    answer.add(dict.fromkeys(keys, value))
    for key in ("index", "delta", "message", "text", "finish_reason"):
        answer.add({"choices": [{"index": 0, key: value}]})
    for key in ("content", "refusal", "reasoning", "tool_calls", "function_call"):
        answer.add({"choices": [{"index": 0, "delta": {key: value}}]})
    for key in ("index", "id", "type", "function"):
        answer.add({"choices": [{"index": 0, "delta": {"tool_calls": [{key: value}]}}]})
    for choice in answer.choices.values():
        str(choice.message()).encode()


def test_halves_of_a_character_are_put_together_over_chunks() -> None:
    chunks = [b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in (b"\\ud83d", b"\\ude00")]
    [choice] = read(chunks)[1].choices.values()
    assert choice.message()["content"] == "\U0001f600"


def test_an_event_that_is_too_long_passes_unread_and_in_pieces() -> None:
    long = b'data: {"id":"x","a":"' + b"y" * MOST_EVENT_BYTES + b'"}\n\n'
    body = long + b'data: {"id":"x"}\n\n'
    for size in (len(body), 65536):
        reader, output, held = EventReader(), [], 0
        for start in range(0, len(body), size):
            output += list(reader.feed(body[start : start + size]))
            held = max(held, len(reader._buffer))
        assert b"".join(event.raw for event in output) == body
        assert [event.payload for event in output if event.data] == [b'{"id":"x"}']
        assert held <= MOST_EVENT_BYTES


def test_an_answer_without_end_is_recorded_up_to_a_bound_and_counts_as_cut() -> None:
    answer = Answer(done=True)
    for _ in range(5):
        answer.add({"choices": [{"delta": {"content": "y" * (MOST_CHARACTERS // 4)}, "finish_reason": "stop"}]})
    assert len(answer.choices[0].message()["content"]) == MOST_CHARACTERS
    assert answer.ended(answer.choices[0]) == "length"


FIRST = b'data: {"id": "x", "choices": []}\n\n'


@pytest.mark.parametrize(
    "second",
    [
        b'data: {"id": "x", "choices": [{"delta": {"content": "a"}}]}\n\n',
        b'data: {"id": "x",\ndata: "choices": []}\n\n',
        b'data: {"id": "x",\rdata: "choices": [{"delta": {"content": "a"}}]}\n\n',
        b'data: {"id": "x", "id": 5}\n\n',
        b'data: {"id": "xy"}\n\n',
        b'data: {"id": "x" data: {"id": "x"}\n\n',
        b'data: {"id": "x"}\n',
        b'data: {"id": "x"}',
        b'data: {"id": "x", "a": "' + b"y" * MOST_EVENT_BYTES + b'"}\n\n',
    ],
    ids=["usual", "lines", "return", "no id", "longer", "broken", "cut", "open", "long"],
)
def test_a_chunk_that_begins_as_the_one_before_is_read_as_any_other(
    second: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read([FIRST + second + FIRST])
    assert found[0].startswith(FIRST.replace(b'"x"', b'"' + OURS.encode() + b'"'))
    monkeypatch.setattr(StreamReader, "_is_usual", lambda *_: False)
    assert read([FIRST + second + FIRST]) == found
