"""Feedback to examples: what is held out, what is left out, what is refused before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import make_tokenizer, pairs, thumbs, write_rows
from families import GEMMA
from prospect.config import DataSettings
from prospect.data.dataset import Dataset, encode_records, load_datasets, require_both_classes, require_fitting_rows
from prospect.data.render import Encoder, PromptTooLongError
from prospect.errors import ConfigError, DataError
from prospect.feedback.chat.rendering import Rendering, UnrenderableError
from prospect.feedback.convert.kinds import as_kind
from prospect.feedback.files.sources import load_feedback
from prospect.results.run import LeftOut


def load(
    tokenizer: Any, kind: Any = "unpaired", max_length: int = 64, **settings: Any
) -> tuple[Dataset, Dataset | None]:
    return load_datasets(DataSettings(**settings), kind, Encoder(tokenizer, max_length), seed=0, method=f"loss {kind}")


@pytest.fixture
def feedback(tmp_path: Path) -> str:
    return str(write_rows(tmp_path / "feedback.jsonl", thumbs(20)))


def test_a_share_a_number_a_file_or_nothing_is_held_out(tokenizer: Any, feedback: str, tmp_path: Path) -> None:
    other = str(write_rows(tmp_path / "other.jsonl", thumbs(6)))
    for held_out, rows in ((0.25, (15, 5)), (3, (17, 3)), (other, (20, 6)), ([other, other], (20, 12))):
        train, evaluation = load(tokenizer, train=feedback, eval=held_out)
        assert evaluation is not None
        assert (len(train.examples), len(evaluation.examples)) == rows
    assert load(tokenizer, train=feedback, eval=None)[1] is None


def test_no_prompt_is_on_both_sides(tokenizer: Any, tmp_path: Path) -> None:
    file = str(write_rows(tmp_path / "repeated.jsonl", thumbs(40, prompts=10)))
    train, evaluation = load(tokenizer, train=file, eval=0.3)
    assert evaluation is not None
    prompts = [{row.prompt_key for example in data.examples for row in example} for data in (train, evaluation)]
    assert [len(side) for side in prompts] == [7, 3]
    assert not prompts[0] & prompts[1]


@pytest.mark.parametrize("value", [0, -1, -0.5, 1.5, float("inf"), float("nan")])
def test_a_number_held_out_that_cannot_be_meant_is_refused(tokenizer: Any, feedback: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"data\.eval is {value}; expected a share between 0 and 1, a whole number"):
        load(tokenizer, train=feedback, eval=value)


@pytest.mark.parametrize("as_list", [False, True])
def test_files_named_for_evaluation_that_cannot_feed_the_loss_are_refused(
    tokenizer: Any, feedback: str, tmp_path: Path, as_list: bool
) -> None:
    """One answer to a prompt makes no pair; a split by chance may lack pairs, a file that was named may not."""
    train = str(write_rows(tmp_path / "pairs.jsonl", pairs(6)))
    named: Any = [feedback] if as_list else feedback
    with pytest.raises(DataError):
        load(tokenizer, "paired", train=train, eval=named)


def test_overlong_prompts_are_refused_or_dropped_and_counted(tokenizer: Any, tmp_path: Path) -> None:
    rows = thumbs(6)
    rows[2]["prompt"] = "quick " * 40
    file = str(write_rows(tmp_path / "long.jsonl", rows))
    with pytest.raises(PromptTooLongError, match=r"long\.jsonl:3: the prompt alone has \d+ tokens"):
        load(tokenizer, train=file, eval=None)
    train, _ = load(tokenizer, train=file, eval=None, overlong_prompts="drop")
    assert (len(train.examples), len(train.records), train.dropped) == (5, 5, 1)
    with pytest.raises(DataError, match=r"no row is left to train on; 6 had prompts longer"):
        load(tokenizer, max_length=2, train=file, eval=None, overlong_prompts="drop")


def test_unrenderable_rows_are_refused_or_left_out_with_their_reason_and_place(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = GEMMA
    rows = [{"prompt": [{"role": role, "content": "hi"} for role in ("user",) * (1 + (i == 2))]} for i in range(4)]
    turn = [{"role": "assistant", "content": "hello"}]
    odd = [
        {"role": "assistant", "content": "a"},
        {"role": "tool", "content": "b"},
        {"role": "assistant", "content": "c"},
    ]
    rows = [{**row, "chosen": turn, "rejected": odd if i == 3 else turn} for i, row in enumerate(rows)]
    records = load_feedback(write_rows(tmp_path / "p.jsonl", rows))
    settings = DataSettings(train="p")
    with pytest.raises(UnrenderableError, match=r"p\.jsonl:3: .*roles must take turns"):
        encode_records(records, "paired", Encoder(tokenizer, 64), settings, "p")
    encoder = Encoder(tokenizer, 64, rendering=Rendering(unrenderable="drop"))
    dataset = encode_records(records, "paired", encoder, settings, "p")
    assert len(dataset.examples) == len(dataset.records) == 2
    reasons = (
        "the chat template refuses this conversation: roles must take turns",
        "the completion holds a turn that is not the assistant's",
    )
    assert dataset.summary().unrenderable == {
        reason: LeftOut(rows=1, first=[records[place].where]) for reason, place in zip(reasons, (2, 3), strict=True)
    }
    with pytest.raises(
        DataError, match=r"no row is left to train on; 1 could not be rendered \(the chat template refuses"
    ):
        encode_records(records[2:3], "paired", encoder, settings, "p")


def test_rows_that_go_without_the_template_are_counted(tokenizer: Any, tmp_path: Path) -> None:
    rows = [*thumbs(2), {"prompt": [{"role": "user", "content": "a"}], "completion": "b", "label": True}]
    records = load_feedback(write_rows(tmp_path / "f.jsonl", rows))
    for as_chat, plain in ((False, 2), (True, 0)):
        encoder = Encoder(tokenizer, 64, rendering=Rendering(plain_as_chat=as_chat))
        dataset = encode_records(records, "unpaired", encoder, DataSettings(train="f"), "f")
        assert dataset.plain == dataset.summary().plain == plain


def test_cut_and_empty_completions_are_counted(tokenizer: Any, tmp_path: Path) -> None:
    rows = thumbs(4)
    rows[0]["completion"], rows[1]["completion"] = "", " dog" * 80
    train, _ = load(tokenizer, train=str(write_rows(tmp_path / "f.jsonl", rows)), eval=None)
    summary = train.summary()
    assert (summary.cut, summary.empty_completions, summary.rows) == (1, 1, 4)
    assert (summary.desirable, summary.undesirable) == (2, 2)
    assert summary.tokens == sum(row.length for example in train.examples for row in example)
    assert sum(summary.completion_histogram.desirable) == 2
    assert summary.completion_tokens["undesirable"].max == train.examples[1][0].length - len(
        train.examples[1][0].prompt_ids
    )


def test_a_pair_is_two_rows_chosen_first(tokenizer: Any, tmp_path: Path) -> None:
    train, _ = load(tokenizer, "paired", train=str(write_rows(tmp_path / "p.jsonl", pairs(3))), eval=None)
    assert [[row.desirable for row in example] for example in train.examples] == [[True, False]] * 3
    assert all(a.prompt_ids.tolist() == b.prompt_ids.tolist() for a, b in train.examples)


def test_the_same_data_have_the_same_digest_and_other_verdicts_weights_or_orders_another(
    tokenizer: Any, tmp_path: Path
) -> None:
    def digest(rows: list[dict[str, Any]]) -> str:
        return load(tokenizer, train=str(write_rows(tmp_path / "d.jsonl", rows)), eval=None)[0].digest

    rows = thumbs(4)
    others = [
        [dict(row, label=not row["label"]) for row in rows],
        [dict(row, weight=2.0) for row in rows],
        rows[::-1],
        rows[:3],
    ]
    assert digest(rows) == digest(thumbs(4))
    assert len({digest(rows), *map(digest, others)}) == 5


def scored(count: int) -> list[dict[str, Any]]:
    """Prompts with three completions, of which the second and the third share the highest score."""
    completions = [" no", " a quick dog", " the quick dog runs"]
    return [{"prompt": f"number {i}", "completions": completions, "scores": [1, 2.5, 2.5]} for i in range(count)]


def test_a_scored_prompt_is_k_rows_of_which_the_best_are_desirable(tokenizer: Any, tmp_path: Path) -> None:
    train, _ = load(tokenizer, "scored", train=str(write_rows(tmp_path / "s.jsonl", scored(3))), eval=None)
    assert [[row.desirable for row in example] for example in train.examples] == [[False, True, True]] * 3
    assert [[row.score for row in example] for example in train.examples] == [[1.0, 2.5, 2.5]] * 3
    assert all(len({row.prompt_key for row in example}) == 1 for example in train.examples)
    first, second, third = train.examples[0]
    assert len({first.key, second.key, third.key}) == 3
    assert len(first.completion_ids) < len(third.completion_ids), "scores stay with their completions"


def test_the_summary_of_scored_prompts_counts_the_best_and_the_others(tokenizer: Any, tmp_path: Path) -> None:
    rows = scored(3)
    rows[0]["completions"] = ["", " dog", ""]
    train, _ = load(tokenizer, "scored", train=str(write_rows(tmp_path / "s.jsonl", rows)), eval=None)
    assert train.class_counts() == (6, 3)
    summary = train.summary()
    assert (summary.kind, summary.rows, summary.prompts) == ("scored", 3, 3)
    assert (summary.desirable, summary.undesirable, summary.empty_completions) == (6, 3, 1)
    assert sum(summary.completion_histogram.desirable) == 6
    require_both_classes(train, allow_one_class=False)


def test_another_score_is_another_digest_where_scores_are_learnt_from(tokenizer: Any, tmp_path: Path) -> None:
    def digest(kind: str, rows: list[dict[str, Any]]) -> str:
        return load(tokenizer, kind, train=str(write_rows(tmp_path / "d.jsonl", rows)), eval=None)[0].digest

    lower = [dict(row, scores=[-2, 2.5, 2.5]) for row in scored(3)]
    assert digest("scored", scored(3)) == digest("scored", scored(3))
    assert digest("scored", scored(3)) != digest("scored", lower)
    judged = thumbs(4)
    assert digest("unpaired", judged) == digest("unpaired", [dict(row, score=3.0) for row in judged])


def test_thumbs_are_scored_by_prompt_where_a_loss_compares(tokenizer: Any, tmp_path: Path) -> None:
    file = str(write_rows(tmp_path / "t.jsonl", thumbs(9, prompts=3)))
    train, _ = load(tokenizer, "scored", train=file, eval=None)
    assert [len(example) for example in train.examples] == [3, 3, 3]
    assert [[row.score for row in example] for example in train.examples] == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(("label", "missing", "advice"), [(True, "undesirable", "train sft"), (False, "desirable", "")])
def test_thumbs_of_one_kind_are_refused_unless_that_is_meant(
    tokenizer: Any, tmp_path: Path, label: bool, missing: str, advice: str
) -> None:
    rows = [dict(row, label=label) for row in thumbs(4)]
    train, _ = load(tokenizer, train=str(write_rows(tmp_path / "one.jsonl", rows)), eval=None)
    with pytest.raises(DataError, match=rf"all 4 rows are .* and none is {missing};.*{advice}.*allow_one_class"):
        require_both_classes(train, allow_one_class=False)
    require_both_classes(train, allow_one_class=True)


def test_an_example_that_does_not_fit_a_micro_batch_is_refused_with_the_budget_it_needs(
    tokenizer: Any, tmp_path: Path
) -> None:
    records = load_feedback(str(write_rows(tmp_path / "p.jsonl", pairs(3))))
    settings = DataSettings(train="x")
    train = encode_records(
        as_kind(records, "paired", method="x"), "paired", Encoder(tokenizer, 64), settings, "p.jsonl"
    )
    needed = max(2 * max(row.length for row in example) for example in train.examples)
    require_fitting_rows(train, needed)
    with pytest.raises(
        ConfigError, match=rf"needs {needed} tokens at once and .* is {needed - 1}\. Raise it to {needed}"
    ):
        require_fitting_rows(train, needed - 1)
