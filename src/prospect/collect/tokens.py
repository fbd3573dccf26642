"""Tokens with which a browser may vote on one turn as one rater, and on nothing else."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from prospect.secret_keys import SecretKeys

VOTE_KEYS = SecretKeys(
    variable="PROSPECT_VOTE_KEYS",
    file="vote_keys",
    purpose="the keys of vote tokens",
    loss="tokens that were given out before are refused",
    several=True,
)
LIFETIME = timedelta(days=30)  # people come back to a conversation; a vote a month later says little
_MAC_BYTES = 16  # 128 bits cannot be tried through a server
_LONGEST = 1024  # characters of a token
_LOOKED_AGAIN = 10.0  # seconds between two looks for a key that a token names
_READ_AGAIN = 60.0  # seconds after which the newest key may be another


class Claims(NamedTuple):
    """What a token allows: a vote on this turn by this rater."""

    tenant: str
    turn: str
    rater: str


class Signer:
    """Makes and checks tokens.

    A token is `KEY.CLAIMS.MAC`: the id of the key, the claims with the last second of the token, and HMAC-SHA256 over
    both. It is signed with the newest key, and good with any key that is still there.

    Args:
        read: returns the keys, the newest first; asked again every minute, and at most every ten seconds when a token
            names one that is not known.
    """

    def __init__(self, read: Callable[[], list[bytes]] = VOTE_KEYS.read) -> None:
        self._read = read
        self._load()

    def _load(self) -> None:
        keys = self._read()
        self._keys = {
            hashlib.blake2b(key, digest_size=4).hexdigest(): hmac.new(key, digestmod="sha256") for key in keys
        }
        self._newest = next(iter(self._keys))
        self._loaded = time.monotonic()

    def sign(self, claims: Claims, now: datetime, lifetime: timedelta = LIFETIME) -> str:
        """Return the token of these claims."""
        if time.monotonic() - self._loaded > _READ_AGAIN:
            self._load()
        last = int((now + lifetime).timestamp())
        said = f"{self._newest}.{_encoded(json.dumps([*claims, last], separators=(',', ':')).encode())}"
        return f"{said}.{_encoded(_mac(self._keys[self._newest], said))}"

    def check(self, token: str, now: datetime) -> Claims | None:
        """Return what a token allows; None for one that is forged, damaged or too old, without saying which."""
        said, _, mac = token.rpartition(".")
        key = self._key(said.partition(".")[0]) if len(token) <= _LONGEST else None
        if key is None or not hmac.compare_digest(
            _encoded(_mac(key, said)).encode(), mac.encode(errors="surrogatepass")
        ):
            return None
        try:
            tenant, turn, rater, last = json.loads(base64.urlsafe_b64decode(said.partition(".")[2] + "=="))
        except (ValueError, binascii.Error):
            return None
        return Claims(tenant, turn, rater) if now.timestamp() <= last else None

    def _key(self, id: str) -> hmac.HMAC | None:
        if id not in self._keys and time.monotonic() - self._loaded > _LOOKED_AGAIN:
            self._load()
        return self._keys.get(id)


def _mac(key: hmac.HMAC, said: str) -> bytes:
    mac = key.copy()  # `hmac.digest` lets other threads run, and under load waits for them longer than it computes
    mac.update(said.encode(errors="surrogatepass"))
    return mac.digest()[:_MAC_BYTES]


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
