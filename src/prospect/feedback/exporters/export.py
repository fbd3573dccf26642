"""Feedback -> the file that another trainer reads, with an account of what did not fit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from prospect.atomic import atomic_file, write_json
from prospect.errors import DataError, UsageError
from prospect.feedback.exporters.trainer_layouts import LAYOUTS, Survey, TrainerLayout, Unfit
from prospect.feedback.files.manifest import as_json, own_id
from prospect.feedback.files.sources import Source
from prospect.feedback.frozen.filters import counted
from prospect.feedback.frozen.freeze import iter_rows
from prospect.feedback.records import Completion, Demonstration, Feedback, Kind, Message, Paired, Scored, Unpaired
from prospect.feedback.wording import names

_DATASET_INFO = "dataset_info.json"
_OPTIONAL = ("score", "rater", "tools", "source", "source_id", "time", "model", "reason")


class Exported(NamedTuple):
    """What was written, and what was not.

    Attributes:
        kind: of the feedback.
        rows: written.
        left_out: reason -> rows that the layout cannot hold.
        dropped: column -> written rows that had something there for which the layout has no place.
        as_turns: written rows whose plain text became turns of a conversation.
        advice: what to tell the trainer, in lines.
        beside: a file that was written next to the rows.
    """

    kind: Kind
    rows: int
    left_out: dict[str, int]
    dropped: dict[str, int]
    as_turns: int
    advice: list[str]
    beside: Path | None


def export(
    source: Source,
    to: str,
    output: str | Path,
    *,
    label_map: Mapping[Any, bool] | None = None,
    leave_out: bool = False,
) -> Exported:
    """Write feedback in the layout of another trainer.

    Texts come out as they went in. In layouts of turns a plain prompt is one turn of the user; a conversation is never
    flattened into text. The source is read twice, a row in memory at a time.

    Args:
        source: as `load_feedback` takes it; a frozen folder is its rows.jsonl.
        to: trl, llama-factory, ms-swift, axolotl or halos.
        output: the file to write, .jsonl, for HALOs .json.
        label_map: label -> desirable.
        leave_out: rows that the layout cannot hold are left out and counted; else the first of them is an error.

    Refuses a kind of feedback that the layout has no place for, and two kinds at once.
    """
    layout, output = _layout(to), Path(output)
    if output.suffix.lower() != layout.suffix:
        raise UsageError(f"{output}: {layout.title} reads {layout.suffix} here. Change the name.")
    survey = _survey(iter_rows(source, label_map=label_map), layout)
    account = _Account(layout, survey, leave_out)
    rows = account.rows(iter_rows(source, label_map=label_map))
    try:
        with atomic_file(output) as file:
            if layout.suffix == ".json":
                file.writelines(_array(rows))
            else:
                file.writelines(row + b"\n" for row in rows)
            if not account.written:
                raise DataError(f"{output}: no row fits the layout of {layout.title}: {counted(account.left_out)}")
        advice, beside = _advice(layout, survey, output)
    except OSError as error:
        raise DataError(f"{output}: cannot be written: {error.strerror}. Check the folder") from error
    dropped = {name: account.dropped[name] for name in sorted(account.dropped)}
    return Exported(survey.kind, account.written, dict(account.left_out), dropped, account.as_turns, advice, beside)


def _layout(to: str) -> TrainerLayout:
    if to not in LAYOUTS:
        raise UsageError(f"--to {to}: expected {names(LAYOUTS, 'or')}.")
    return LAYOUTS[to]


def _survey(rows: Iterator[Feedback], layout: TrainerLayout) -> Survey:
    kind: Kind | None = None
    conversations = tools = system = False
    for row in rows:
        kind = kind or row.kind
        if row.kind != kind:
            raise DataError(
                f"{row.where}: the row is {row.kind}, but the rows before are {kind}. Export one kind a time"
            )
        if kind not in layout.kinds:
            raise DataError(
                f"{row.where}: the row is {kind}; {layout.title} takes {names(layout.kinds)}. {_HELP[kind]}"
            )
        conversations = conversations or any(isinstance(text, tuple) for text in _texts(row))
        tools = tools or row.tools is not None
        system = system or (isinstance(row.prompt, tuple) and row.prompt[:1] != () and row.prompt[0].role == "system")
    assert kind is not None  # a source without rows is refused where it is read
    return Survey(kind, conversations, tools, system)


class _Account:
    """Turns records into rows, and counts what does not come along."""

    def __init__(self, layout: TrainerLayout, survey: Survey, leave_out: bool) -> None:
        self.layout, self.survey, self.leave_out = layout, survey, leave_out
        self.written = self.as_turns = 0
        self.left_out: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def rows(self, rows: Iterator[Feedback]) -> Iterator[bytes]:
        """Each row as JSON."""
        for row in rows:
            try:
                columns = self.layout.row(row, self.survey)
            except Unfit as reason:
                if not self.leave_out:
                    raise DataError(
                        f"{row.where}: the row has {reason}, which the layout of {self.layout.title} cannot hold. "
                        "Export to another trainer (trl holds every row), or leave such rows out with --leave-out"
                    ) from None
                self.left_out[str(reason)] += 1
                continue
            self.written += 1
            self.dropped.update(name for name in _said(row) if name not in self.layout.holds)
            if self.layout.chat and any(turn.extra for turn in _all_turns(row)):
                self.dropped["fields of turns"] += 1
            chat = self.layout.chat or self.survey.conversations
            self.as_turns += chat and any(isinstance(text, str) for text in _texts(row))
            yield as_json(columns, row.where)


def _said(row: Feedback) -> list[str]:
    """Return the optional columns in which the row says something."""
    said = [name for name in _OPTIONAL if getattr(row, name) is not None]
    said += ["id"] if own_id(row) is not None else []
    said += ["weight"] if row.weight != 1.0 else []
    said += ["finished"] if not row.finished else []
    return said + (["relative"] if row.relative else [])


def _texts(row: Feedback) -> list[Completion]:
    match row:
        case Paired():
            return [row.prompt, row.chosen, row.rejected]
        case Unpaired() | Demonstration():
            return [row.prompt, row.completion]
        case Scored():
            return [row.prompt, *row.completions]
    return [row.prompt]


def _all_turns(row: Feedback) -> Iterator[Message]:
    return (turn for text in _texts(row) if isinstance(text, tuple) for turn in text)


def _array(rows: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a JSON array, a row a line."""
    before = b"[\n"
    for row in rows:
        yield before + row
        before = b",\n"
    yield b"\n]\n"


_HELP = {
    "scored": "Make pairs of the best and the worst first: prospect data convert FILE --to paired -o PAIRS.jsonl",
    "demonstration": "Demonstrations go to trl, llama-factory and ms-swift",
    "unpaired": "Convert it first, with prospect data convert",
    "paired": "Convert it first, with prospect data convert",
}
_METHODS = {"unpaired": "kto", "paired": "dpo", "demonstration": "sft"}


def _advice(layout: TrainerLayout, survey: Survey, output: Path) -> tuple[list[str], Path | None]:
    """Return what to tell the trainer so that it reads the file as it was meant."""
    method = _METHODS[survey.kind]
    if layout.name == "trl":
        trainer = f"{method.upper()}Trainer"
        return [f'{trainer}(train_dataset=load_dataset("json", data_files="{output}", split="train"))'], None
    if layout.name == "ms-swift":
        command = "swift sft" if method == "sft" else f"swift rlhf --rlhf_type {method}"
        return [f"{command} --dataset {output}"], None
    if layout.name == "halos":
        return [f"train on {output}: a feedback file, as `train.label` writes it"], None
    if layout.name == "axolotl":
        return _axolotl_recipe(survey, method, output), None
    return _dataset_info(survey, method, output)


def _axolotl_recipe(survey: Survey, method: str, output: Path) -> list[str]:
    lines = [f"rl: {method}", "datasets:", f"  - path: {output}", "    ds_type: json", "    split: train"]
    if survey.kind == "unpaired":
        return [*lines, "    type: chatml.ultra   # or llama3.ultra: whose chat template the model has"]
    return [*lines, "    type: chat_template.default", "    field_messages: messages"]


def _dataset_info(survey: Survey, method: str, output: Path) -> tuple[list[str], Path | None]:
    """Return the entry that LLaMA-Factory wants: in a new dataset_info.json; one that is there is the user's."""
    columns = {"messages": "conversations"}
    if survey.kind == "unpaired":
        columns["kto_tag"] = "kto_tag"
    if survey.kind == "paired":
        columns |= {"chosen": "chosen", "rejected": "rejected"}
    if survey.tools:
        columns["tools"] = "tools"
    entry = {
        "file_name": output.name,
        "formatting": "sharegpt",
        **({"ranking": True} if survey.kind == "paired" else {}),
        "columns": columns,
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
            "observation_tag": "observation",
            "function_tag": "function_call",
            "system_tag": "system",
        },
    }
    lines = [f"stage: {method}", f"dataset: {output.stem}", f"dataset_dir: {output.parent}"]
    beside = output.with_name(_DATASET_INFO)
    if beside.exists():
        return [*lines, f"{beside} is there already; add to it:", json.dumps({output.stem: entry})], None
    write_json(beside, {output.stem: entry})
    return lines, beside
