"""What other trainers read, and what is said of all that their layouts cannot hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import pairs, thumbs, write_rows
from prospect.errors import DataError, UsageError
from prospect.feedback import load_feedback, prompt_key
from prospect.feedback.exporters.export import Exported, export
from prospect.feedback.exporters.trainer_layouts import LAYOUTS
from prospect.feedback.frozen.freeze import freeze


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def said(speaker: str, value: str) -> dict[str, str]:
    return {"from": speaker, "value": value}


SYSTEM, HELLO, HI, ON, YES, NO = (
    turn("system", "Be brief."),
    turn("user", "Hello"),
    turn("assistant", "Hi"),
    turn("user", "Go on"),
    turn("assistant", "Yes"),
    turn("assistant", "No"),
)
TALK = [SYSTEM, HELLO, HI, ON]
TOOLS = [{"type": "function", "function": {"name": "look"}}]
THUMB = {"prompt": TALK, "completion": [YES], "label": False}
PAIR = {"prompt": TALK, "chosen": [YES], "rejected": [NO]}
SHOWN = {"prompt": TALK, "completion": [YES]}
FROM = [said("system", "Be brief."), said("human", "Hello"), said("gpt", "Hi"), said("human", "Go on")]
KEY = None  # stands for the key of the prompt


def write(folder: Path, to: str, rows: list[dict[str, Any]], **options: Any) -> tuple[Exported, list[dict[str, Any]]]:
    source, output = write_rows(folder / "in.jsonl", rows), folder / f"out{LAYOUTS[to].suffix}"
    done = export(source, to, output, **options)
    text = output.read_text(encoding="utf-8")
    return done, json.loads(text) if to == "halos" else [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("to", "row", "expected"),
    [
        ("trl", THUMB, THUMB),
        ("trl", PAIR, PAIR),
        ("trl", SHOWN, SHOWN),
        ("llama-factory", THUMB, {"conversations": [*FROM, said("gpt", "Yes")], "kto_tag": False}),
        ("llama-factory", PAIR, {"conversations": FROM, "chosen": said("gpt", "Yes"), "rejected": said("gpt", "No")}),
        ("llama-factory", SHOWN, {"conversations": [*FROM, said("gpt", "Yes")]}),
        ("ms-swift", THUMB, {"messages": [*TALK, YES], "label": False}),
        ("ms-swift", PAIR, {"messages": [*TALK, YES], "rejected_response": "No"}),
        ("ms-swift", SHOWN, {"messages": [*TALK, YES]}),
        ("axolotl", PAIR, {"messages": TALK, "chosen": YES, "rejected": NO}),
        ("axolotl", {"prompt": [SYSTEM, HELLO], "completion": [YES], "label": True},
         {"system": "Be brief.", "prompt": "Hello", "completion": "Yes", "label": True}),
        ("axolotl", {"prompt": "Hello", "completion": "Yes", "label": 1},
         {"prompt": "Hello", "completion": "Yes", "label": True}),
        ("halos", THUMB, {"prompt_id": KEY, "prompt": TALK, "output": [YES], "label": 0, "reward": 0.0,
                          "type": "binary_feedback"}),
        ("halos", {**THUMB, "score": 7}, {"prompt_id": KEY, "prompt": TALK, "output": [YES], "label": 0, "reward": 7.0,
                                          "type": "binary_feedback"}),
        ("halos", PAIR, {"prompt_id": KEY, "prompt": TALK, "output_A": [YES], "output_B": [NO], "reward_A": 1.0,
                         "reward_B": 0.0, "label": 1, "type": "pairwise_feedback"}),
    ],
)  # fmt: skip
def test_a_row_in_each_layout(tmp_path: Path, to: str, row: dict[str, Any], expected: dict[str, Any]) -> None:
    done, (found,) = write(tmp_path, to, [row])
    if "prompt_id" in expected:
        (record,) = load_feedback(tmp_path / "in.jsonl")
        expected = {**expected, "prompt_id": prompt_key(record.prompt)}
    assert found == expected
    assert (done.rows, done.left_out, done.dropped) == (1, {}, {})


@pytest.mark.parametrize("to", LAYOUTS)
def test_plain_text_stays_for_trl_and_becomes_a_turn_for_the_others(tmp_path: Path, to: str) -> None:
    done, rows = write(tmp_path, to, thumbs(3))
    assert done.as_turns == (0 if to == "trl" else 3)
    first = thumbs(1)[0]
    texts = json.dumps(rows[0])
    assert json.dumps(first["prompt"]) in texts and json.dumps(first["completion"]) in texts


def test_one_conversation_makes_turns_of_all_texts_for_trl(tmp_path: Path) -> None:
    plain = {"prompt": "", "completion": "b", "label": True}
    done, rows = write(tmp_path, "trl", [plain, THUMB])
    assert rows[0] == {"prompt": [], "completion": [turn("assistant", "b")], "label": True}
    assert done.as_turns == 1


@pytest.mark.parametrize("to", ["trl", "llama-factory", "ms-swift"])
def test_tool_schemas_are_json_text_in_every_row(tmp_path: Path, to: str) -> None:
    done, rows = write(tmp_path, to, [THUMB, {**THUMB, "tools": TOOLS}])
    assert [row["tools"] and json.loads(row["tools"]) for row in rows] == [None, TOOLS]
    assert done.dropped == {}


def test_what_a_layout_has_no_place_for_is_counted(tmp_path: Path) -> None:
    more = {"id": "a", "weight": 0, "score": 3, "rater": "r", "tools": TOOLS, "finished": False, "source": "s",
            "source_id": "i", "time": "2026-01-01", "model": "m", "reason": "w", "relative": True}  # fmt: skip
    named = [{**HELLO, "name": "anna"}]
    rows = [{**THUMB, **more}, THUMB, {**THUMB, "prompt": named, "weight": 2}]
    everything = dict.fromkeys(sorted(more), 1) | {"weight": 2}
    assert write(tmp_path, "halos", rows)[0].dropped == {
        "fields of turns": 1, **{name: n for name, n in everything.items() if name != "score"}
    }  # fmt: skip
    trl, written = write(tmp_path, "trl", rows)
    assert trl.dropped == {name: n for name, n in everything.items() if name != "tools"}
    assert written[2]["prompt"] == named


ODD_TALK = [HELLO, HI, HI, ON]
TOOL_CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {}}}]}
TWO_TURNS = [HI, ON, YES]


@pytest.mark.parametrize(
    ("to", "change", "reason"),
    [
        ("llama-factory", {"prompt": ""}, "do not alternate"),
        ("llama-factory", {"prompt": ODD_TALK}, "do not alternate"),
        ("llama-factory", {"prompt": [HELLO, SYSTEM, ON]}, "do not alternate"),
        ("llama-factory", {"prompt": [HELLO, HI]}, "do not alternate"),
        ("llama-factory", {"completion": ""}, "an empty completion"),
        ("llama-factory", {"completion": TWO_TURNS}, "a completion of several turns"),
        ("llama-factory", {"prompt": [HELLO, TOOL_CALL, turn("tool", "1")]}, "a turn that calls tools"),
        ("ms-swift", {"prompt": ""}, "does not end with the user"),
        ("ms-swift", {"completion": [TOOL_CALL]}, "a turn that calls tools"),
        ("ms-swift", {"prompt": [turn("critic", "a"), HELLO]}, "a turn of the critic"),
        ("axolotl", {"prompt": TALK}, "more than a system prompt, one turn of the user and one answer"),
        ("axolotl", {"prompt": ""}, "an empty prompt"),
        ("axolotl", {"prompt": [SYSTEM]}, "an empty prompt"),
        ("axolotl", {"completion": ""}, "an empty completion"),
        ("halos", {"prompt": [turn("critic", "a")]}, "a turn of the critic"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_or_left_out(
    tmp_path: Path, to: str, change: dict[str, Any], reason: str
) -> None:
    good = {"prompt": "Hello", "completion": "Yes", "label": True}
    with pytest.raises(DataError, match=f"in.jsonl:2: the row has .*{reason}.*--leave-out"):
        write(tmp_path, to, [good, {**good, **change}])
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    done, rows = write(tmp_path, to, [good, {**good, **change}, {**good, **change}], leave_out=True)
    assert len(rows) == done.rows == 1
    ((found, count),) = done.left_out.items()
    assert reason in found and count == 2
    with pytest.raises(DataError, match=f"no row fits the layout of {LAYOUTS[to].title}: 1 .*{reason}"):
        write(tmp_path, to, [{**good, **change}], leave_out=True)


@pytest.mark.parametrize(
    ("to", "change", "reason"),
    [
        ("llama-factory", {"chosen": TWO_TURNS}, "several turns"),
        ("ms-swift", {"rejected": TWO_TURNS}, "several turns"),
        ("axolotl", {"prompt": ""}, "an empty prompt"),
        ("axolotl", {"rejected": ""}, "an empty completion"),
        ("halos", {"rejected": [YES]}, "a pair of equal completions"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused(tmp_path: Path, to: str, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        write(tmp_path, to, [{**PAIR, **change}])


def test_kinds_without_a_layout_are_refused_with_a_way_out(tmp_path: Path) -> None:
    scored = {"prompt": "a", "completions": ["b", "c"], "scores": [1, 2]}
    for to in LAYOUTS:
        with pytest.raises(DataError, match=r"the row is scored; .* --to paired"):
            write(tmp_path, to, [scored])
    for to in ("axolotl", "halos"):
        with pytest.raises(DataError, match="Demonstrations go to trl"):
            write(tmp_path, to, [SHOWN])
    files = [write_rows(tmp_path / "a.jsonl", thumbs(1)), write_rows(tmp_path / "b.jsonl", pairs(1))]
    with pytest.raises(DataError, match=r"b\.jsonl:1: the row is paired, but the rows before are unpaired"):
        export(files, "trl", tmp_path / "out.jsonl")


def test_names_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"HALOs reads \.json here"):
        export("nothing.jsonl", "halos", tmp_path / "out.jsonl")
    with pytest.raises(UsageError, match="--to olmo: expected trl, llama-factory"):
        export("nothing.jsonl", "olmo", tmp_path / "out.jsonl")
    source = write_rows(tmp_path / "a.jsonl", thumbs(1))
    with pytest.raises(DataError, match="cannot be written"):
        export(source, "trl", tmp_path / "no" / "out.jsonl")


def test_half_a_character_is_an_error_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "a", "name": "\\ud83d"}, {"role": "assistant", "content": "b"}]}'
    )
    with pytest.raises(DataError, match=r"a\.jsonl:1"):
        export(tmp_path / "a.jsonl", "trl", tmp_path / "out.jsonl")


@pytest.mark.parametrize(("row", "more"), [
    (THUMB, {"columns": {"messages": "conversations", "kto_tag": "kto_tag"}}),
    (PAIR, {"ranking": True, "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}}),
    ({**SHOWN, "tools": TOOLS}, {"columns": {"messages": "conversations", "tools": "tools"}}),
])  # fmt: skip
def test_llama_factory_gets_its_dataset_info(tmp_path: Path, row: dict[str, Any], more: dict[str, Any]) -> None:
    done, _ = write(tmp_path, "llama-factory", [row])
    assert done.beside == tmp_path / "dataset_info.json"
    entry = json.loads(done.beside.read_text())["out"]
    tags = entry.pop("tags")
    assert (tags["role_tag"], tags["content_tag"], tags["user_tag"], tags["assistant_tag"]) == (
        "from",
        "value",
        "human",
        "gpt",
    )
    assert entry == {"file_name": "out.jsonl", "formatting": "sharegpt", **more}


def test_a_dataset_info_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text('{"mine": {}}')
    done, _ = write(tmp_path, "llama-factory", [THUMB])
    assert done.beside is None and (tmp_path / "dataset_info.json").read_text() == '{"mine": {}}'
    assert json.loads(done.advice[-1])["out"]["file_name"] == "out.jsonl"


def test_axolotl_gets_a_recipe(tmp_path: Path) -> None:
    good = {"prompt": "Hello", "completion": "Yes", "label": True}
    for rows, method, kind in (([good], "kto", "chatml.ultra"), ([PAIR], "dpo", "chat_template.default")):
        recipe = yaml.safe_load("\n".join(write(tmp_path, "axolotl", rows)[0].advice))
        assert recipe["rl"] == method and recipe["datasets"][0]["type"] == kind
        assert recipe["datasets"][0]["path"] == str(tmp_path / "out.jsonl")


@pytest.mark.parametrize(("to", "row", "word"), [
    ("trl", THUMB, "KTOTrainer"), ("trl", PAIR, "DPOTrainer"), ("trl", SHOWN, "SFTTrainer"),
    ("ms-swift", THUMB, "--rlhf_type kto"), ("ms-swift", PAIR, "--rlhf_type dpo"), ("ms-swift", SHOWN, "swift sft"),
])  # fmt: skip
def test_the_advice_names_the_method_of_the_kind(tmp_path: Path, to: str, row: dict[str, Any], word: str) -> None:
    (line,) = write(tmp_path, to, [row])[0].advice
    assert word in line and str(tmp_path / "out.jsonl") in line


def test_a_frozen_folder_is_exported(tmp_path: Path) -> None:
    freeze(write_rows(tmp_path / "a.jsonl", thumbs(4)), tmp_path / "frozen")
    assert export(tmp_path / "frozen", "trl", tmp_path / "out.jsonl").rows == 4
