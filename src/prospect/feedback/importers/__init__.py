"""One file per foreign export; `ALL` is the order in which they are asked whether a file is theirs."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path

from prospect.errors import DataError, UsageError
from prospect.feedback.importers.shapes.base import Importer, Sample
from prospect.feedback.importers.shapes.reading import rows, sample
from prospect.feedback.wording import names

# A new importer is a file here that has IMPORTER (or IMPORTERS), and its name in this list.
_MODULES = (
    "open_webui",
    "langfuse",
    "langsmith",
    "argilla",
    "label_studio",
    "gradio",
    "chainlit",
    "librechat",
    "chat_ui",
    "anythingllm",
    "dify",
    "phoenix",
    "feel",
    "fastchat",
    "halos",
    "llama_factory",
    "transcripts",
    "generic",
)
GENERIC = "generic"
"""The importer of rows with our own columns, or with columns that the user names: only asked where no other knows."""

_COLUMNS_SHOWN = 12


def _importers(module: str) -> tuple[Importer, ...]:
    found = importlib.import_module(f"{__name__}.{module}")
    return found.IMPORTERS if hasattr(found, "IMPORTERS") else (found.IMPORTER,)


ALL: tuple[Importer, ...] = tuple(importer for module in _MODULES for importer in _importers(module))


def get_importer(name: str) -> Importer:
    """Return the importer of a name, as it is written on the command line."""
    for importer in ALL:
        if importer.name == name:
            return importer
    known = [importer.name for importer in ALL]
    near = difflib.get_close_matches(name, known, n=1)
    meant = f' Did you mean "{near[0]}"?' if near else ""
    raise UsageError(f"{name}: no export format of this name; expected {names(known, 'or')}.{meant}")


def detect(paths: Sequence[Path]) -> Importer:
    """Return the importer that recognises the files, by the beginning of each.

    Refuses files that two tools claim, and files that none knows.
    """
    return recognise([sample(path) for path in paths])


def recognise(samples: Sequence[Sample]) -> Importer:
    """Return the importer of the files that the samples are the beginning of; refusals are those of `detect`."""
    claims = [importer for importer in ALL if importer.name != GENERIC and importer.recognises(samples)]
    claims = claims or [importer for importer in ALL if importer.name == GENERIC and importer.recognises(samples)]
    if len(claims) == 1:
        return claims[0]
    files = names(str(one.path) for one in samples)
    if claims:
        titles = names((f"{importer.title} ({importer.name})" for importer in claims), "or")
        raise DataError(f"{files}: may be an export of {titles}. Put the format's name before the files")
    for one in samples:  # a file that cannot be read at all says so itself, better than "no known export" would
        next(iter(rows(one.path)), None)
    formats = names((importer.name for importer in ALL), "or")
    raise DataError(
        f"{files}: no known export; {columns_of(samples)}. Put the format's name before the files ({formats}), or say "
        "which columns hold what: generic FILE --map prompt=COLUMN completion=COLUMN label=COLUMN"
    )


def columns_of(samples: Sequence[Sample]) -> str:
    """Return what the files look like, in words: the columns that they have."""
    columns = sorted({str(column) for one in samples for column in one.columns})
    if not columns:
        return "found no rows with named columns"
    more = f" and {len(columns) - _COLUMNS_SHOWN} more" if len(columns) > _COLUMNS_SHOWN else ""
    return f"found the columns {', '.join(columns[:_COLUMNS_SHOWN])}{more}"
