"""Taking words out of a conversation for good: personal data, and what a reviewer marks."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, update

from prospect.collect.review import log_review, require_readable
from prospect.collect.tables import event, owned, review, turn, vote
from prospect.feedback.files.store.branches import paged
from prospect.feedback.files.store.text import pack, unpack
from prospect.feedback.importers.made_rows import redacted, with_texts

MARKED = "[REDACTED]"
_WORDS = ("comment", "correction", "note")  # what people wrote, in the detail of an event


class Redaction:
    """Replaces words in the whole conversation of a turn: prompts, answers, and what people wrote about them.

    The hashes by which later turns find earlier ones stay, so that a conversation goes on, and its next turn does not
    bring the words back. Exports that were written before still have them.

    Args:
        marked: texts to replace wherever they occur; personal data is replaced in any case.
    """

    def __init__(self, marked: Sequence[str]) -> None:
        self._marked = sorted(set(marked), key=len, reverse=True)  # a text before its parts

    def apply(self, connection: Connection, tenant: str, id: str, reviewer: str, now: datetime) -> dict[str, int]:
        """Replace, and return how many of each kind: email, phone, ..., and `marked`.

        Raises:
            UnknownTurnError: the tenant has no such turn with text.
        """
        require_readable(connection, tenant, id)
        found: Counter[str] = Counter()

        def changed(value: Any) -> Any:
            return redacted(with_texts(value, lambda text: self._without_marked(text, found)), found)

        conversation = owned(turn, tenant, turn.c.conversation).where(turn.c.id == id).scalar_subquery()
        ids = list(
            connection.execute(owned(turn, tenant, turn.c.id).where(turn.c.conversation == conversation)).scalars()
        )
        texts: dict[str, Callable[[Any], Any]] = {"said": _packed(changed), "answer": _packed(changed)}
        texts["sampling"] = _in_json(changed)  # it holds the strings to stop at
        _rewrite(connection, tenant, turn, turn.c.id, ids, texts)
        _rewrite(connection, tenant, vote, vote.c.turn, ids, {"comment": changed, "correction": changed})
        _rewrite(connection, tenant, review, review.c.turn, ids, {"note": changed})
        counts = dict(found)

        def in_words(detail: dict[str, Any]) -> dict[str, Any]:
            return {name: changed(value) if name in _WORDS else value for name, value in detail.items()}

        _rewrite(connection, tenant, event, event.c.turn, ids, {"detail": _in_json(in_words)})  # said before: counted
        log_review(connection, tenant, id, reviewer, "redacted", now, counts)
        return counts

    def _without_marked(self, text: str, found: Counter[str]) -> str:
        for one in self._marked:
            if count := text.count(one):
                found["marked"] += count
                text = text.replace(one, MARKED)
        return text


def _packed(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    return lambda kept: pack(change(unpack(kept)))


def _in_json(change: Callable[[Any], Any]) -> Callable[[str], str]:
    return lambda kept: json.dumps(change(json.loads(kept)))


def _rewrite(
    connection: Connection,
    tenant: str,
    table: Table,
    of_turn: Any,
    ids: Sequence[str],
    changes: dict[str, Callable[[Any], Any]],
) -> None:
    """Change columns of the rows of some turns."""
    keys = list(table.primary_key.columns)
    pages = (connection.execute(owned(table, tenant).where(of_turn.in_(some))).all() for some in paged(ids))
    for row in itertools.chain.from_iterable(pages):
        old = {name: getattr(row, name) for name in changes}
        new = {name: None if value is None else changes[name](value) for name, value in old.items()}
        if new != old:
            place = [key == getattr(row, key.name) for key in keys]
            connection.execute(update(table).where(table.c.tenant == tenant, *place).values(new))
