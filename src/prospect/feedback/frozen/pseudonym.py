"""Raters under another name: a keyed hash, so that nobody without the key can try names until one fits."""

from __future__ import annotations

import hashlib

from prospect.secret_keys import SecretKeys

RATER_KEY = SecretKeys(
    variable="PROSPECT_RATER_KEY",
    file="rater_key",
    purpose="the key of the raters' pseudonyms",
    loss="raters get other names than before",
)


def pseudonym(rater: str, key: bytes) -> str:
    """Return the name of a rater in our files: the same for the same rater and key, and not to be undone.

    BLAKE2b with the key, of which 64 bits are kept: among a million raters two share a name with a chance of one in
    thirty million.
    """
    digest = hashlib.blake2b(rater.encode(errors="surrogatepass"), key=key[:64], digest_size=8)
    return f"r-{digest.hexdigest()}"


def rater_key() -> bytes:
    """Return the key of this user's pseudonyms, the same in every import, so that one rater keeps one name.

    Refusals are those of `SecretKeys.read`.
    """
    return RATER_KEY.read()[0]
