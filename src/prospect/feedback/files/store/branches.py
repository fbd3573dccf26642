"""The prompts of stored turns: each turn keeps what is new in it, and its parents have the rest."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prospect.errors import DataError
from prospect.feedback.files.store.text import unpack

Query = Callable[[str, Mapping[str, Any]], Iterable[Sequence[Any]]]
"""Runs SQL with `:name` for values, on SQLite or PostgreSQL, and gives its rows one at a time."""

LONGEST = 10_000  # turns of one branch; a longer one goes round in a circle
_REMEMBERED = 16 << 20  # bytes of text as it is kept
_AT_ONCE = 256  # turns of one query


_TEXTS = "SELECT id, parent, said, answer FROM turn WHERE tenant = :tenant AND id IN"


class Text(NamedTuple):
    """What one turn keeps: the part of the prompt that is new, the answer, and the turn before."""

    said: Mapping[str, Any] | None
    answer: Any
    parent: str | None
    size: int


class Branches:
    """Rebuilds prompts from the turns of one tenant. It remembers the texts read last, up to 16 MB of them.

    Args:
        query: asks the store.
        tenant: whose turns.
    """

    def __init__(self, query: Query, tenant: str) -> None:
        self._query = query
        self._tenant = tenant
        self._texts: OrderedDict[str, Text] = OrderedDict()
        self._size = 0

    def read_ahead(self, ids: Iterable[str]) -> None:
        """Read the texts of turns whose prompts will be asked for, and those of the turns before them.

        As far as memory allows: what is not there is read when it is asked for.
        """
        wanted, size = [id for id in dict.fromkeys(ids) if id not in self._texts], 0
        while wanted and size < _REMEMBERED // 2:
            size += self._read(wanted)
            parents = (self._texts[id].parent for id in wanted if id in self._texts)
            wanted = [id for id in dict.fromkeys(parents) if id is not None and id not in self._texts]

    def prompt(self, id: str) -> tuple[str | list[dict[str, Any]], list[dict[str, Any]] | None]:
        """Return the prompt of a turn, and the tools that the model was offered.

        Raises:
            DataError: a turn of its branch has no text, or the store is damaged.
        """
        parts: list[list[dict[str, Any]]] = []
        one = self._text(id)
        for _ in range(LONGEST):
            if one.said is None:
                raise DataError(f"turn {id}: an earlier turn of its branch has no text")
            if "text" in one.said:
                return one.said["text"], None
            parts.append(one.said["messages"])
            if one.parent is None:
                messages = [message for part in reversed(parts) for message in part]
                return messages, one.said.get("tools")
            one = self._text(one.parent)
            parts.append([one.answer])
        raise DataError(f"turn {id}: its branch goes round in a circle. Take the store from a backup")

    def answer(self, id: str) -> Any:
        """Return the answer of a turn: a message, text, or None."""
        return self._text(id).answer

    def _text(self, id: str) -> Text:
        if id not in self._texts:
            self._read([id])
        try:
            self._texts.move_to_end(id)
            return self._texts[id]
        except KeyError:
            raise DataError(f"turn {id}: is not in the store, though others follow it. Use a backup") from None

    def _read(self, ids: Sequence[str]) -> int:
        """Read the texts of some turns, and return their size in bytes."""
        before = self._size
        # The last one fills up, so that there are few statements, which the database need not read again and again.
        filled = itertools.islice(itertools.chain(ids, itertools.repeat(ids[-1])), 1 << (len(ids) - 1).bit_length())
        names = {f"id{number}": id for number, id in enumerate(filled)}
        some = ", ".join(f":{name}" for name in names)
        sql = f"{_TEXTS} ({some})"
        for id, parent, said, answer in self._query(sql, {"tenant": self._tenant, **names}):
            kept = Text(
                None if said is None else unpack(said),
                None if answer is None else unpack(answer),
                parent,
                len(said or b"") + len(answer or b""),
            )
            self._texts[id] = kept
            self._size += kept.size
        read = self._size - before
        while self._size > _REMEMBERED and len(self._texts) > len(ids):
            _, gone = self._texts.popitem(last=False)
            self._size -= gone.size
        return read


def paged(rows: Iterable[Sequence[Any]], size: int = _AT_ONCE) -> Iterator[list[Sequence[Any]]]:
    """Yield the rows in lists of `size`."""
    page: list[Sequence[Any]] = []
    for row in rows:
        page.append(row)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
