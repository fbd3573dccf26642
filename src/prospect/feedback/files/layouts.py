"""Column layouts: which columns make which kind of feedback, and what to say when they make none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from prospect.errors import DataError
from prospect.feedback.records import PROVENANCE, Kind
from prospect.feedback.wording import names


class Layout(NamedTuple):
    """The columns that a row must have to be read as one kind of feedback, and whether its completions are images."""

    kind: Kind
    columns: tuple[str, ...]
    of_images: bool = False

    def __str__(self) -> str:
        article = "a " if self.kind == "demonstration" else ""
        return f"{article}{self.kind} ({', '.join(self.columns)})"


# The first one that fits is taken, so a row of pairs that also has `messages` is a pair.
LAYOUTS = (
    Layout("paired", ("prompt", "chosen", "rejected")),
    Layout("paired", ("chosen", "rejected")),
    Layout("unpaired", ("prompt", "completion", "label")),
    Layout("unpaired", ("messages", "label")),
    Layout("scored", ("prompt", "completions", "scores")),
    Layout("demonstration", ("prompt", "completion")),
    Layout("demonstration", ("messages",)),
    Layout("demonstration", ("text",)),
    Layout("paired", ("prompt", "chosen_image", "rejected_image"), of_images=True),
    Layout("unpaired", ("prompt", "image", "label"), of_images=True),
    Layout("scored", ("prompt", "images", "scores"), of_images=True),
    Layout("demonstration", ("prompt", "image"), of_images=True),
)
OPTIONAL_COLUMNS = ("weight", "score", "id", "rater", "tools", "finished", *PROVENANCE)
UNDERSTOOD = (
    "Understood: unpaired (prompt, completion, label), paired (prompt, chosen, rejected), scored (prompt, "
    "completions, scores) and demonstrations (prompt, completion, or messages, or text)"
)
_UNDERSTOOD_OF_IMAGES = (
    "Understood: thumbs (prompt, image, label), pairs (prompt, chosen_image, rejected_image), scored images (prompt, "
    "images, scores) and images to imitate (prompt, image)"
)

_IMPORT = "Or let it be read as it is: prospect data import FILE -o OUT.jsonl."
_IMAGES = {"image", "images", "chosen_image", "rejected_image"}
_THUMBS = {"prompt", "completion", "label"}
_VERDICTS = {"label", "chosen", "rejected"}
_TEXTS = {"completion", "completions", "messages", "chosen", "rejected"}
_GROUP = {"completions", "scores"}
# What makes a row one kind and no other; a row with two of these says two things.
_EVIDENCE: tuple[tuple[Kind, tuple[str, str]], ...] = (
    ("paired", ("chosen", "rejected")),
    ("unpaired", ("completion", "label")),
    ("scored", ("completions", "scores")),
)
_IMAGE_EVIDENCE: tuple[tuple[Kind, tuple[str, str]], ...] = (
    ("paired", ("chosen_image", "rejected_image")),
    ("unpaired", ("image", "label")),
    ("scored", ("images", "scores")),
)
_REQUIRED = tuple(dict.fromkeys(column for layout in LAYOUTS for column in layout.columns))
_OTHER_NAMES = {
    "prompt": ("instruction", "question", "query", "input", "context"),
    "completion": ("response", "answer", "output", "generation", "reply", "text"),
    "messages": ("conversations", "conversation", "chat"),
    "label": ("thumbs", "thumb", "verdict", "rating", "feedback", "vote", "liked", "desirable", "kto_tag"),
    "chosen": ("winner", "preferred", "accepted"),
    "rejected": ("loser", "dispreferred"),
    "completions": ("responses", "answers", "outputs", "generations", "candidates"),
    "scores": ("rewards", "ratings"),
}


def find_layout(row: Mapping[str, Any], where: str) -> Layout:
    """Return the layout of a row by its columns; a null cell counts as an absent one, a null label does not.

    Refuses rows that only have prompts, step-by-step labels, two layouts at once, or a column too few.
    """
    columns = {column for column, cell in row.items() if cell is not None or column == "label"}
    if {"completions", "labels"} <= columns:
        raise DataError(
            f"{where}: columns completions and labels are stepwise supervision, one label per step; expected "
            "one label for a whole completion. Join the steps into completion, with label true where every "
            "step is right"
        )
    kinds = _kinds_at_once(columns, row)
    if len(kinds) > 1:
        raise DataError(f"{where}: the row is both {kinds[0]} and {kinds[1]}; expected one kind. Write it as two files")
    for layout in LAYOUTS:
        if columns.issuperset(layout.columns) and not _lacks_a_column(layout, columns, row):
            return layout
    raise DataError(f"{where}: {_what_is_missing(row, columns)}")


def _kinds_at_once(columns: set[str], row: Mapping[str, Any]) -> list[str]:
    said = columns - {"label"} if row.get("label") is None else columns
    evidence = _IMAGE_EVIDENCE if columns.isdisjoint(_TEXTS) else _EVIDENCE
    return [f"{kind} ({', '.join(needed)})" for kind, needed in evidence if said.issuperset(needed)]


def _lacks_a_column(layout: Layout, columns: set[str], row: Mapping[str, Any]) -> bool:
    """Whether other columns speak for a fuller layout, so that ignoring them would lose what people said."""
    if layout.of_images:  # an image beside text is no completion, and half a pair no demonstration
        return not columns.isdisjoint(_TEXTS) or not (columns & _IMAGES).issubset(layout.columns)
    if layout.kind == "demonstration":
        return bool(_verdicts(columns)) or (layout.columns == ("text",) and "prompt" in columns)
    if layout.columns == ("chosen", "rejected"):  # two answers that only share "The " have no prompt in them
        return isinstance(row["chosen"], str) and not columns.isdisjoint(_OTHER_NAMES["prompt"])
    return False


def _verdicts(columns: set[str]) -> set[str]:
    """Return the columns that judge. Scores do so beside completions; alone they may be anything."""
    return columns & (_VERDICTS | _GROUP if columns >= _GROUP else _VERDICTS)


def _what_is_missing(row: Mapping[str, Any], columns: set[str]) -> str:
    if columns.intersection(_REQUIRED) == {"prompt"} and not _suggestions(columns):
        return (
            "the row is a prompt only; nobody has answered it, so there is nothing to learn from. Generate "
            f"completions (prospect generate MODEL --prompts FILE) and have them labelled. {UNDERSTOOD}"
        )
    meant = _suggestions(columns)
    named = columns.union(want for _, want in meant)
    if not columns.isdisjoint(_IMAGES) and named.isdisjoint({"prompt", *_TEXTS}):
        return (
            "there is no prompt; expected the words that the image was made for, in the column prompt, or in a folder "
            f"in a .txt file beside the image. Found {names(row)}"
        )
    closest = max(LAYOUTS, key=lambda layout: _fit(layout, columns, row))
    missing = [column for column in closest.columns if column not in columns]
    state = "null" if all(column in row for column in missing) else "missing"
    plural = len(missing) > 1
    return " ".join(
        [
            f"column{'s' * plural} {names(missing)} {'are' if plural else 'is'} {state}; found {names(row)}.",
            *(f'Found "{have}": did you mean "{want}"? Rename it.' for have, want in meant),
            *([_IMPORT] if meant and named >= _THUMBS else []),
            _UNDERSTOOD_OF_IMAGES if closest.of_images else UNDERSTOOD,
        ]
    )


def _fit(layout: Layout, columns: set[str], row: Mapping[str, Any]) -> tuple[int, int, bool]:
    """More verdict columns in common first, then fewer columns missing; then images whose column is there and null."""
    renamed = columns | {want for _, want in _suggestions(columns)}
    missing = set(layout.columns) - renamed
    judged = _verdicts(renamed) | renamed & {"chosen_image", "rejected_image"}
    null = layout.of_images and row.keys() >= set(layout.columns)
    return len(judged.intersection(layout.columns)), -len(missing), null


def _suggestions(columns: Iterable[str]) -> list[tuple[str, str]]:
    """Return (found, meant) for unknown columns whose name is near, or another word for, a known one."""
    columns = set(columns)
    meant: dict[str, str] = {}
    for column in sorted(columns - {*_REQUIRED, *OPTIONAL_COLUMNS} | columns & {"text"}):
        name = _meant_by(column)
        if name and name not in columns:
            meant.setdefault(name, column)
    return [(have, want) for want, have in meant.items()]


def _meant_by(column: str) -> str | None:
    word = column.strip().lower()
    for name, others in _OTHER_NAMES.items():
        if word == name or word in others:
            return name
    near = difflib.get_close_matches(word, _REQUIRED, n=1, cutoff=0.75)
    return near[0] if near else None
