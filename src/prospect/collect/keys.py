"""API keys of servers: what each may do, and for which tenant."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol, get_args

from sqlalchemy import insert, select, update

from prospect.atomic import write_json
from prospect.collect.database import Database
from prospect.collect.rows import milliseconds
from prospect.collect.tables import api_key, owned
from prospect.errors import DataError, ProspectError, UsageError

Scope = Literal["chat", "vote", "review", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_READ_AGAIN = 5.0  # seconds: so long a key lives on after it is revoked
_PREFIX = "pk-"
_LONGEST = 200  # characters


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key, without the key.

    Attributes:
        name: whose it is; unique in its tenant.
        tenant: whose turns it may see.
        scopes: what it may do.
        hash: of `hash_key`.
    """

    name: str
    tenant: str
    scopes: frozenset[Scope]
    hash: str


class KeyPlace(Protocol):
    """Where keys are kept: a file, or the store."""

    def all(self) -> list[ApiKey]:
        """Return the keys that are valid."""

    def add(self, key: ApiKey) -> None:
        """Keep a key; refuse a name that is taken."""

    def revoke(self, tenant: str, name: str) -> bool:
        """Make a key invalid; return whether there was one."""


def make_key(name: str, tenant: str, scopes: Collection[str], pepper: bytes) -> tuple[str, ApiKey]:
    """Return a new key, which is shown once, and what is kept of it.

    Raises:
        UsageError: there is no such scope, or the name is empty.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes or not name.strip():
        found = (
            f"the scope is {unknown[0]}" if unknown else "the key has no scope" if not scopes else "the name is empty"
        )
        raise UsageError(f"API key {name}: {found}; expected a name, and some of {', '.join(SCOPES)}")
    secret = _PREFIX + secrets.token_urlsafe(32)
    kept = frozenset(scope for scope in SCOPES if scope in scopes)
    return secret, ApiKey(name=name, tenant=tenant, scopes=kept, hash=hash_key(secret, pepper))


def hash_key(key: str, pepper: bytes) -> str:
    """Return what is kept of a key: BLAKE2b with a pepper that is not where the hashes are.

    Keys are 256 random bits, which nobody can try one by one, so a slow hash such as scrypt would cost each request
    50 ms and protect nothing. The pepper keeps who can write the table or file, but has no access to the server's
    configuration, from putting a key of their own there.
    """
    data = key.encode(errors="surrogatepass")
    return hashlib.blake2b(data, key=pepper[:64], digest_size=32, person=b"prospect-api-key").hexdigest()


class KeyRing:
    """The keys that a server accepts.

    Args:
        places: where they are; read again every five seconds at most.
        pepper: of `hash_key`; that of `prospect.feedback.frozen.pseudonym.rater_key`.
    """

    def __init__(self, places: Sequence[KeyPlace], pepper: bytes) -> None:
        self._places = places
        self._pepper = pepper
        self._known: dict[str, ApiKey] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def find(self, key: str) -> ApiKey | None:
        """Return a key that is valid; None for any other.

        It is looked up by its hash: how long that takes says nothing about keys to who has not the pepper.

        Raises:
            ProspectError: the keys could never be read.
        """
        if self._is_stale():
            async with self._reading:
                if self._is_stale():
                    await self._refresh()
        return self._known.get(hash_key(key, self._pepper)) if len(key) <= _LONGEST else None

    async def _refresh(self) -> None:
        """Read the keys; while they cannot be read, those known before stay valid, so that chat outlives the store."""
        try:
            self._known = {one.hash: one for one in await asyncio.to_thread(self._all)}
        except ProspectError:
            if self._read_at is None:
                raise
        self._read_at = time.monotonic()

    def _is_stale(self) -> bool:
        return self._read_at is None or time.monotonic() - self._read_at > _READ_AGAIN

    def _all(self) -> list[ApiKey]:
        return [key for place in self._places for key in place.all()]


class KeyFile:
    """Keys in a JSON file: {"keys": [{"name", "tenant", "scopes", "hash"}]}.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[ApiKey]:
        """Return the keys of the file; none where it is not there.

        Raises:
            DataError: it is damaged.
        """
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))["keys"]
            return [_key(row["name"], row["tenant"], row["scopes"], row["hash"]) for row in rows]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{self._path}: holds no API keys ({error}). Make it with `prospect collect keys`"
            ) from None

    def add(self, key: ApiKey) -> None:
        """Add a key to the file."""
        keys = self.all()
        if any((one.tenant, one.name) == (key.tenant, key.name) for one in keys):
            raise _taken(key)
        self._write([*keys, key])

    def revoke(self, tenant: str, name: str) -> bool:
        """Take a key out of the file."""
        keys = self.all()
        left = [one for one in keys if (one.tenant, one.name) != (tenant, name)]
        if len(left) < len(keys):
            self._write(left)
        return len(left) < len(keys)

    def _write(self, keys: Iterable[ApiKey]) -> None:
        write_json(self._path, {"keys": [{**asdict(key), "scopes": sorted(key.scopes)} for key in keys]})


class StoredKeys:
    """Keys in the store.

    Args:
        database: of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[ApiKey]:
        """Return the keys of all tenants: a key says whose it is."""
        with self._database.reading() as connection:
            rows = connection.execute(select(api_key).where(api_key.c.revoked.is_(None))).all()
        return [_key(row.name, row.tenant, row.scopes.split(), row.hash) for row in rows]

    def add(self, key: ApiKey) -> None:
        """Write a key."""
        with self._database.writing() as connection:
            same = owned(api_key, key.tenant).where(api_key.c.name == key.name)
            if connection.execute(same).first():
                raise _taken(key)
            row = {**asdict(key), "scopes": " ".join(sorted(key.scopes)), "created": milliseconds(datetime.now(UTC))}
            connection.execute(insert(api_key), row)

    def revoke(self, tenant: str, name: str) -> bool:
        """Mark a key as revoked; its name stays taken."""
        mine = (api_key.c.tenant == tenant, api_key.c.name == name, api_key.c.revoked.is_(None))
        with self._database.writing() as connection:
            changed = connection.execute(update(api_key).where(*mine).values(revoked=milliseconds(datetime.now(UTC))))
            return changed.rowcount > 0


def _key(name: str, tenant: str, scopes: Iterable[str], hash: str) -> ApiKey:
    return ApiKey(name=name, tenant=tenant, scopes=frozenset(s for s in SCOPES if s in set(scopes)), hash=hash)


def _taken(key: ApiKey) -> UsageError:
    return UsageError(f"API key {key.name}: tenant {key.tenant} has a key of this name. Choose another, or revoke it")
