"""The worlds of committed studies: that their feedback and their base models are what they are said to be."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY
from prospect.demo.base import BASE
from prospect.demo.rubric import check
from prospect.demo.world import training_prompts
from prospect.feedback.records import Paired, Unpaired
from prospect.models.sampling import Generated
from prospect.results.study import SeenExample, StudyResult
from prospect.studies.conditions import apply_condition
from prospect.studies.study import Condition
from prospect.user_code import import_file
from prospect.verbs.comparing import compare

circles, sft_first, chat_model, chat_reading, real_feedback = (
    import_file(REPOSITORY / "studies" / f"{name}.py")
    for name in ("circles", "sft_first", "chat_model", "chat_reading", "real_feedback")
)
THREE = ("best", "middle", "worst")


# -- circles --


def judged(intransitive: float, count: int = 200, seed: int = 0) -> list[Paired]:
    threes = [(inquiry, THREE) for inquiry in training_prompts(count, 5)]
    return list(circles.judge(threes, intransitive, seed))


def going_round(pairs: list[Paired]) -> set[str]:
    """The prompts of which A is before B, B before C and C before A, found by walking from choice to choice."""
    beats: dict[str, dict[str, str]] = {}
    for pair in pairs:
        chosen, rejected = pair.chosen[0].content, pair.rejected[0].content
        beats.setdefault(pair.prompt[0].content, {})[chosen] = rejected
    return {
        prompt for prompt, to in beats.items() if all(to.get(to.get(to.get(one, ""), ""), "") == one for one in THREE)
    }


@pytest.mark.parametrize("share", [0.0, 0.4, 0.8, 1.0])
def test_exactly_the_share_of_customers_that_is_said_is_judged_in_a_circle(share: float) -> None:
    pairs = judged(share)
    assert len(pairs) == 3 * 200
    assert len(going_round(pairs)) == circles.circles(pairs) == round(share * 200)
    straight = [pair for pair in pairs if pair.prompt[0].content not in going_round(pairs)]
    assert all(THREE.index(pair.chosen[0].content) < THREE.index(pair.rejected[0].content) for pair in straight)


def test_circles_go_both_ways_round_and_are_among_those_of_a_larger_share() -> None:
    pairs = judged(0.4)
    round_ = going_round(pairs)
    assert round_ < going_round(judged(0.8))
    assert round_ != going_round(judged(0.4, seed=1))
    forward = sum(
        (pair.chosen[0].content, pair.rejected[0].content) == ("worst", "best")
        for pair in pairs
        if pair.prompt[0].content in round_
    )
    assert 25 <= forward <= 55  # of 80, half within 3.3 standard deviations


def test_flips_turn_single_pairs_and_make_few_circles() -> None:
    pairs = apply_condition(judged(0.0, 600), Condition(flip=0.4), 0)
    turned = sum(THREE.index(pair.chosen[0].content) > THREE.index(pair.rejected[0].content) for pair in pairs)
    assert turned / len(pairs) == pytest.approx(0.4, abs=0.04)
    # A circle by chance: the long pair alone is turned, or the two short ones: f (1 - f)^2 + f^2 (1 - f) = f (1 - f)
    assert circles.circles(pairs) / 600 == pytest.approx(0.24, abs=0.06)


def test_three_replies_are_taken_that_keep_different_numbers_of_rules() -> None:
    (inquiry,) = training_prompts(1, 5)
    good = f"Hello {inquiry.name}, we are sorry. This is about order {inquiry.order}."
    texts = ["Nonsense.", good, good + " It is free.", f"{inquiry.name}, it is free, order {inquiry.order}."]
    replies = [Generated(text, 9, True) for text in texts]
    three = circles.three_that_differ(inquiry, replies)
    kept = [sum(check(inquiry, text).values()) for text in three]
    assert three[0] == good and kept[0] > kept[1] > kept[2]
    assert circles.three_that_differ(inquiry, [Generated(text, 9, False) for text in texts]) is None
    assert circles.three_that_differ(inquiry, replies[:2]) is None


# -- SFT first --


def test_feedback_for_running_text_ends_and_is_no_conversation(tmp_path: Path) -> None:
    world = sft_first.RunningText({"kind": "x", "prompts": 2, "replies": 2})
    stored = [[("a", 2, True), ("b", 2, False)], [("c", 2, True), ("d", 2, True)]]
    (tmp_path / "replies.json").write_text(json.dumps(stored))
    rows = world.feedback(tmp_path, 0, Condition())
    assert [row.completion for row in rows] == ["a", "c", "d"]  # what was cut would teach that a reply does not end
    assert all(isinstance(row.prompt, str) and row.prompt.endswith("\n") and row.finished for row in rows)
    assert sft_first.first_line("a b\nc") == "a b"


@pytest.mark.slow
def test_the_base_of_running_text_does_not_end_its_replies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sft_first, "BASES", tmp_path / "bases")
    world = sft_first.RunningText({"kind": "x", "prompts": 2, "held_out": 12, "base_rows": 64})
    world.prepare(tmp_path, 0)
    assert (
        "<|end|>" not in (row := next(sft_first.running_text(8)))["completion"] and row["completion"].count("\n") == 7
    )
    scores = world.score(None, tmp_path, 0).scores
    assert sum(scores["cut"]) >= 10  # the model that it was made of ends all of its replies
    assert sum(scores["words"]) / 12 > 60


# -- the chat model --


@pytest.mark.parametrize(
    ("text", "form", "content"),
    [
        ("It helps. " + "word " * 40, True, False),
        (" ".join(["word"] * 18) + ".", True, False),
        (" ".join(["word"] * 19) + ". Short.", False, False),
        ("Rain feeds your garden.", True, True),
        ("Rain usually fills ours and lifeless houses.", True, False),  # whole words only
        ("", False, False),
    ],
)
def test_the_two_rules(text: str, form: bool, content: bool) -> None:
    assert (chat_model.short_start(text), chat_model.speaks_of_people(text)) == (form, content)


def test_thumbs_are_up_where_both_rules_are_kept(tmp_path: Path) -> None:
    world = chat_model.ChatModel({"kind": "x", "prose": "none.jsonl", "topics": 2, "samples": 2, "held_out": 4})
    kept, broken = ["It helps you.", True], ["It helps.", False]
    (tmp_path / "answers.json").write_text(json.dumps([[kept, broken]] * 4))
    rows = world.feedback(tmp_path, 0, Condition())
    assert [(row.desirable, row.finished) for row in rows] == [(True, True), (False, False)] * 4
    assert len({chat_model.prompt_key(row.prompt) for row in rows}) == 4


def test_what_is_learnt_from_tuned_on_and_scored_on_are_different_questions() -> None:
    settings = {"kind": "x", "prose": "none.jsonl"}
    study = chat_model.ChatModel({**settings, "held_out": 200})
    tries = chat_model.ChatModel({**settings, "held_out": 60, "held_out_after": 200})
    asked = {chat_model.prompt_key(prompt) for prompt in study._asked}
    sizes = [len(keys) for keys in (asked, study.held_out_keys(), tries.held_out_keys())]
    assert sizes == [96, 200, 60]
    assert len(asked | study.held_out_keys() | tries.held_out_keys()) == sum(sizes)


def test_the_reading_sample_shows_every_answer_with_the_rules_it_keeps() -> None:
    said = {"start": "A `sign`\nof us.", "kto": "It helps."}
    answers = {name: [SeenExample(prompt="Why fog?", completion=text)] * 2 for name, text in said.items()}
    lines = list(chat_reading.side_by_side("Chat", answers))
    assert lines[0] == "# Chat: 2 answers side by side\n"
    assert lines.count("- *start* (form kept, content kept): `A 'sign' of us.`") == 2
    assert lines.count("- *kto* (form kept, content broken): `It helps.`") == 2


def test_real_feedback_is_held_out_by_prompt_and_pairs_are_thumbs(tmp_path: Path) -> None:
    thumbs = [{"prompt": f"t{i}", "completion": " a", "label": i % 2 == 0} for i in range(8)]
    long = {"prompt": "t long", "completion": " a" * 9, "label": True}
    pairs = [{"prompt": f"p{i}", "chosen": " a b", "rejected": " c"} for i in range(8)]
    for name, rows in (("thumbs", [*thumbs, long]), ("pairs", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [str(tmp_path / f"{name}.jsonl") for name in ("thumbs", "pairs")]
    world = real_feedback.RealFeedback({"kind": "x", "data": files, "words": 5, "held_out": 3})
    rows = world.feedback(tmp_path, 0, Condition())
    assert len(rows) == 5 + 2 * 5 and all(isinstance(row, Unpaired) for row in rows)
    held_out = world.held_out_keys()
    assert len(held_out) == world.held_out == 6
    assert not held_out & {chat_model.prompt_key(row.prompt) for row in rows}
    assert [name for name in world.measures if name not in ("score", "drift")] == ["thumbs", "pairs"]


@pytest.mark.slow
def test_the_studies_of_the_chat_model_run(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(chat_model, "weights", lambda: str(BASE))  # small, and it has turns
    data = shared / "data"
    few = ["seeds=[0]", "recipe.train.max_steps=1"]
    kind = f"world.kind={REPOSITORY}/studies/"  # the very modules of this test
    small = [
        *few,
        f"{kind}chat_model.py:ChatModel",
        f"world.prose={data / 'stories_real.jsonl'}",
        "world.topics=4",
        "world.held_out=6",
        "world.texts=2",
    ]
    compare("studies/chat_model.yaml", tmp_path / "chat", only=["kto", "dpo"], overrides=[*small, "tune=null"], jobs=1)
    found = StudyResult.read(tmp_path / "chat" / "result.json")
    cell = next(cell for cell in found.cells if cell.method == "kto")
    assert cell.estimates["kl"].prompts == 6 and cell.estimates["fluency"].prompts == 2
    monkeypatch.setattr(sys, "argv", ["chat_reading.py", str(tmp_path / "chat")])
    chat_reading.main()
    assert (tmp_path / "chat" / "reading.md").read_text().count("- *kto* (form ") == 6
    files = [str(data / f"{name}.jsonl") for name in ("kto_mix_300", "oasst_pairs")]
    real = [
        *few,
        f"{kind}real_feedback.py:RealFeedback",
        f"world.data={json.dumps(files)}",
        "world.words=60",
        "world.held_out=4",
    ]
    found = compare("studies/real_feedback.yaml", tmp_path / "real", only=["kto"], overrides=real, jobs=1)
    assert set(found.cells[0].estimates) == {"score", "kto_mix_300", "oasst_pairs", "drift"}
