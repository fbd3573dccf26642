"""Where their data are, as paths and hub datasets of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prospect.translate.rules import Became, listed

_BUILDERS = ("json", "csv", "parquet", "text", "arrow")
"""Names that `datasets.load_dataset` takes for a kind of file and not for a dataset."""
_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
COLUMNS = "rows are told by their columns here; prospect data inspect says how they are read"


def place(name: str, split: str | None = None) -> str:
    """Return a path, or a hub dataset with its split."""
    local = name.startswith((".", "/", "~")) or name.lower().endswith(_SUFFIXES) or Path(name).exists()
    on_hub = name.count("/") == 1 and not local
    return f"{name}:{split}" if split and split != "train" and on_hub else name


def entry_places(entry: Any) -> tuple[list[str], list[str]]:
    """Return the places of one entry of a list of datasets (TRL, Axolotl), and its keys that are not done here."""
    if not isinstance(entry, Mapping):
        return [str(entry)], []
    path, files = str(entry.get("path") or ""), _files(entry, entry.get("split") or "train")
    done = {"path", "split", "data_files", "ds_type", "type"}
    missed = [f"{key} {value}" for key, value in entry.items() if key not in done and value not in (None, False, "")]
    if path in _BUILDERS or not path:
        return files, missed
    if files and Path(path).is_dir():
        return [str(Path(path) / file) for file in files], missed
    if files:
        missed.append(f"data_files {', '.join(files)}")
    return [place(path, entry.get("split"))], missed


def files_of_split(entries: Any, split: str) -> list[str]:
    """Return the files of a split, where a list of datasets names files by split."""
    by_split = [entry for entry in listed(entries) if isinstance(entry, Mapping)]
    by_split = [entry for entry in by_split if isinstance(entry.get("data_files"), Mapping)]
    return [file for entry in by_split for file in _files(entry, split)]


def _files(entry: Mapping[str, Any], split: str) -> list[str]:
    files = entry.get("data_files")
    return [str(file) for file in listed(files.get(split) if isinstance(files, Mapping) else files)]


def entries_places(entries: Any) -> tuple[list[str], list[str]]:
    """Return the same of a list of them, each thing that is not done once."""
    found = [entry_places(entry) for entry in (entries if isinstance(entries, list) else [entries])]
    missed = dict.fromkeys(word for _, words in found for word in words)
    return [one for places, _ in found for one in places], list(missed)


def share_held_out(size: float | None) -> Became:
    """Return what becomes of a share or a number of rows that is held out."""
    if not size:
        return Became({"data.eval": None}, "nothing is held out there; 0.1 would show whether it learns")
    return Became({"data.eval": size if size < 1 else round(size)}, "split by prompt here, never by row")


def one_or_all(places: list[str]) -> str | list[str]:
    """Return a single place as itself."""
    return places[0] if len(places) == 1 else places
