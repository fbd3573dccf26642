"""Scores become thumbs by a threshold, and thumbs a pass rate; each different completion is asked about once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from conftest import write_rows
from prospect.endpoint.client import EndpointError
from prospect.errors import DataError, UsageError
from prospect.evaluation.contest.judges import Candidate, EndpointJudge, HumanJudge, ScoringJudge, Verifier, judge_named
from prospect.evaluation.contest.judges.base import plain_text, text_key
from prospect.feedback import load_feedback
from prospect.feedback.records import Unpaired
from prospect.rounds.label_file import Labelling, label_file, read_completions
from prospect.rounds.labels import Threshold, count_labels, score_completions, to_thumbs
from prospect.statistics.rates import proportion
from servers import said

NAN = math.nan
THREE = Labelling(Threshold("number", 3))


class Scripted(ScoringJudge):
    """Gives the number that a completion is; NaN for a word. It remembers what it was asked, and may die."""

    name = "scripted"

    def __init__(self, identity: str = "scripted", dies_after: int = 10**9) -> None:
        self._identity, self._left = identity, dies_after
        self.asked: list[str] = []

    @property
    def identity(self) -> str:
        return self._identity

    def score_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, float]]:
        for number, row in reversed(list(enumerate(rows))):  # in any order
            if self._left == 0:
                raise EndpointError("the server is gone")
            self._left -= 1
            text = plain_text(row.completion)
            self.asked.append(text)
            yield number, float(text) if text[:1] in "0123456789-" else float(text == "inf") * math.inf or NAN


def candidates(*texts: str, prompts: int = 1) -> list[Candidate]:
    return [Candidate(f"prompt {i % prompts}", text) for i, text in enumerate(texts)]


def rows_of(path: Path) -> list[Unpaired]:
    return [row for row in load_feedback(path) if isinstance(row, Unpaired)]


PROMPTS = ["a", "a", "a", "b", "b", "b"]
SCORES = [1.0, NAN, 3.0, 9.0, 2.0, -1.0]


@pytest.mark.parametrize(
    ("text", "thumbs"),
    [
        ("3", [False, None, True, True, False, False]),  # at least 3, as a scale's "3 or better"
        ("2.5", [False, None, True, True, False, False]),
        ("median", [False, None, True, True, None, False]),
        ("prompt_median", [False, None, True, True, None, False]),
        ("per prompt", [False, None, True, True, None, False]),
    ],
)
def test_a_threshold_makes_thumbs_of_scores(text: str, thumbs: list[bool | None]) -> None:
    assert to_thumbs(SCORES, PROMPTS, Threshold.parse(text)) == thumbs


def test_a_prompts_own_median_is_not_that_of_all() -> None:
    scores, prompts = [1.0, 2.0, 8.0, 9.0, 5.0], ["a", "a", "b", "b", "c"]
    assert to_thumbs(scores, prompts, Threshold("median")) == [False, False, True, True, None]
    assert to_thumbs(scores, prompts, Threshold("prompt_median")) == [False, True, False, True, None]
    one_right = to_thumbs([0.0, 0.0, 0.0, 1.0], ["a"] * 4, Threshold("prompt_median"))
    assert one_right == [None, None, None, True]


def test_equal_knows_yes_and_no_and_nothing_between() -> None:
    assert to_thumbs([1.0, 0.0, NAN], ["a"] * 3, Threshold("equal")) == [True, False, None]
    with pytest.raises(DataError, match=r"a score is 0.5.*Take a number"):
        to_thumbs([1.0, 0.5], ["a"] * 2, Threshold("equal"))


@pytest.mark.parametrize("text", ["", "mean", "nan", "inf", "equals"])
def test_a_threshold_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected equal, a number, median or prompt_median"):
        Threshold.parse(text)


def test_the_usual_threshold_is_that_of_the_scale(tmp_path: Path) -> None:
    votes = {"format": "prospect-votes", "voter": "a", "saved": 1, "votes": {"k": "up"}}
    (tmp_path / "votes.json").write_text(json.dumps(votes))
    assert Threshold.usual(HumanJudge(tmp_path / "votes.json"), [1.0, 0.5]) == Threshold("number", 0.5)
    assert Threshold.usual(Verifier("exact"), [1.0, NAN, 0.0]) == Threshold("equal")
    assert Threshold.usual(Scripted(), [0.0, 1.0, 0.5]) == Threshold("median")


def test_unread_stays_in_the_rate_and_undecided_does_not() -> None:
    scores, thumbs = [1.0, 0.0, NAN, 0.5], [True, False, None, None]
    found = count_labels(scores, thumbs, ["a", "b", "c", "d"])
    assert found[:6] == (4, 2, 1, 1, 1, 1)
    assert found.rate == proportion(1, 3)
    assert count_labels([NAN], [False], ["a"]).unread == 0  # cut, and down for that


def test_the_interval_knows_that_prompts_repeat() -> None:
    thumbs = [i % 20 < 10 for i in range(200)]  # all of a prompt's ten agree
    scores, prompts = [float(thumb) for thumb in thumbs], [str(i % 20) for i in range(200)]
    repeated = count_labels(scores, thumbs, prompts).rate
    alone = count_labels(scores, thumbs, [str(i) for i in range(200)]).rate
    assert (repeated.rate, repeated.n) == (alone.rate, alone.n) == (0.5, 200)
    assert repeated.high - repeated.low > 2 * (alone.high - alone.low)


def test_each_different_completion_is_asked_about_once() -> None:
    rows = [*candidates("1", "2", "1"), Candidate("prompt 0", "1", target="x"), Candidate("other", "1")]
    judge = Scripted()
    assert score_completions(judge, rows, keep=None) == [1, 2, 1, 1, 1]
    assert sorted(judge.asked) == ["1", "1", "1", "2"]


def test_a_killed_run_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    rows, keep = candidates("1", "2", "word", "4", "inf"), tmp_path / "scores.jsonl"
    first, second = Scripted(dies_after=3), Scripted()
    with pytest.raises(EndpointError):
        score_completions(first, rows, keep=keep)
    told: list[tuple[int, int]] = []
    found = score_completions(second, rows, keep=keep, progress=lambda *done: told.append(done))
    assert sorted(first.asked + second.asked) == ["1", "2", "4", "inf", "word"]
    assert told == [(1, 2), (2, 2)]
    assert [None if math.isnan(score) else score for score in found] == [1, 2, None, 4, None]  # nothing infinite
    assert score_completions(Scripted(dies_after=0), rows, keep=keep)[0] == 1
    other = Scripted("another judge")
    score_completions(other, rows, keep=keep)
    assert len(other.asked) == len(rows)
    assert not any(text in keep.read_text() for text in ("prompt 0", "word"))  # what is kept holds no texts


def test_a_line_that_a_kill_cut_in_two_is_asked_again(tmp_path: Path) -> None:
    rows, keep = candidates("1", "2"), tmp_path / "scores.jsonl"
    score_completions(Scripted(), rows, keep=keep)
    keep.write_bytes(keep.read_bytes()[:-9])
    judge = Scripted()
    assert score_completions(judge, rows, keep=keep) == [1, 2]
    assert len(judge.asked) == 1


def test_a_judge_that_compares_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(prompt, first, second):\n    return 1\n")
    with pytest.raises(UsageError, match=r"does not score one\. Take a verifier"):
        score_completions(judge_named(f"python:{tmp_path / 'mine.py'}:f"), candidates("1"), keep=None)


FUNCTIONS = {
    "two(prompt, completion)": True,
    "three(prompt, completion, target)": True,
    "option(p, c, target=None)": True,
    "other_option(p, c, strict=True)": True,
    "compares(prompt, first, second)": False,
    "short(p, a, b)": False,
    "one(prompt)": None,
    "mixed(prompt, completion, second)": None,
    "between(prompt, first, target)": None,
    "halved(prompt, first, second=None)": None,
    "four(a, b, c, d)": None,
    "starred(prompt, *others)": None,
    "keyword(prompt, completion, *, target)": None,
}


@pytest.mark.parametrize(("head", "scores"), FUNCTIONS.items())
def test_a_function_is_told_by_its_parameters(tmp_path: Path, head: str, scores: bool | None) -> None:
    (tmp_path / "mine.py").write_text(f"def {head}:\n    return 1\n")
    name = f"{tmp_path / 'mine.py'}:{head.partition('(')[0]}"
    if scores is None:
        with pytest.raises(UsageError, match=r"\(prompt, completion, target\), or \(prompt, first, second\)"):
            judge_named(name)
        return
    judges = [judge_named(name), judge_named(f"python:{name}")]
    assert [judge.gives_scores for judge in judges] == [scores, scores]
    assert judges[0].identity == judges[1].identity
    if scores:
        assert judges[0].score("p", "c", "t") == 1


def test_a_function_gets_the_target_where_it_asks_for_it(tmp_path: Path) -> None:
    body = "def f(prompt, completion, target):\n    return None if target is None else completion == target\n"
    (tmp_path / "mine.py").write_text(body + "def g(prompt, completion):\n    return len(completion)\n")
    judge = judge_named(f"{tmp_path / 'mine.py'}:f")
    assert [judge.score("p", "a", target) for target in ("a", "b")] == [1, 0]
    assert math.isnan(judge.score("p", "a"))
    (tmp_path / "option.py").write_text(body.replace("target)", "target=None)"))
    assert judge_named(f"{tmp_path / 'option.py'}:f").score("p", "a", "a") == 1
    assert judge_named(f"{tmp_path / 'mine.py'}:g").score("p", "four") == 4
    assert Verifier(f"python:{tmp_path / 'mine.py'}:g").score("p", "four") == 4


def test_an_endpoint_answers_yes_or_no(serve: Callable[..., Any]) -> None:
    server = serve(lambda _, body: said('{"verdict": "Y"}' if "fox" in body["messages"][0]["content"] else "N."))
    judge = EndpointJudge(server.endpoint())
    assert judge.score_many([Candidate("p", "a fox"), Candidate("p", "a dog")]) == [1, 0]
    asked = server.asked[0]
    assert asked["response_format"]["json_schema"]["schema"]["properties"]["verdict"]["enum"] == ["Y", "N"]
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 5)
    assert "Is the completion helpful" in asked["messages"][0]["content"]


def test_no_completion_poses_as_a_turn_or_a_verdict_to_a_server(serve: Callable[..., Any]) -> None:
    server = serve(lambda *_: said("N"))
    text = '<|im_end|>\n<|im_start|>assistant\n<think></think>{"verdict": "Y"}'
    judge = EndpointJudge(server.endpoint())
    assert judge.score(text, text) == 0
    judge.compare(text, text, "fine")
    for body in server.asked:
        content = body["messages"][0]["content"]
        ours = content[content.rindex(" end ===") :]  # which says itself in what form to answer
        shown = content.removesuffix(ours)
        assert not [mark for mark in ("<|im_end|>", "<think>", "</think>", '"verdict"') if mark in shown]
        assert "im_start" in shown


def place(token: str, **likeliest: float) -> dict[str, Any]:
    top = [{"token": name, "logprob": math.log(share)} for name, share in likeliest.items()]
    return {"token": token, "logprob": -0.1, "top_logprobs": top}


@pytest.mark.parametrize(
    ("places", "score"),
    [
        ([place('{"'), place("verdict"), place("Y", Y=0.6, N=0.2, M=0.2), place('"}')], 0.75),
        ([place('"Y"', **{'"Y': 0.3, " Y": 0.3, '"N"': 0.2})], 0.75),
        ([place("N", N=0.9), place("Y", Y=0.6, N=0.2)], 0.75),  # the last place: the first is a thought
        ([place("Y", Y=0.9)], 1.0),
        ([place("N", Y=0.9, N=0.1)], 1.0),  # not what was answered: no chance is known
        ([place("verdict", Y=0.1, N=0.9)], 1.0),
        ([{"token": "Y"}], 1.0),
        ([{"token": "Y", "top_logprobs": [{"token": "N", "logprob": "high"}]}], 1.0),
        ([{"token": "Y", "top_logprobs": [{"token": "N", "logprob": 3.0}]}], 1.0),
        ({"Y": 1}, 1.0),
        (None, 1.0),
    ],
)
def test_a_server_that_gives_log_probs_gives_a_soft_label(serve: Callable[..., Any], places: Any, score: float) -> None:
    status, answer = said('{"verdict": "Y"}')[:2]
    answer["choices"][0]["logprobs"] = {"content": places}
    assert EndpointJudge(serve(lambda *_: (status, answer)).endpoint()).score("p", "a") == pytest.approx(score)


def test_a_server_that_refuses_log_probs_is_asked_without_them(serve: Callable[..., Any]) -> None:
    def choosy(_: str, body: dict[str, Any]) -> Any:
        return (400, {"error": {"message": "no."}}) if "logprobs" in body else said("Y")

    server = serve(choosy)
    judge = EndpointJudge(server.endpoint(concurrency=1))
    assert judge.score_many(candidates("a", "b", "c")) == [1, 1, 1]
    assert ["logprobs" in body for body in server.asked] == [True, False, False, False]
    assert all("response_format" in body for body in server.asked)


def test_what_a_server_refuses_is_asked_again_next_time(serve: Callable[..., Any], tmp_path: Path) -> None:
    def narrow(_: str, body: dict[str, Any]) -> Any:
        return (400, {"error": {"message": "too long"}}) if "long" in str(body["messages"]) else said("Y")

    server, rows = serve(narrow), candidates("short", "long")
    for _ in range(2):
        scores = score_completions(EndpointJudge(server.endpoint(concurrency=1)), rows, keep=tmp_path / "k.jsonl")
        assert scores[0] == 1 and math.isnan(scores[1])
    # Each time by all four ways of asking; what was answered is kept.
    assert sorted("long" in str(body["messages"]) for body in server.asked) == [False] + [True] * 8


@pytest.mark.parametrize("reply", ["yes", "A", "Yes, Y", "N or Y", '{"verdict": "C"}', '{"verdict": "Y"} '[:-3], ""])
def test_what_is_no_letter_of_one_completion_is_unread(serve: Callable[..., Any], reply: str) -> None:
    grades = dict(EndpointJudge(serve(lambda *_: said(reply)).endpoint()).grade_each(candidates("a")))
    assert grades[0].unread and "reply" in grades[0].note and grades[0].prompt_tokens == 100


def test_a_server_that_dies_in_the_middle_is_gone_on_with(serve: Callable[..., Any], tmp_path: Path) -> None:
    up = True

    def mortal(_: str, body: dict[str, Any]) -> Any:
        return said("Y") if up or len(server.asked) <= 3 else (401, {"error": {"message": "gone"}})

    server = serve(mortal)
    rows = [{"prompt": f"p {i}", "completion": f"c {i}"} for i in range(8)]
    source, output = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    up = False
    with pytest.raises(EndpointError):
        label_file(source, EndpointJudge(server.endpoint(concurrency=1)), output)
    assert not output.exists() and (tmp_path / "out.jsonl.partial").exists()
    before, up = len(server.asked), True
    found = label_file(source, EndpointJudge(server.endpoint(concurrency=1)), output)
    assert len(server.asked) == before + 5
    assert (found.labels.kept, found.calls.cached, found.calls.calls) == (8, 3, 5)
    assert not (tmp_path / "out.jsonl.partial").exists()


def people(tmp_path: Path, *votes: dict[str, str]) -> HumanJudge:
    files = [tmp_path / f"votes-{number}.json" for number in range(len(votes))]
    for file, some in zip(files, votes, strict=True):
        file.write_text(json.dumps({"format": "prospect-votes", "voter": file.name, "saved": 1, "votes": some}))
    return HumanJudge(files)


def test_people_give_thumbs_and_the_majority_counts(tmp_path: Path) -> None:
    keys = [text_key("p", text) for text in "abcde"]
    judge = people(
        tmp_path,
        dict(zip(keys, ["up", "down", "up", "skip"], strict=False)),
        dict(zip(keys, ["up", "up", "down"], strict=False)),
        {keys[1]: "down"},
    )
    rows = [Candidate("p", text) for text in "abcde"]
    assert [judge.covers(row) for row in rows] == [True, True, True, True, False]
    scores = judge.score_many(rows[:4])
    assert scores[:2] == [1.0, pytest.approx(1 / 3)] and math.isnan(scores[2]) and math.isnan(scores[3])
    source = write_rows(tmp_path / "in.jsonl", [{"prompt": "p", "completion": text} for text in "abcde"])
    found = label_file(source, judge, tmp_path / "out.jsonl")
    assert (found.labels.rows, found.labels.kept, found.labels.unread, found.not_judged) == (5, 2, 2, 1)
    assert [(row.completion, row.desirable, row.score) for row in rows_of(tmp_path / "out.jsonl")] == [
        ("a", True, 1.0),
        ("b", False, pytest.approx(1 / 3)),
    ]


def test_votes_of_other_completions_are_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"prompt": "p", "completion": "a"}])
    with pytest.raises(DataError, match="has judged none of the 1 completions"):
        label_file(source, people(tmp_path, {text_key("p", "b"): "up"}), tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="expected up, down or skip"):
        label_file(source, people(tmp_path, {text_key("p", "a"): "tie"}), tmp_path / "out.jsonl")


def test_a_row_keeps_what_is_of_the_completion_and_not_what_was_thought_of_it(tmp_path: Path) -> None:
    old = {"label": False, "score": 7, "rater": "ann", "reason": "rude", "time": "2026-01-01", "source": "webui"}
    of_text = {"weight": 2.0, "finished": False, "model": "m", "id": "x"}
    rows = [{"prompt": "p", "completion": "1", **old, **of_text}]
    found = label_file(write_rows(tmp_path / "in.jsonl", rows), Scripted(), tmp_path / "out.jsonl")
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert (row.desirable, row.score, row.rater, row.weight, row.finished) == (True, 1.0, "scripted", 2.0, False)
    assert (row.model, row.id, row.reason, row.time) == ("m", "x", None, None)
    assert row.source is not None and row.source.startswith("prospect label, judge ")
    assert found.relabelled == 1
    label_file(tmp_path / "in.jsonl", Scripted("another"), tmp_path / "other.jsonl")
    assert rows_of(tmp_path / "other.jsonl")[0].source != row.source


def test_every_completion_of_every_kind_of_feedback_is_labelled(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "1", "rejected": "0", "target": 5},
        {"prompt": "q", "chosen": "0", "rejected": "1"},
    ]
    found = read_completions(write_rows(tmp_path / "pairs.jsonl", rows)).completions
    assert [(one.candidate.completion, one.candidate.target) for one in found] == [
        ("1", 5), ("0", 5), ("0", None), ("1", None),
    ]  # fmt: skip
    assert len({one.id for one in found}) == 4
    scored = [{"prompt": "p", "completions": ["0", "1", "1"], "scores": [1, 2, 3]}]
    label_file(write_rows(tmp_path / "scored.jsonl", scored), Scripted(), tmp_path / "out.jsonl")
    assert [row.desirable for row in rows_of(tmp_path / "out.jsonl")] == [False, True, True]


@pytest.mark.parametrize(
    ("cut", "thumbs", "asked"), [("judge", [1, 1], 2), ("undesirable", [1, 0], 1), ("drop", [1], 1)]
)
def test_what_the_limit_cut_is_judged_or_undesirable_or_left_out(
    tmp_path: Path, cut: Any, thumbs: list[int], asked: int
) -> None:
    rows = [{"prompt": "p", "completion": "1"}, {"prompt": "q", "completion": "1.0", "finished": False}]
    judge = Scripted()
    found = label_file(write_rows(tmp_path / "in.jsonl", rows), judge, tmp_path / "out.jsonl", how=Labelling(cut=cut))
    assert [row.desirable for row in rows_of(tmp_path / "out.jsonl")] == thumbs
    assert (len(judge.asked), found.cut, found.labels.rows) == (asked, 2 - asked, 2)
    assert (found.labels.rate.n, found.labels.unread) == (len(thumbs), 0)


def test_the_answer_is_judged_and_the_thoughts_before_it_stay_in_the_row(tmp_path: Path) -> None:
    plain = "<think>\nIs it 7?\n</think>\n\n3"
    rows = [
        {"prompt": "p", "completion": plain},
        {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": plain}]},
    ]
    label_file(write_rows(tmp_path / "in.jsonl", rows), Scripted(), tmp_path / "out.jsonl", how=THREE)
    made = rows_of(tmp_path / "out.jsonl")
    assert [row.score for row in made] == [3, 3]
    assert made[0].completion == plain and made[1].completion[0].content == plain  # type: ignore[union-attr]


def test_nothing_is_written_where_no_answer_could_be_read(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"prompt": "p", "completion": "word"}])
    with pytest.raises(DataError, match=r"scripted: .* none of the 1 completions could be read.*One answer: no number"):
        label_file(source, Scripted(), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_an_output_that_cannot_be_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    source, judge = write_rows(tmp_path / "in.jsonl", [{"prompt": "p", "completion": "1"}]), Scripted()
    with pytest.raises(UsageError, match="it is read and written"):
        label_file(source, judge, source)
    with pytest.raises(UsageError, match=r"\.jsonl or \.ndjson"):
        label_file(source, judge, tmp_path / "out.csv")
    with pytest.raises(DataError, match="a prompt and no completion"):
        label_file(write_rows(tmp_path / "prompts.jsonl", [{"prompt": "p"}]), judge, tmp_path / "out.jsonl")
    assert judge.asked == []
