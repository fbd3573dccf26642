"""How an importer gets its name and is found: the formats of `tools/`, and one's own in their files."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from prospect.errors import DataError, UsageError
from prospect.feedback.importers.shapes.base import Importer, Item, Options, Sample
from prospect.feedback.importers.shapes.reading import rows, sample
from prospect.feedback.wording import names
from prospect.user_code import import_file, is_own

GENERIC = "generic"
"""The importer of rows with our own columns, or with columns that the user names: only asked where no other knows."""

_COLUMNS_SHOWN = 12
_REGISTRY: dict[str, Importer] = {}

Read = Callable[[Sequence[Path], Options], Iterator[Item]]


def importer(name: str, **traits: Any) -> Callable[[Read], Importer]:
    """Register a function as the importer of a format.

    The function takes the export's files and the user's options, and yields one item for every verdict that they hold,
    usable or not.

    Args:
        name: the format's name on the command line.
        **traits: further fields of `Importer`.

    Raises:
        UsageError: traits that no importer has or that are missing, and a name that is taken.
    """

    def register(read: Read) -> Importer:
        try:
            made = Importer(name=name, read=read, **traits)
        except TypeError as error:
            raise UsageError(f"importer {name}: {error}. See `Importer` in {Importer.__module__}.") from None
        taken = _REGISTRY.get(name)
        if taken is not None and _home(taken) != _home(made):
            raise UsageError(f'an importer named "{name}" exists already, in {_home(taken)}; choose another name.')
        _REGISTRY[name] = made
        return made

    return register


def _home(importer: Importer) -> str:
    return importer.read.__code__.co_filename


@cache
def _load_tools() -> None:
    tools = importlib.import_module(f"{__name__}.tools")
    for module in pkgutil.iter_modules(tools.__path__, f"{tools.__name__}."):
        importlib.import_module(module.name)


def all_importers() -> tuple[Importer, ...]:
    """Return every registered importer, by name."""
    _load_tools()
    return tuple(_REGISTRY[name] for name in sorted(_REGISTRY))


def get_importer(name: str) -> Importer:
    """Return the importer of a name, or of `file.py:function` for one's own.

    Raises:
        UsageError: there is none; the nearest name is suggested.
    """
    if is_own(name):
        return _load_own(name)
    known = [importer.name for importer in all_importers()]
    if name in known:
        return _REGISTRY[name]
    near = difflib.get_close_matches(name, known, n=1)
    meant = f' Did you mean "{near[0]}"?' if near else ""
    raise UsageError(
        f"{name}: no export format of this name; expected {names(known, 'or')}, or my_file.py:NAME for your own.{meant}"
    )


def _load_own(address: str) -> Importer:
    """Import `file.py:function`; the file is the user's own code and run as such."""
    file, _, attribute = address.rpartition(":")
    path = Path(file).expanduser().resolve()
    made = getattr(import_file(path), attribute, None)
    if not isinstance(made, Importer):
        found = "nothing" if made is None else type(made).__name__
        raise UsageError(
            f'{address}: "{attribute}" in {path} is {found}; expected a function under @importer(...). Decorate it.'
        )
    return made


def detect(paths: Sequence[Path]) -> Importer:
    """Return the importer that recognises the files, by the beginning of each.

    Refuses files that two tools claim, and files that none knows.
    """
    return recognise([sample(path) for path in paths])


def recognise(samples: Sequence[Sample]) -> Importer:
    """Return the importer of the files that the samples are the beginning of; refusals are those of `detect`."""
    claims = [one for one in all_importers() if one.recognises(samples)]
    claims = [one for one in claims if one.name != GENERIC] or claims
    if len(claims) == 1:
        return claims[0]
    files = names(str(one.path) for one in samples)
    if claims:
        titles = names((f"{importer.title} ({importer.name})" for importer in claims), "or")
        raise DataError(f"{files}: may be an export of {titles}. Put the format's name before the files")
    for one in samples:  # a file that cannot be read at all says so itself, better than "no known export" would
        next(iter(rows(one.path)), None)
    formats = names((one.name for one in all_importers()), "or")
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
