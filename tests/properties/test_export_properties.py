"""What is exported comes back: read by our own reader, by our importers, or, for Axolotl, by a few lines here."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prospect.feedback import Demonstration, Message, Paired, Unpaired, load_feedback, write_jsonl
from prospect.feedback.exporters.export import export
from prospect.feedback.exporters.trainer_layouts import as_turns
from prospect.feedback.frozen.diff import diff_feedback
from prospect.feedback.frozen.freeze import check_frozen, freeze
from prospect.feedback.importers import get_importer
from prospect.feedback.importers.shapes.base import Options, Preference, Vote

# Any text but half characters, which no file can hold.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
words = texts.filter(str.strip)


def turn(role: str, content: st.SearchStrategy[str] = words) -> st.SearchStrategy[Message]:
    return st.builds(Message, st.just(role), content)


exchanges = st.lists(st.tuples(turn("user"), turn("assistant")), max_size=2).map(lambda pairs: sum(pairs, ()))
talks = st.builds(
    lambda system, earlier, last: (*system, *earlier, last),
    st.just(()) | turn("system").map(lambda one: (one,)),
    exchanges,
    turn("user"),
)
single = words | turn("assistant").map(lambda one: (one,))
several = st.tuples(turn("assistant", texts), turn("user", texts), turn("assistant", texts))
named = st.builds(Message, st.just("user"), texts, st.dictionaries(st.just("name"), words, max_size=1))
fixed = {"id": st.just("i"), "where": st.just("w:1")}


def records(prompts: Any, answers: Any, kinds: tuple[type, ...] = (Unpaired, Paired, Demonstration)) -> Any:
    made = {
        Unpaired: st.builds(Unpaired, prompt=prompts, completion=answers, desirable=st.booleans(), **fixed),
        Paired: st.builds(Paired, prompt=prompts, chosen=answers, rejected=answers, **fixed),
        Demonstration: st.builds(Demonstration, prompt=prompts, completion=answers, **fixed),
    }
    return st.one_of(*[st.lists(made[kind], min_size=1, max_size=4) for kind in kinds])


def in_turns(text: Any, role: str) -> list[tuple[str, str]]:
    return [(one.role, one.content) for one in as_turns(text, role)]


def facts(row: Any) -> tuple[Any, ...]:
    prompt = in_turns(row.prompt, "user")
    if isinstance(row, Paired):
        return prompt, in_turns(row.chosen, "assistant"), in_turns(row.rejected, "assistant")
    verdict = row.desirable if isinstance(row, Unpaired) else None
    return prompt, in_turns(row.completion, "assistant"), verdict


def facts_of_item(item: Any, polarity: Any) -> tuple[Any, ...]:
    def turns(cell: Any, role: str) -> list[tuple[str, str]]:
        return [(role, cell)] if isinstance(cell, str) else [(one["role"], one["content"]) for one in cell]

    prompt = turns(item.prompt, "user")
    if isinstance(item, Preference):
        return prompt, turns(item.chosen, "assistant"), turns(item.rejected, "assistant")
    assert isinstance(item, Vote), item
    return prompt, turns(item.completion, "assistant"), polarity[str(item.verdict).lower()]


def exported(rows: list[Any], to: str, folder: str, suffix: str = ".jsonl") -> Path:
    source, output = Path(folder) / "in.jsonl", Path(folder) / f"out{suffix}"
    write_jsonl(rows, source)
    export(source, to, output)
    return output


@settings(max_examples=50)
@given(
    records(texts, texts) | records(st.lists(named, max_size=2).map(tuple), several) | records(texts | talks, single)
)
def test_trl_rows_come_back_through_our_own_reader(rows: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        back = load_feedback(exported(rows, "trl", folder))
    assert [facts(row) for row in back] == [facts(row) for row in rows]
    assert [type(row) for row in back] == [type(row) for row in rows]
    for row, again in zip(rows, back, strict=True):
        extras = [one.extra for one in row.prompt] if isinstance(row.prompt, tuple) else []
        assert extras == [] or [one.extra for one in again.prompt] == extras


def come_back(rows: list[Any], to: str, suffix: str = ".jsonl") -> None:
    importer = get_importer(to)
    with tempfile.TemporaryDirectory() as folder:
        items = list(importer.read([exported(rows, to, folder, suffix)], Options()))
    assert [facts_of_item(item, importer.polarity) for item in items] == [facts(row) for row in rows]


@settings(max_examples=50)
@given(records(words | talks, single, (Unpaired, Paired)))
def test_llama_factory_rows_come_back_through_its_importer(rows: list[Any]) -> None:
    come_back(rows, "llama-factory")


@settings(max_examples=50)
@given(records(words | talks, single, (Unpaired, Paired)))
def test_ms_swift_rows_come_back_through_its_importer(rows: list[Any]) -> None:
    come_back(rows, "ms-swift")


@settings(max_examples=50)
@given(records(words | talks, single, (Unpaired, Paired)))
def test_halos_rows_come_back_through_its_importer(rows: list[Any]) -> None:
    assume(not any(isinstance(row, Paired) and facts(row)[1] == facts(row)[2] for row in rows))
    come_back(rows, "halos", ".json")


@settings(max_examples=50)
@given(
    records(words | turn("user").map(lambda one: (one,)) | st.tuples(turn("system"), turn("user")), single, (Unpaired,))
    | records(words | talks, single, (Paired,))
)
def test_axolotl_rows_hold_all_that_was_said(rows: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = exported(rows, "axolotl", folder).read_bytes().decode()
    found = []
    for row in map(json.loads, text.removesuffix("\n").split("\n")):
        if "messages" in row:
            messages = [(one["role"], one["content"]) for one in row["messages"]]
            found.append((messages, *([(row[side]["role"], row[side]["content"])] for side in ("chosen", "rejected"))))
        else:
            system = [("system", row["system"])] if row.get("system") else []
            answer = [("assistant", row["completion"])]
            found.append(([*system, ("user", row["prompt"])], answer, row["label"]))
    assert found == [facts(row) for row in rows]


@settings(max_examples=20)
@given(records(texts | talks, single), st.randoms())
def test_a_frozen_dataset_is_its_rows_in_any_order(rows: list[Any], random: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jsonl(rows, folder / "a.jsonl")
        frozen = freeze(folder / "a.jsonl", folder / "frozen").manifest
        assert check_frozen(folder / "frozen") == frozen
        shuffled = list(rows)
        random.shuffle(shuffled)
        write_jsonl(shuffled, folder / "b.jsonl")
        assert freeze(folder / "b.jsonl", folder / "again").manifest["content"] == frozen["content"]
        assert not diff_feedback(folder / "frozen", folder / "b.jsonl")
        write_jsonl(rows[:-1] + [rows[0]] * 2, folder / "c.jsonl")
        found = diff_feedback(folder / "frozen", folder / "c.jsonl")
        assert found and found.after == found.added + found.changed + found.same
        assert found.before == found.removed + found.changed + found.same
