"""Raters under another name: a keyed hash, so that nobody without the key can try names until one fits."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from pathlib import Path

from prospect.errors import ConfigError

KEY_VARIABLE = "PROSPECT_RATER_KEY"

_SHORTEST_KEY = 16  # characters; a shorter one could be found by trying
_KEY_BYTES = 32


def pseudonym(rater: str, key: bytes) -> str:
    """Return the name of a rater in our files: the same for the same rater and key, and not to be undone.

    BLAKE2b with the key, of which 64 bits are kept: among a million raters two share a name with a chance of one in
    thirty million.
    """
    digest = hashlib.blake2b(rater.encode(errors="surrogatepass"), key=key[:64], digest_size=8)
    return f"r-{digest.hexdigest()}"


def rater_key() -> bytes:
    """Return the key of this user's pseudonyms, the same in every import, so that one rater keeps one name.

    It is made of the environment variable PROSPECT_RATER_KEY; where that is not set, it is read from a file in the
    user's configuration folder, which is made at the first need and which nobody else may read.

    Refuses a variable of fewer than 16 characters, and a key file that cannot be read or written.
    """
    said = os.environ.get(KEY_VARIABLE)
    if said is not None:
        if len(said) < _SHORTEST_KEY:
            raise ConfigError(
                f"{KEY_VARIABLE} has {len(said)} characters; expected at least {_SHORTEST_KEY}, for a short key can be "
                "found by trying. Set a longer one, or unset it to use a key file"
            )
        return hashlib.blake2b(said.encode(errors="surrogatepass"), digest_size=_KEY_BYTES).digest()
    path = key_path()
    try:
        if not path.exists():
            _make_key(path)
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise ConfigError(
            f"{path}: the key of the raters' pseudonyms cannot be read or written: {error.strerror}. Check the "
            f"folder, or set {KEY_VARIABLE}"
        ) from error
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigError(
            f"{path}: is no key of raters' pseudonyms; expected {2 * _KEY_BYTES} hexadecimal digits. Restore it, or "
            "remove it to get a new one, with which raters get other names than before"
        )
    return key


def key_path() -> Path:
    """Return where the key file is, or will be made."""
    folder = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA")
    return (Path(folder) if folder else Path.home() / ".config") / "prospect" / "rater_key"


def _make_key(path: Path) -> None:
    """Write a new key whole, for the owner's eyes; where another process was faster, its key stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)  # made with mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_bytes(_KEY_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)  # unlike a rename, it never replaces a key that is there
    finally:
        temporary.unlink(missing_ok=True)
