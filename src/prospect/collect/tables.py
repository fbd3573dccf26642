"""The tables of the store, on SQLite and PostgreSQL, and the one function that builds queries on them.

The tenant comes last in an index: without statistics SQLite takes it for choosy, and would look for a few turns by id
among all turns of a tenant. Times are milliseconds since 1970 in UTC. Texts are JSON in UTF-8, compressed where that is
longer than 1 kB.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    SmallInteger,
    Table,
    Text,
    select,
)

metadata = MetaData()

_counted = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER counts by itself in SQLite

turn = Table(
    "turn",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("conversation", Text, nullable=False),
    Column("parent", Text, ForeignKey("turn.id")),
    Column("sibling_group", Text),
    Column("rater", Text),
    Column("consent", Boolean, nullable=False),
    Column("said", LargeBinary),  # {"messages": those that the parent has not, "tools": of a root}, or {"text": prompt}
    Column("answer", LargeBinary),  # the completion
    Column("reach", Text),  # hash of the history with the completion
    Column("ended", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("fingerprint", Text),
    Column("arm", Text),
    Column("sampling", Text, nullable=False),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("ms_first", Float),
    Column("ms_last", Float),
    Column("created", BigInteger, nullable=False),
    Column("upstream_id", Text),
    Column("purged", BigInteger),  # when its text was deleted
    Index("turn_reach", "reach"),
    Index("turn_conversation", "conversation", "created", "tenant"),
    Index("turn_model", "model", "arm", "consent", "created", "tenant"),
)

event = Table(
    "event",
    metadata,
    Column("id", _counted, primary_key=True, autoincrement=True),
    Column("tenant", Text, nullable=False),
    Column("kind", Text, nullable=False),  # vote, one of EVENTS, or of reviewers: opened, review, redacted
    Column("turn", Text, ForeignKey("turn.id"), nullable=False),
    Column("rater", Text),
    Column("other", Text, ForeignKey("turn.id")),
    Column("detail", Text),  # JSON; null once purged
    Column("key", Text),  # of idempotency
    Column("at", BigInteger, nullable=False),
    Index("event_key", "key", "tenant", unique=True),
    Index("event_turn", "turn"),
    Index("event_rater", "rater", "tenant"),
    sqlite_autoincrement=True,
)

vote = Table(
    "vote",
    metadata,
    Column("turn", Text, ForeignKey("turn.id"), primary_key=True),
    Column("rater", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("value", SmallInteger, nullable=False),
    Column("reason", Text),
    Column("comment", Text),
    Column("correction", Text),
    Column("version", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("event", _counted, ForeignKey("event.id"), nullable=False),  # the last that changed it
    Column("model", Text),  # of the turn, with its arm and when it was created
    Column("arm", Text),
    Column("shown", BigInteger),
    Index("vote_rater", "rater", "tenant"),
    Index("vote_event", "event", "tenant"),
    Index("vote_model", "model", "arm", "turn", "value", "shown", "tenant"),  # to count from, and nothing else
)

review = Table(
    "review",
    metadata,
    Column("turn", Text, ForeignKey("turn.id"), primary_key=True),
    Column("reviewer", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("verdict", SmallInteger),  # 1, -1, 0 for passed over; null while it is open
    Column("blind", SmallInteger),  # the first of 1 and -1, given before the votes were shown
    Column("note", Text),
    Column("open_until", BigInteger),  # so long a place is kept for who opened it
    Column("version", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("review_reviewer", "reviewer", "tenant"),
)

reward = Table(
    "reward",
    metadata,
    Column("turn", Text, ForeignKey("turn.id"), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("policy", Text, nullable=False),  # a hash of its weights, and of what it was compared with
    Column("value", Float, nullable=False),  # its implied reward of the answer
    Column("at", BigInteger, nullable=False),
    Index("reward_tenant", "tenant"),
)

api_key = Table(
    "api_key",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # separated by spaces
    Column("created", BigInteger, nullable=False),
    Column("revoked", BigInteger),
    Index("api_key_name", "tenant", "name", unique=True),
)

export = Table(
    "export",
    metadata,
    Column("id", _counted, primary_key=True, autoincrement=True),
    Column("tenant", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("settings", Text, nullable=False),  # JSON
    Column("turns", LargeBinary, nullable=False),  # sorted 8-byte digests of the turns in it
    Index("export_tenant", "tenant"),
)

setting = Table(
    "setting",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

tombstone = Table(
    "tombstone",
    metadata,
    Column("id", _counted, primary_key=True, autoincrement=True),
    Column("tenant", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("what", Text, nullable=False),  # rater, conversation, turn or retention
    Column("mark", Text),  # keyed hash of whose or which
    Column("reason", Text),
    Column("turns", Integer, nullable=False),
    Column("votes", Integer, nullable=False),
    Index("tombstone_tenant", "tenant"),
)


def owned(table: Table, tenant: str | BindParameter[str], *columns: Any) -> Select[Any]:
    """Return a query on a table's rows of one tenant; every query on the store starts here."""
    return select(*(columns or (table,))).where(table.c.tenant == tenant)
