"""Completions in files: what was done is not done again, and servers are asked as models from disk are."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conftest import write_rows
from prospect import load_feedback
from prospect.errors import ConfigError, DataError, OutputError, ProspectError, UsageError
from prospect.evaluation.answers.generate import generate_file
from prospect.evaluation.answers.writers import MOST_UNANSWERED, Generation, Service, collect_answers, find_writer
from prospect.feedback.records import Message, Text

PROMPTS: list[dict[str, Any]] = [{"prompt": prompt} for prompt in ("quick", "the brown the brown", "fox fox fox")]
TURNS = [{"role": "user", "content": "hello"}]


class Killed(Exception):
    pass


def kill_after(count: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done == count:
            raise Killed

    return progress


class Server(ThreadingHTTPServer):
    """Answers with what it was asked, and remembers it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.broken_after: int | None = None
        self.busy_first = 0

    @property
    def address(self) -> str:
        return f"endpoint:http://127.0.0.1:{self.server_address[1]}/v1#echo"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        number = len(self.server.asked)
        if number <= self.server.busy_first:
            self.answer(503, {"error": "busy"})
            return
        if self.server.broken_after is not None and number > self.server.broken_after:
            self.answer(500, {"error": "broken"})
            return
        asked = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        text = f"{asked}|{body['seed']}"
        choice = {"text": text} if "prompt" in body else {"message": {"content": text}}
        reason = "length" if body["max_tokens"] == 1 else "stop"
        self.answer(200, {"choices": [{**choice, "finish_reason": reason}], "usage": {"completion_tokens": 3}})

    def answer(self, code: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def write(tmp_path: Path, model: Any, name: str = "out.jsonl", **options: Any) -> bytes:
    write_rows(tmp_path / "prompts.jsonl", options.pop("rows", PROMPTS))
    options = {"max_new_tokens": 5, "samples_per_prompt": 2, "batch_size": 1, **options}
    generate_file(str(model), tmp_path / "prompts.jsonl", tmp_path / name, **options)
    return (tmp_path / name).read_bytes()


def test_a_killed_run_goes_on_and_ends_with_the_same_file(tmp_path: Path, model_path: Path) -> None:
    whole = write(tmp_path, model_path, "whole.jsonl")
    assert not (tmp_path / "whole.jsonl.partial").exists()
    with pytest.raises(Killed):
        write(tmp_path, model_path, progress=kill_after(4))
    partial = tmp_path / "out.jsonl.partial"
    assert not (tmp_path / "out.jsonl").exists() and len(partial.read_bytes().splitlines()) == 4
    with partial.open("ab") as file:
        file.write(b'{"key": "torn')
    seen: list[tuple[int, int]] = []
    assert write(tmp_path, model_path, progress=lambda *at: seen.append(at)) == whole
    assert seen == [(4, 6), (5, 6), (6, 6)] and not partial.exists()


def test_every_batch_is_in_the_file_before_the_next_one_begins(
    tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prospect.models import sampling

    partial, seen, complete = tmp_path / "out.jsonl.partial", [], sampling._complete

    def counting(*arguments: Any) -> Any:
        seen.append(len(partial.read_bytes().splitlines()) if partial.exists() else 0)
        return complete(*arguments)

    monkeypatch.setattr(sampling, "_complete", counting)
    write(tmp_path, model_path, batch_size=2, samples_per_prompt=4)  # more samples of a prompt than fit into a batch
    assert seen == [0, 2, 4, 6, 8, 10]


def test_samples_that_are_there_are_not_asked_for_again(tmp_path: Path, server: Server) -> None:
    server.broken_after = 3
    with pytest.raises(ProspectError, match="run again"):
        write(tmp_path, server.address, samples_per_prompt=4, service=Service(concurrency=1, retries=0))
    server.broken_after = None
    server.asked.clear()
    write(tmp_path, server.address, samples_per_prompt=4, service=Service(concurrency=1))
    assert len(server.asked) == 12 - 3


def test_other_settings_are_other_completions_and_find_nothing_of_a_half_done_file(
    tmp_path: Path, model_path: Path
) -> None:
    with pytest.raises(Killed):
        write(tmp_path, model_path, progress=kill_after(6))
    seen: list[tuple[int, int]] = []
    other = write(tmp_path, model_path, seed=1, progress=lambda *at: seen.append(at))
    assert seen[0] == (1, 6)
    assert other == write(tmp_path, model_path, "fresh.jsonl", seed=1) != write(tmp_path, model_path, "old.jsonl")


def test_a_model_that_changed_on_disk_is_another_model(tmp_path: Path, model_path: Path) -> None:
    from shutil import copytree

    from conftest import make_model

    copied = copytree(model_path, tmp_path / "model")
    before = find_writer(copied).identity
    assert find_writer(copied).identity == before
    kept, settings = tmp_path / "kept.partial", Generation(max_new_tokens=6)
    old = collect_answers(find_writer(copied), ["the"], settings, partial=kept)
    make_model(seed=1).save_pretrained(copied)
    assert find_writer(copied).identity != before
    assert collect_answers(find_writer(copied), ["the"], settings, partial=kept) != old


def test_a_server_continues_plain_prompts_and_answers_conversations(tmp_path: Path, server: Server) -> None:
    rows = [{"prompt": "one"}, {"prompt": TURNS}, {"prompt": "one"}]
    write(tmp_path, server.address, rows=rows, service=Service(concurrency=2))
    paths = sorted((path, body.get("prompt")) for path, body in server.asked)
    # Equal prompts are asked once, each sample with a seed of its own.
    assert [path for path, _ in paths] == ["/v1/chat/completions"] * 2 + ["/v1/completions"] * 2
    assert len({body["seed"] for _, body in server.asked}) == 4
    settings = {"model": "echo", "max_tokens": 5, "temperature": 0.8, "top_p": 0.95}
    assert all(settings.items() <= body.items() for _, body in server.asked)
    found: Any = load_feedback(tmp_path / "out.jsonl")
    assert [row.kind for row in found] == ["demonstration"] * 6
    assert found[0].completion == found[4].completion != found[1].completion
    assert found[2].completion[0].role == "assistant" and found[2].completion[0].content.startswith("hello|")


def test_a_plain_prompt_can_be_one_user_turn(server: Server) -> None:
    collect_answers(find_writer(server.address, service=Service(chat=True)), ["one"], Generation())
    ((path, body),) = server.asked
    assert path == "/v1/chat/completions" and body["messages"] == [{"role": "user", "content": "one"}]


def test_a_completion_that_the_server_cut_is_not_finished(server: Server) -> None:
    settings = Generation(max_new_tokens=1)
    assert not collect_answers(find_writer(server.address), ["one"], settings)[0][0].finished
    assert collect_answers(find_writer(server.address), ["one"], Generation())[0][0].finished


def test_further_fields_are_sent_and_make_other_completions(tmp_path: Path, server: Server) -> None:
    plain, other = (
        find_writer(server.address, service=Service(request=request)) for request in ({}, {"seed": 7, "top_k": 3})
    )
    kept = tmp_path / "kept.partial"
    collect_answers(plain, ["one"], Generation(), partial=kept)
    collect_answers(other, ["one"], Generation(), partial=kept)
    assert [(body.get("top_k"), body["seed"] == 7) for _, body in server.asked] == [(None, False), (3, True)]


THINKING: list[tuple[dict[str, Any], str, str, bool]] = [
    # what the server answers -> stripped, kept, finished
    ({"content": "<think>\nhm\n</think>\n\nYes."}, "Yes.", "<think>\nhm\n</think>\n\nYes.", True),
    ({"content": "hm\n</think>\n\nYes."}, "Yes.", "hm\n</think>\n\nYes.", True),
    ({"content": "Yes.", "reasoning_content": "hm"}, "Yes.", "<think>\nhm\n</think>\n\nYes.", True),
    ({"content": "Yes."}, "Yes.", "Yes.", True),
    ({"content": None, "reasoning": "hm"}, "", "<think>\nhm\n", False),
    ({"content": "<think>hm"}, "", "<think>hm", False),
]


def thinking(_: str, body: dict[str, Any]) -> tuple[int, Any]:
    message = THINKING[int(body["messages"][0]["content"])][0]
    reason = "length" if message.get("content") is None else "stop"
    return 200, {"choices": [{"message": message, "finish_reason": reason}]}


def test_thoughts_are_left_out_or_kept_wherever_the_server_put_them(tmp_path: Path, serve: Any) -> None:
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": [{"role": "user", "content": str(i)}]} for i in range(6)])
    address = f"endpoint:{serve(thinking).url}/v1#m"
    for name, place in (("strip", 1), ("keep", 2)):
        output = tmp_path / f"{name}.jsonl"
        counts = generate_file(address, tmp_path / "prompts.jsonl", output, thoughts=name)  # type: ignore[arg-type]
        rows: Any = load_feedback(output)
        assert [row.completion[0].content for row in rows] == [case[place] for case in THINKING]
        stripped = name == "strip"
        assert [row.finished for row in rows] == [
            case[3] or (not stripped and i == 5) for i, case in enumerate(THINKING)
        ]
        assert counts == (6, 2 * stripped, 1 + stripped, 5 * stripped)
    assert str(counts) == "6 completions (1 cut by the limit of tokens)"


def test_thoughts_that_the_prompt_opened_are_thoughts(tmp_path: Path, model_path: Path) -> None:
    from shutil import copytree

    copied = copytree(model_path, tmp_path / "model")
    template = (copied / "chat_template.jinja").read_text()
    (copied / "chat_template.jinja").write_text(template.replace("<|assistant|>' }}", "<|assistant|><think>\n' }}"))
    prompts: list[Text] = [(Message("user", "hello"),), "hello"]
    settings = Generation(max_new_tokens=4)
    thought, plain = collect_answers(find_writer(copied), prompts, settings)
    assert thought[0][:3] == ("", 4, False) and thought[0].stripped
    assert plain[0].text and not plain[0].stripped
    kept = collect_answers(find_writer(copied), prompts, settings, thoughts="keep")
    assert kept[0][0].text.startswith("<think>\n") and len(kept[0][0].text) > 8 and kept[1] == plain


def test_a_model_that_ends_at_once_has_empty_completions(tmp_path: Path, serve: Any) -> None:
    server = serve(lambda *_: (200, {"choices": [{"text": ""}]}))
    write(tmp_path, f"endpoint:{server.url}/v1#m")
    assert {row.completion for row in load_feedback(tmp_path / "out.jsonl")} == {""}  # type: ignore[union-attr]


def only_thoughts(*_: Any) -> tuple[int, Any]:
    message = {"content": None, "reasoning_content": "Let me think"}
    return 200, {"choices": [{"message": message, "finish_reason": "length"}]}


def test_completions_that_are_all_empty_are_refused_and_their_thoughts_can_be_had(tmp_path: Path, serve: Any) -> None:
    server = serve(only_thoughts)
    rows = [{"prompt": [{"role": "user", "content": str(i)}]} for i in range(3)]
    address = f"endpoint:{server.url}/v1#m"
    with pytest.raises(DataError, match="all 3 completions hold no text: they end before an answer begins"):
        write(tmp_path, address, rows=rows, samples_per_prompt=1)
    assert not (tmp_path / "out.jsonl").exists()
    write(tmp_path, address, rows=rows, samples_per_prompt=1, thoughts="keep")
    assert len(server.asked) == 3 and b"Let me think" in (tmp_path / "out.jsonl").read_bytes()


def test_where_the_first_completions_are_all_cut_in_their_thoughts_no_more_are_asked_for(
    tmp_path: Path, serve: Any
) -> None:
    server = serve(only_thoughts)
    rows = [{"prompt": [{"role": "user", "content": str(i)}]} for i in range(100)]
    with pytest.raises(DataError, match=f"the first {MOST_UNANSWERED} completions hold no text"):
        write(tmp_path, f"endpoint:{server.url}/v1#m", rows=rows, samples_per_prompt=1, service=Service(concurrency=2))
    assert len(server.asked) <= MOST_UNANSWERED + 4  # those under way


def test_a_busy_server_is_asked_again_and_a_broken_one_leaves_what_it_gave(tmp_path: Path, server: Server) -> None:
    server.busy_first = 1
    quick = Service(concurrency=1, retries=0)
    with pytest.raises(ProspectError, match="503"):
        write(tmp_path, server.address, service=quick)
    server.asked.clear()
    server.busy_first, server.broken_after = 0, 4
    with pytest.raises(ProspectError, match="run again"):
        write(tmp_path, server.address, service=quick)
    assert not (tmp_path / "out.jsonl").exists()
    server.asked.clear()
    server.broken_after = None
    write(tmp_path, server.address, service=quick)
    assert len(server.asked) == 2


def test_alpaca_eval_has_its_own_layout(tmp_path: Path, server: Server) -> None:
    rows = [{"prompt": "one"}, {"prompt": TURNS}]
    text = write(tmp_path, server.address, "out.json", rows=rows, format="alpaca_eval", samples_per_prompt=1)
    found = json.loads(text)
    assert [row["instruction"] for row in found] == ["one", "hello"]
    assert [set(row) for row in found] == [{"instruction", "output", "generator", "dataset"}] * 2
    assert found[0]["output"].startswith("one|") and found[0]["dataset"] == "prompts"


def test_what_cannot_be_written_is_refused_before_anybody_is_asked(tmp_path: Path, server: Server) -> None:
    two_turns = [{"prompt": [*TURNS, {"role": "assistant", "content": "hi"}, *TURNS]}]
    for options, error in (
        ({"name": "out.txt"}, UsageError),
        ({"name": "out.jsonl", "format": "alpaca_eval"}, UsageError),
        ({"name": "out.json", "format": "alpaca_eval"}, UsageError),  # two samples
        ({"name": "out.json", "format": "alpaca_eval", "samples_per_prompt": 1, "rows": two_turns}, DataError),
        ({"name": "absent/out.jsonl"}, OutputError),
        ({"samples_per_prompt": 0}, ConfigError),
        ({"temperature": float("nan")}, ConfigError),
        ({"top_p": 0.0}, ConfigError),
    ):
        with pytest.raises(error):
            write(tmp_path, server.address, **options)
    assert not server.asked
    with pytest.raises(UsageError, match="a file"):
        find_writer(tmp_path / "completions.jsonl")


def test_answers_keep_the_order_of_the_prompts(model_path: Path) -> None:
    prompts: list[Text] = ["a", "the quick brown fox", (Message("user", "hello"),), "a"]
    settings = Generation(samples_per_prompt=2, max_new_tokens=4)
    found = collect_answers(find_writer(model_path, batch_size=1), prompts, settings)
    alone = [collect_answers(find_writer(model_path), [prompt], settings)[0] for prompt in prompts]
    assert found == alone and found[0] == found[3] and found[0][0] != found[0][1]
