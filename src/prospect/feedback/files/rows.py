"""A row of a file -> a record; and what the rows of one file must agree on."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from prospect.errors import DataError
from prospect.feedback.files.image_folders import as_image_rows, folder_of, is_metadata
from prospect.feedback.files.implicit_prompt import split_shared_prompt
from prospect.feedback.files.json_text import parse_json
from prospect.feedback.files.labels import LabelReader
from prospect.feedback.files.layouts import OPTIONAL_COLUMNS, Layout, find_layout
from prospect.feedback.files.others.cells import UnreadableRow
from prospect.feedback.files.others.layouts import find_other_layout, may_be_other_layout, number_of, own_columns
from prospect.feedback.files.text import encodable, join_prompt, parse_text, parse_turns, split_last_turn
from prospect.feedback.files.verdict_columns import Looks, ignored_verdicts, names_a_verdict, says_no
from prospect.feedback.images.cells import check_one_size, read_image
from prospect.feedback.records import (
    Demonstration,
    Feedback,
    Kind,
    Message,
    Paired,
    Scored,
    Text,
    Unpaired,
    record,
)
from prospect.feedback.times import read_time
from prospect.feedback.wording import found, show

Row = Mapping[str, Any]

_SIDES = ("chosen", "rejected")
_LEAVE_OUT = "Leave it out where there is none"


Ignored = tuple[Kind, str, Looks]
"""The kind of a row, and a column of it that looks like a verdict or a second answer and is not read."""


class _Plan(NamedTuple):
    """How the rows with some columns are read.

    Attributes:
        layout: of the row.
        optional: the optional columns, and what reads a cell of each.
        ignored: columns that look like a verdict and are not read.
        is_settled: whether the columns alone show that the row has no other layout than ours.
    """

    layout: Layout
    optional: list[tuple[str, Callable[[Any, str], Any]]]
    ignored: Mapping[str, Looks]
    is_settled: bool


class RowParser:
    """Turns the rows of one file into records of one kind.

    Args:
        label_map: label -> desirable; see `LabelReader`.
        ignored: gets what `RowParser.ignored` holds, where several files are counted together.
        place: the file, folder or hub dataset that the rows are from: paths of images count from its folder.

    Attributes:
        prompt_is_implicit: whether the row parsed last was a pair without a prompt of its own.
        ignored: (kind, column, what it looks like) -> rows, for columns that look like a verdict or a second answer
            and are not read.
    """

    def __init__(
        self,
        label_map: Mapping[Any, bool] | None = None,
        ignored: Counter[Ignored] | None = None,
        *,
        place: Path | str | None = None,
    ):
        self._labels = LabelReader(label_map)
        self._place = place
        self.prompt_is_implicit = False
        self.ignored: Counter[Ignored] = Counter() if ignored is None else ignored
        self._first: tuple[Layout, str] | None = None
        # Nearly all rows of a file have the same columns, so what follows from them is worked out once.
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def parse(self, row: Row, where: str, default_id: str) -> Feedback:
        """Return the record of a row.

        Args:
            row: column -> cell.
            where: `file:line`, for messages.
            default_id: the record's id where the row has none.
        """
        row, (layout, optional, ignored, _) = self._planned(row, where)
        fields: dict[str, Any] = {"id": default_id, "where": where}
        for column, read in optional:
            if (cell := row[column]) is not None:
                fields[column] = read(cell, where)
        if ignored:
            self._note_ignored(ignored, row, layout, where)
        if layout.of_images:
            return self._of_images(row, layout, where, fields)
        if layout.kind == "unpaired":
            fields["prompt"], fields["completion"] = _prompt_and_completion(row, layout, where)
            fields["desirable"] = self._labels.read(row["label"], where)
            return record(Unpaired, fields)
        if layout.kind == "paired":
            self.prompt_is_implicit = row.get("prompt") is None
            return _paired(row, where, fields)
        if layout.kind == "scored":
            return _scored(row, where, fields)
        fields["prompt"], fields["completion"] = _prompt_and_completion(row, layout, where)
        return record(Demonstration, fields)

    def _of_images(self, row: Row, layout: Layout, where: str, fields: dict[str, Any]) -> Feedback:
        """Return the record of a row whose completions are images."""
        folder = folder_of(self._place)
        fields["prompt"] = _plain_text(row["prompt"], "prompt", where)
        if layout.kind == "scored":
            cells = _list(row["images"], "images", where, "A single one belongs in the column image")
            scores = _one_score_each(cells, row, "images", where)
            images = tuple(read_image(cell, f"images[{i}]", where, folder) for i, cell in enumerate(cells))
            check_one_size(images, where)
            return record(Scored, {**fields, "completions": images, "scores": scores})
        if layout.kind == "paired":
            self.prompt_is_implicit = False
            chosen, rejected = (read_image(row[f"{side}_image"], f"{side}_image", where, folder) for side in _SIDES)
            check_one_size((chosen, rejected), where)
            return record(Paired, {**fields, "chosen": chosen, "rejected": rejected})
        fields["completion"] = read_image(row["image"], "image", where, folder)
        if layout.kind == "demonstration":
            return record(Demonstration, fields)
        fields["desirable"] = self._labels.read(row["label"], where)
        return record(Unpaired, fields)

    def scores(self, row: Row, where: str) -> tuple[float, ...]:
        """Return the scores of a row and read nothing else of it; none where it has none."""
        row, plan = self._planned(row, where)
        if plan.layout.kind == "scored":
            return _scores(row, where)
        cell = row.get("score")
        return () if cell is None else (_score(cell, where),)

    def _planned(self, row: Row, where: str) -> tuple[Row, _Plan]:
        """Return the row with our columns, and how it is read."""
        plan = self._plans.get(tuple(row))
        if plan is not None and plan.is_settled and None not in row.values():
            return row, plan
        row = with_own_columns(as_image_rows(row) if is_metadata(self._place) else row, where)
        return row, self._plan(row, where)

    def _plan(self, row: Row, where: str) -> _Plan:
        columns = tuple(row)
        plan = self._plans.get(columns)
        if plan is not None and None not in row.values():
            return plan
        layout = find_layout(row, where)
        self._check_kind(layout, where)
        optional = [(column, _OPTIONAL[column]) for column in OPTIONAL_COLUMNS if column in row]
        ignored = ignored_verdicts(row, {*layout.columns, *OPTIONAL_COLUMNS})
        plan = _Plan(layout, optional, ignored, not may_be_other_layout(row))
        if None not in row.values():  # which layout a row with nulls has depends on the row
            self._plans[columns] = plan
        return plan

    def _check_kind(self, layout: Layout, where: str) -> None:
        if self._first is None:
            self._first = layout, where
        first, first_where = self._first
        if layout.kind != first.kind or layout.of_images != first.of_images:
            raise DataError(
                f"{where}: the row is {layout}, but {first_where} is {first}; expected one kind in one file. "
                "Split the file by kind, or complete the columns of the odd rows"
            )

    def _note_ignored(self, ignored: Mapping[str, Looks], row: Row, layout: Layout, where: str) -> None:
        """Count the columns of a row that look like a verdict; refuse a demonstration that one of them calls bad."""
        for column, looks in ignored.items():
            cell = row[column]
            if cell is None or cell == "":
                continue
            if layout.kind == "demonstration" and looks == "verdict" and says_no(column, cell):
                raise DataError(
                    f"{where}: the row is read as {layout}, and {column} is {show(cell)}; expected completions to "
                    "imitate. Where that is a verdict on the completion, name it: prospect data import FILE --map "
                    f"label={column} -o OUT.jsonl; else remove the column"
                )
            self.ignored[layout.kind, column, looks] += 1


def with_own_columns(row: Row, where: str) -> Row:
    """Return the row with our columns, where it has the layout of another trainer or a public dataset."""
    try:
        return own_columns(row)
    except UnreadableRow as error:
        layout = find_other_layout(row)
        assert layout is not None, "what has no other layout is not read"
        raise DataError(f"{where}: the row is {layout.title} that cannot be read: {error}. Mend or remove it") from None


def _paired(row: Row, where: str, fields: dict[str, Any]) -> Paired:
    chosen = parse_text(row["chosen"], "chosen", where)
    rejected = parse_text(row["rejected"], "rejected", where)
    if row.get("prompt") is None:
        prompt, chosen, rejected = split_shared_prompt(chosen, rejected, where)
    else:
        prompt = parse_text(row["prompt"], "prompt", where)
    if not (isinstance(prompt, str) and isinstance(chosen, str) and isinstance(rejected, str)):
        prompt, (chosen, rejected) = join_prompt(prompt, {"chosen": chosen, "rejected": rejected}, where)
    fields["prompt"], fields["chosen"], fields["rejected"] = prompt, chosen, rejected
    return record(Paired, fields)


def _scored(row: Row, where: str, fields: dict[str, Any]) -> Scored:
    completions = _list(row["completions"], "completions", where, "A single one belongs in the column completion")
    scores = _one_score_each(completions, row, "completions", where)
    prompt = parse_text(row["prompt"], "prompt", where)
    columns = [f"completions[{i}]" for i in range(len(completions))]
    parsed = {column: parse_text(text, column, where) for column, text in zip(columns, completions, strict=True)}
    prompt, texts = join_prompt(prompt, parsed, where)
    fields |= {"prompt": prompt, "completions": tuple(texts), "scores": scores}
    return record(Scored, fields)


def _one_score_each(completions: list[Any], row: Row, column: str, where: str) -> tuple[float, ...]:
    """Return the scores of a row; refuse another number than that of its completions, and fewer than two."""
    scores = _scores(row, where)
    if len(completions) != len(scores):
        raise DataError(
            f"{where}: {column} and scores are lists of {len(completions)} and {len(scores)}; expected one score "
            "for each completion. Add the missing score, or remove the completion that has none"
        )
    if len(scores) < 2:
        raise DataError(
            f"{where}: {column} is a list of {len(scores)}; expected at least two, for one is compared with "
            "another. Add completions of the prompt, or remove the row"
        )
    return scores


def _scores(row: Row, where: str) -> tuple[float, ...]:
    scores = _list(row["scores"], "scores", where, "The score of a single completion belongs in the column score")
    return tuple(_score_of_one(value, f"scores[{i}]", where) for i, value in enumerate(scores))


def _list(value: Any, column: str, where: str, advice: str) -> list[Any]:
    expected = "a list with one entry for each completion"
    items = _decoded(value, column, expected, where, advice)
    if not isinstance(items, list):
        raise _wrong(column, value, expected, where, advice)
    return items


def _score_of_one(value: Any, column: str, where: str) -> float:
    score = finite_number(value)
    if score is None:
        raise _wrong(column, value, "a finite number", where, "Score the completion, or remove it and its entry here")
    return score


def _prompt_and_completion(row: Row, layout: Layout, where: str) -> tuple[Text, Text]:
    if "messages" in layout.columns:
        turns = parse_turns(row["messages"], "messages", where)
        if layout.kind == "demonstration":
            _refuse_rated_turns(turns, where)
        return split_last_turn(turns, where)
    if "text" in layout.columns:
        return "", _plain_text(row["text"], "text", where)
    prompt = parse_text(row["prompt"], "prompt", where)
    completion = parse_text(row["completion"], "completion", where)
    if isinstance(prompt, str) and isinstance(completion, str):
        return prompt, completion
    prompt, (completion,) = join_prompt(prompt, {"completion": completion}, where)
    return prompt, completion


def _refuse_rated_turns(turns: Iterable[Message], where: str) -> None:
    """Refuse turns with verdicts of their own, as chat tools write them: here each would be one to imitate."""
    for turn in turns:
        rated = next((field for field in turn.extra if names_a_verdict(field)), None)
        if rated is not None:
            raise DataError(
                f"{where}: a turn has {rated} {show(turn.extra[rated])}; expected turns without verdicts, for what the "
                "assistant says is to be imitated. Import them as votes: prospect data import FILE -o OUT.jsonl; or "
                "remove the field"
            )


def _plain_text(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str):
        advice = "An image answers words" if column == "prompt" else "A conversation belongs in the column messages"
        raise _wrong(column, value, "a string", where, advice)
    return encodable(value, column, where)


def _weight(value: Any, where: str) -> float:
    weight = finite_number(value)
    if weight is None or weight < 0:
        raise _wrong("weight", value, "a finite number, at least 0", where, "Use 1 for a row like any other")
    return weight


def _score(value: Any, where: str) -> float:
    score = finite_number(value)
    if score is None:
        raise _wrong("score", value, "a finite number", where, _LEAVE_OUT)
    return score


def finite_number(value: Any) -> float | None:
    """Return the value as a finite float; None if it is not one. True is a label, not the number 1."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    return None if isinstance(value, str) else number_of(value)


def _name(column: str) -> Callable[[Any, str], str]:
    def parse(value: Any, where: str) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise _wrong(column, value, "a string or a whole number", where, _LEAVE_OUT)
        return str(value)

    return parse


def _finished(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        advice = "It is false where the completion was cut short"
        raise _wrong("finished", value, "true or false", where, advice)
    return value


def _tools(value: Any, where: str) -> tuple[dict[str, Any], ...]:
    tools = _decoded(value, "tools", "a list of objects", where, "Mend the JSON")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise _wrong("tools", value, "a list of objects, one schema each", where, _LEAVE_OUT)
    return tuple(tools)


def _decoded(value: Any, column: str, expected: str, where: str, advice: str) -> Any:
    """Return the value of a cell that holds a list; text, as CSV has to write it, is read as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except ValueError:
        raise _wrong(column, value, f"{expected}, or that list as JSON", where, advice) from None


def _wrong(column: str, value: Any, expected: str, where: str, advice: str) -> DataError:
    return DataError(f"{where}: {column} is {found(value)}; expected {expected}. {advice}")


def _words(value: Any, where: str) -> str | None:
    """Provenance as text, for people to read."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if text.isascii():
        return text or None
    return text.encode(errors="replace").decode() or None


def _time(value: Any, where: str) -> datetime | None:
    return read_time(value)


def _relative(value: Any, where: str) -> bool:
    return value is True


_OPTIONAL: dict[str, Callable[[Any, str], Any]] = {
    "weight": _weight,
    "score": _score,
    "id": _name("id"),
    "rater": _name("rater"),
    "tools": _tools,
    "finished": _finished,
    "source": _words,
    "source_id": _words,
    "time": _time,
    "model": _words,
    "reason": _words,
    "relative": _relative,
}
