"""Where feedback comes from: a file, a glob, a list of them, or a dataset on the hub."""

from __future__ import annotations

import difflib
import glob
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prospect.errors import DataError
from prospect.feedback.files.csv_reader import read_csv
from prospect.feedback.files.image_folders import folder_files, image_folder, read_image_folder
from prospect.feedback.files.manifest import ROWS, frozen_folder
from prospect.feedback.files.patterns import matching_files
from prospect.feedback.files.prompts import read_prompt
from prospect.feedback.files.readers import (
    RawRow,
    is_saved_dataset,
    read_hub,
    read_json,
    read_jsonl,
    read_parquet,
    read_saved,
)
from prospect.feedback.files.rows import Ignored, RowParser
from prospect.feedback.files.store.source import read_store
from prospect.feedback.records import Feedback, Text
from prospect.feedback.wording import names
from prospect.file_kinds import kind_of
from prospect.progress import counted

Source = str | Path | Sequence[str | Path]

_READERS = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".sqlite": read_store,
}
_SUFFIXES = tuple(_READERS)
_HUB_NAME = re.compile(r"(?P<name>[\w-][\w.-]*/[\w.-]+)(:(?P<split>[\w.+%:\[\]-]+))?")


def load_feedback(
    source: Source, *, label_map: Mapping[Any, bool] | None = None, ignored: Counter[Ignored] | None = None
) -> list[Feedback]:
    """Return the records of a source, in its order.

    Args:
        source: a file (.jsonl, .ndjson, .json, .csv, .tsv, .parquet, or the .sqlite of `prospect serve`), a glob, a
            folder of images (`liked/` and `disliked/`, or with metadata), a dataset that Datasets saved to disk, a hub
            dataset `owner/name` or `owner/name:split` (default split: train), or a list of these. A local file of that
            name wins.
        label_map: label -> desirable, for labels other than true/false, 1/0 and 1/-1.
        ignored: gets the columns that look like a verdict or a second answer and are not read, with their rows.

    Refuses, with file and line: files that are missing, empty or broken, columns that make no kind of
    feedback, labels nobody declared, cells of a wrong type, and two kinds in one file.
    """
    return list(iter_feedback(source, label_map=label_map, ignored=ignored))


def iter_feedback(
    source: Source, *, label_map: Mapping[Any, bool] | None = None, ignored: Counter[Ignored] | None = None
) -> Iterator[Feedback]:
    """Return an iterator over the records of a source; files are found at once, and read as you go.

    Arguments and refusals are those of `load_feedback`.
    """
    places = find_places(source)
    return (record for place in places for record in iter_place(place, RowParser(label_map, ignored, place=place)))


def iter_scores(source: Source) -> Iterator[tuple[float, ...]]:
    """Return an iterator over the scores of each row of a source; only the scores are read and checked."""
    for place in find_places(source):
        parser = RowParser(place=place)
        for where, _, row in raw_rows(place):
            yield parser.scores(row, where)


def find_places(source: Source) -> list[Path | str]:
    """Return the files (paths) and hub datasets (strings) that a source names."""
    if isinstance(source, str | Path):
        return _find(source)
    places = [place for item in source for place in _find(item)]
    if not places:
        raise DataError("the list of feedback sources is empty; expected a file, a glob or a hub dataset")
    return places


def _find(source: str | Path) -> list[Path | str]:
    path = Path(source).expanduser()
    try:
        return _existing(source, path)
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}. Check the name and its permissions") from error


def _existing(source: str | Path, path: Path) -> list[Path | str]:
    if path.is_dir() and frozen_folder(path) is not None:
        path = path / ROWS
    if path.is_dir():
        return [_folder(source, path)]
    if path.exists():
        return [_known_format(path)]
    if isinstance(source, str) and _is_hub_name(source):
        return [source]
    if glob.has_magic(str(path)):
        files = matching_files(str(path))
        if files:
            return [_known_format(file) for file in files]
        raise DataError(f"{source}: no file matches. Check the pattern and the current folder, {Path.cwd()}")
    raise DataError(f"{source}: no such file. {_nearest_file(path)}")


def _folder(source: str | Path, path: Path) -> Path:
    """Return where the rows of a folder are; refuse one that only holds files of feedback."""
    if is_saved_dataset(path):
        return path
    rows = image_folder(path)
    if rows is None:
        raise DataError(f'{source}: is a folder; expected files. Name them, with a glob: "{path}/*.jsonl"')
    return rows


def folder_contents(folder: Path) -> list[Path]:
    """Return the files that the rows of a folder, as `find_places` returns one, are read from."""
    if is_saved_dataset(folder):
        return sorted(path for path in folder.rglob("*") if path.is_file())
    return folder_files(folder)


def _known_format(path: Path) -> Path:
    if not path.is_file():
        raise DataError(
            f"{path}: is {kind_of(path.stat())}; expected a file, for feedback is read more than once. Write it to one"
        )
    if path.suffix.lower() in _READERS:
        return path
    raise DataError(
        f"{path}: the name ends in {path.suffix or 'no suffix'}; expected {names(_SUFFIXES, 'or')}. "
        "Rename it if it is one of these, else convert it"
    )


def _is_hub_name(source: str) -> bool:
    """`owner/name` is a dataset, `data/train.jsonl` a missing file: the hub cannot help with a typo."""
    return bool(_HUB_NAME.fullmatch(source)) and not source.lower().endswith(_SUFFIXES)


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent} either; the current folder is {Path.cwd()}"
    neighbours = [p.name for p in path.parent.iterdir() if p.suffix.lower() in _SUFFIXES]
    near = difflib.get_close_matches(path.name, neighbours, n=1)
    if near:
        return f'Did you mean "{path.parent / near[0]}"?'
    if path.parent == Path():
        return f"Look in the current folder, {Path.cwd()}; a dataset on the hub is named owner/name"
    return f"Look in {path.parent.resolve()}"


def iter_place(place: Path | str, parser: RowParser) -> Iterator[Feedback]:
    """Yield the records of one file or hub dataset; refuse one without rows."""
    where = None
    for where, default_id, row in raw_rows(place):
        yield parser.parse(row, where, default_id)
    if where is None:
        raise nothing_in(place)


def nothing_in(place: Path | str) -> DataError:
    """Return the refusal of a file or dataset without rows."""
    size = place.stat().st_size if isinstance(place, Path) else None
    found = "the file is empty" if size == 0 else "there are no rows"
    return DataError(f"{place}: {found}; expected at least one row of feedback. Check how it was written")


def raw_rows(place: Path | str) -> Iterator[RawRow]:
    """Return an iterator over the rows of one place of `find_places`, as they stand there."""
    if isinstance(place, str):
        match = _HUB_NAME.fullmatch(place)
        assert match is not None
        return read_hub(match["name"], match["split"] or "train")
    if place.is_dir():
        return counted(read_saved(place) if is_saved_dataset(place) else read_image_folder(place), "rows", every=64)
    rows = _READERS[place.suffix.lower()](place)
    # JSON lines count bytes, of which the total is known.
    return rows if _READERS[place.suffix.lower()] is read_jsonl else counted(rows, f"rows of {place.name}", every=1024)


def load_prompts(source: Source) -> list[Text]:
    """Return the prompts of a source's rows, in its order; see `read_prompt` for where they are and what is refused."""
    prompts = [read_prompt(row, where) for place in find_places(source) for where, _, row in raw_rows(place)]
    if not prompts:
        raise DataError(f"{source}: there are no rows; expected at least one with a prompt")
    return prompts
