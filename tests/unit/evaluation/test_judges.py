"""Judges that need no model: verifiers, functions, names; and how both orders make one verdict."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest

from prospect.errors import DataError, UsageError
from prospect.evaluation.contest.judges import FunctionJudge, Item, ScoringJudge, Verifier, judge_named, judge_quality
from prospect.evaluation.contest.judges.asking import Asking, Price
from prospect.evaluation.contest.judges.base import plain_text
from prospect.evaluation.contest.judges.numbers import last_number
from prospect.evaluation.contest.judges.verdict_cache import VerdictCache, question_key
from prospect.feedback.records import Message, Paired
from prospect.results.contest import JudgeCalls

ITEM = Item("p", "good", "bad")


def longer(prompt, first, second):
    return len(first) - len(second)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 42.", 42),
        ("first 3, then 1,234,567.50!", Fraction("1234567.5")),
        ("5-3", 3),
        ("3 - 5", 5),
        ("x = -3", -3),
        ("\u22127", -7),
        ("a loss of -$1,200", -1200),
        ("3/4", Fraction(3, 4)),
        ("-3/4", Fraction(-3, 4)),
        ("2 1/2 cups", Fraction(5, 2)),
        (r"so \frac{3}{4}", Fraction(3, 4)),
        (".5", Fraction(1, 2)),
        ("1.5e-3", Fraction(3, 2000)),
        ("50%", 50),
        ("3, 4", 4),
        ("#### 18", 18),
        ("10:30", 30),
        ("1/0", None),
        ("none", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_the_last_number_of_a_text_is_read_exactly(text, number):
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("check", "completion", "target", "grade"),
    [
        ("exact", " Paris\n", "Paris", 1),
        ("exact", "Paris.", "Paris", 0),
        ("numeric", "3 + 4 = 7, so $7.00", "#### 7", 1),
        ("numeric", "7 or 8", 7, 0),
        ("numeric", "a half", "0.5", 0),
        ("numeric", "1/2", "0.5", 1),
        (r"regex:answer:\s*(\w+)", "answer: no. answer: yes", "yes", 1),
        (r"regex:answer:\s*(\w+)", "answer: yes. answer: no", "yes", 0),
        (r"regex:^\d+$", "12", None, 1),
        (r"regex:^\d+$", "twelve", None, 0),
    ],
)
def test_a_verifier_grades(check, completion, target, grade):
    assert Verifier(check).score("p", completion, target) == grade


def test_a_verifier_compares_by_grades():
    judge = Verifier("numeric")
    assert judge.compare("p", "it is 4", "it is 5", target="4").choice == "first"
    assert judge.compare("p", "it is 3", "it is 4", target="4").choice == "second"
    assert judge.compare("p", "it is 4", "so 4", target="4").choice == "tie"
    assert judge.compare("p", "it is 3", "so 5", target="4").choice == "tie"


def test_a_verifier_by_function_gets_prompt_completion_and_target(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "def check(prompt, completion, target):\n    return completion == prompt + target\n"
    )
    judge = judge_named(f"verifier:python:{tmp_path / 'mine.py'}:check")
    assert judge.compare("a", "ab", "b", target="b").choice == "first"


@pytest.mark.parametrize("body", ["return 'yes'", "return None", "raise ValueError('broken')"])
def test_a_verifier_by_function_that_gives_no_grade_is_an_error_that_names_it(tmp_path: Path, body):
    (tmp_path / "mine.py").write_text(f"def check(prompt, completion, target):\n    {body}\n")
    with pytest.raises(DataError, match=r"mine\.py:check (returned|failed)"):
        Verifier(f"python:{tmp_path / 'mine.py'}:check").score("a", "b")


@pytest.mark.parametrize("check", ["exact", "numeric", "regex:(a)"])
def test_a_check_that_needs_a_target_refuses_to_go_without(check):
    with pytest.raises(DataError, match="no target"):
        Verifier(check).score("p", "a 1")


def test_a_target_without_a_number_is_refused_by_numeric():
    with pytest.raises(DataError, match="holds no number"):
        Verifier("numeric").score("p", "1", "one")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody", 'judge "nobody": expected clip:MODEL; endpoint:URL#MODEL; human:'),
        ("lm:", "; or FILE.py:NAME of your own"),
        ("verifier:nearly", "exact, numeric, regex:PATTERN"),
        ("verifier:regex:(", "no regular expression"),
        ("absent.py:f", "there is no file absent.py"),
        ("python:mine.py:f", "there is no file mine.py"),
        ("endpoint:localhost#m", "expected an address"),
        ("endpoint:http://localhost:1", "no model is named"),
    ],
)
def test_a_judge_that_cannot_be_is_refused(name, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        judge_named(name)


def test_settings_that_a_judge_has_no_use_for_are_refused():
    with pytest.raises(UsageError, match="rubric is for judges of kind endpoint and lm"):
        judge_named("verifier:exact", rubric="Which is shorter?")
    with pytest.raises(UsageError, match="endpoint_settings is for judges of kind endpoint;"):
        judge_named("lm:some/model", endpoint_settings={"timeout": 3})


def test_a_python_file_without_that_function_is_refused(tmp_path: Path):
    (tmp_path / "mine.py").write_text("x = 1\n")
    with pytest.raises(UsageError, match='no function "f"'):
        judge_named(f"{tmp_path / 'mine.py'}:f")


def test_a_judge_of_your_own_is_a_function_a_class_or_an_object_of_a_file(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "from prospect.evaluation.contest.judges import ScoringJudge\n"
        "class Long(ScoringJudge):\n    name = identity = 'long'\n"
        "    def score_each(self, rows):\n        yield from enumerate(len(row.completion) for row in rows)\n"
        "long = Long()\ndef longer(prompt, first, second):\n    return len(first) - len(second)\n"
    )
    for name in ("Long", "long", "longer"):
        judge = judge_named(f"{tmp_path / 'mine.py'}:{name}")
        assert judge.compare("p", "good", "bad").choice == "first"
        assert judge.gives_scores == (name != "longer")
    assert judge_named(f"{tmp_path / 'mine.py'}:Long").score("p", "good") == 4


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        ("first", "first"),
        ("second", "second"),
        ("tie", "tie"),
        (2, "first"),
        (-0.1, "second"),
        (0, "tie"),
        (math.nan, "unparsed"),
        (None, "unparsed"),
    ],
)
def test_a_function_says_a_word_or_a_number(said, choice):
    assert FunctionJudge(lambda *_: said).compare("p", "a", "b").choice == choice


@pytest.mark.parametrize("said", ["A", True, [], "1"])
def test_a_function_that_says_anything_else_is_an_error(said):
    with pytest.raises(DataError, match='expected "first"'):
        FunctionJudge(lambda *_: said).compare("p", "a", "b")


def test_a_function_gets_conversations_as_lists_and_a_single_answer_as_text():
    got = []
    judge = FunctionJudge(lambda *arguments: got.append(arguments) or 0)
    judge.compare((Message("user", "hi"),), (Message("assistant", "a"),), (Message("assistant", "b"),))
    assert got == [([{"role": "user", "content": "hi"}], "a", "b")]


def test_turns_of_a_conversation_stand_under_their_roles():
    turns = (Message("user", "hi"), Message("assistant", "", {"tool_calls": [1]}))
    assert plain_text(turns) == '[user]\nhi\n\n[assistant]\n\n{"tool_calls": [1]}'
    assert plain_text((Message("assistant", "only"),)) == "only"


def test_both_orders_that_agree_are_the_verdict():
    (one,), _ = Asking(FunctionJudge(longer), [ITEM]).run()
    assert one.choice == "first"
    assert [(said.choice, said.swapped) for said in one.said] == [("first", False), ("second", True)]
    assert not one.flipped


def test_orders_that_disagree_are_a_tie_and_counted():
    (one,), _ = Asking(FunctionJudge(lambda *_: "first", "always A"), [ITEM]).run()
    assert (one.choice, one.flipped) == ("tie", True)


def test_a_win_and_a_tie_disagree():
    answers = iter(["first", "tie"])
    (one,), _ = Asking(FunctionJudge(lambda *_: next(answers), "wavers"), [ITEM]).run()
    assert (one.choice, one.flipped) == ("tie", True)


def test_one_unparsed_order_leaves_the_item_unparsed():
    answers = iter(["first", None])
    (one,), _ = Asking(FunctionJudge(lambda *_: next(answers), "mumbles"), [ITEM]).run()
    assert (one.choice, one.flipped) == ("unparsed", False)


def test_one_order_is_drawn_for_each_item_alone_and_evenly():
    items = [Item(f"p{i}", "good", "bad") for i in range(400)]
    asking = Asking(FunctionJudge(longer), items, both_orders=False, seed=1)
    swapped = [one.said[0].swapped for one in asking.run()[0]]
    assert 150 < sum(swapped) < 250
    assert all(one.choice == "first" for one in asking.run()[0])
    alone = Asking(FunctionJudge(longer), items[7:8], both_orders=False, seed=1).run()[0]
    assert alone[0].said[0].swapped == swapped[7]
    other = Asking(FunctionJudge(longer), items, both_orders=False, seed=2).run()[0]
    assert [one.said[0].swapped for one in other] != swapped


def test_identical_completions_tie_without_a_question():
    def never(*_):
        raise AssertionError

    (one,), calls = Asking(FunctionJudge(never), [Item("p", "same", "same")]).run()
    assert (one.choice, one.said, calls.calls) == ("tie", (), 0)


def test_a_judge_that_sees_one_completion_at_a_time_is_asked_once():
    asking = Asking(Verifier("exact"), [Item("p", "a", "b", "a")])
    assert asking.planned.calls == 1
    assert asking.run()[0][0].choice == "first"


def test_the_same_question_is_asked_once():
    asked = []
    judge = FunctionJudge(lambda *three: asked.append(three) or "first", "counts")
    judged, calls = Asking(judge, [ITEM, ITEM, ITEM]).run()
    assert len(asked) == calls.calls == 2
    assert len(judged) == 3


def test_kept_verdicts_are_not_asked_for_again(tmp_path: Path):
    asked = []
    judge = FunctionJudge(lambda *three: asked.append(three) or len(three[1]) - len(three[2]), "counts")
    items = [Item(f"p{i}", "good", "bad") for i in range(5)]
    with VerdictCache(tmp_path / "verdicts.jsonl") as cache:
        before, _ = Asking(judge, items, cache=cache).run()
    with VerdictCache(tmp_path / "verdicts.jsonl") as cache:
        asking = Asking(judge, [*items, Item("new", "good", "bad")], cache=cache)
        after, calls = asking.run()
    assert (asking.planned.calls, asking.planned.cached, calls.calls, len(asked)) == (2, 10, 2, 12)
    assert after[:5] == before


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path):
    path, asked = tmp_path / "verdicts.jsonl", []

    def dies_at_the_fourth(*three):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(three)
        return "first"

    items = [Item(f"p{i}", "good", "bad") for i in range(3)]
    with pytest.raises(KeyboardInterrupt), VerdictCache(path) as cache:
        Asking(FunctionJudge(dies_at_the_fourth, "j", "j"), items, cache=cache).run()
    path.write_bytes(path.read_bytes() + b'{"key": "half a li')  # torn by the kill
    with VerdictCache(path) as cache:
        assert (len(cache), cache.unread) == (3, 1)
        _, calls = Asking(FunctionJudge(lambda *_: "first", "j", "j"), items, cache=cache).run()
    assert calls.calls == 3
    with VerdictCache(path) as cache:
        assert (len(cache), cache.unread) == (6, 1)


def test_every_verdict_is_on_disk_before_the_next_is_asked_for(tmp_path: Path):
    path, lines = tmp_path / "verdicts.jsonl", []

    def counts(*_):
        lines.append(len(path.read_text().splitlines()) if path.exists() else 0)
        return "first"

    with VerdictCache(path) as cache:
        Asking(FunctionJudge(counts), [ITEM, Item("q", "a", "b")], cache=cache).run()
    assert lines == [0, 1, 2, 3]


def test_every_grade_makes_its_verdict_before_the_next_completion_is_graded(tmp_path: Path):
    path, lines = tmp_path / "verdicts.jsonl", []

    class Lengths(ScoringJudge):
        name = identity = "lengths"

        def score_each(self, rows):
            for number, row in enumerate(rows):
                lines.append(len(path.read_text().splitlines()) if path.exists() else 0)
                yield number, len(row.completion)

    with VerdictCache(path) as cache:
        judged, _ = Asking(Lengths(), [ITEM, Item("p", "good", "worse"), Item("q", "a", "b")], cache=cache).run()
    assert [one.choice for one in judged] == ["first", "second", "tie"]
    assert lines == [0, 0, 1, 2, 2]  # the second item shares a completion with the first


def test_the_file_of_verdicts_holds_no_text_of_the_data(tmp_path: Path):
    with VerdictCache(tmp_path / "verdicts.jsonl") as cache:
        Asking(FunctionJudge(longer), [Item("private prompt", "private one", "private")], cache=cache).run()
    text = (tmp_path / "verdicts.jsonl").read_text()
    assert "private" not in text
    assert {"key", "choice", "note", "judge", "prompt_tokens", "completion_tokens"} == set(
        json.loads(text.split("\n")[0])
    )


def test_a_file_of_something_else_is_refused(tmp_path: Path):
    (tmp_path / "feedback.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    with pytest.raises(DataError, match="no verdicts in this file"):
        VerdictCache(tmp_path / "feedback.jsonl")


def test_a_question_is_known_by_everything_that_decides_its_verdict():
    same = question_key("judge", ITEM)
    assert question_key("judge", Item("p", "good", "bad")) == same
    others = [
        question_key("another judge", ITEM),
        question_key("judge", ITEM.mirrored()),
        question_key("judge", Item("q", "good", "bad")),
        question_key("judge", Item("p", "good", "worse")),
        question_key("judge", Item("p", "good", "bad", "target")),
        question_key("judge", Item((Message("user", "p"),), "good", "bad")),
    ]
    assert len({same, *others}) == 1 + len(others)


def test_cost_is_tokens_times_price():
    assert Price.parse("0.5,2") == (0.5, 2.0)
    assert Price.parse("3") == (3.0, 3.0)
    for text in ("cheap", "1,2,3", "-1", "nan", ""):
        with pytest.raises(UsageError, match="what a million tokens cost"):
            Price.parse(text)
    assert "cost about 0.0012" in str(
        JudgeCalls(
            questions=2, cached=0, calls=2, prompt_tokens=2000, completion_tokens=100, cost=0.0012, estimated=True
        )
    )


def pairs(count: int) -> list[Paired]:
    return [
        Paired(prompt=f"p{i}", chosen=f"good {i}" + "!" * (i % 3), rejected=f"bad {i}", id=str(i), where=f"f:{i}")
        for i in range(count)
    ]


def test_a_judge_that_always_says_a_has_half_agreement_no_kappa_and_only_flips():
    found = judge_quality(FunctionJudge(lambda *_: "first", "always A"), pairs(30))
    assert found.agreement.rate == 0.5
    assert found.kappa is not None and abs(found.kappa.value) < 1e-12
    assert (found.chosen_first.rate, found.chosen_second.rate) == (1.0, 0.0)
    assert (found.position_flips, found.ties, found.unparsed, found.n) == (30, 0, 0, 30)
    json.dumps(found.as_dict())


def test_a_judge_that_agrees_with_people_has_all_of_it():
    found = judge_quality(FunctionJudge(lambda _, a, b: "first" if "good" in a else "second", "knows"), pairs(30))
    assert found.agreement.rate == 1.0 and found.agreement.low > 0.85
    assert found.kappa is not None and found.kappa.value == 1.0
    assert (found.chosen_first.rate, found.chosen_second.rate, found.position_flips) == (1.0, 1.0, 0)


def test_an_unparsed_verdict_agrees_with_nobody():
    found = judge_quality(FunctionJudge(lambda *_: None, "mute"), pairs(12))
    assert (found.agreement.rate, found.unparsed, found.position_flips) == (0.0, 12, 0)


def test_quality_of_a_grading_judge_is_the_same_in_both_positions():
    found = judge_quality(Verifier(r"regex:good \d*[02468]\b"), pairs(20))
    assert found.chosen_first == found.chosen_second
    assert found.agreement.rate == 0.75  # right on every second pair, and a tie on the others
    assert (found.ties, found.position_flips) == (10, 0)


def test_quality_needs_pairs_that_differ():
    with pytest.raises(DataError, match="no pairs"):
        judge_quality(FunctionJudge(longer), [])
    same = Paired(prompt="p", chosen="x", rejected="x", id="1", where="f:3")
    with pytest.raises(DataError, match="f:3: chosen and rejected are the same"):
        judge_quality(FunctionJudge(longer), [same])
