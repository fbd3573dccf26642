"""Keys that an installation keeps for itself: from the environment, or a file that is made at the first need."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from prospect.errors import ConfigError

_SHORTEST_KEY = 16  # characters of a phrase; a shorter one could be found by trying
_KEY_BYTES = 32


@dataclass(frozen=True)
class SecretKeys:
    """Where keys of one purpose are kept.

    Attributes:
        variable: the environment variable that holds a phrase, which goes before the file.
        file: its name in the user's configuration folder, which nobody else may read; one key a line, in hexadecimal.
        purpose: for messages: `the key of the raters' pseudonyms`.
        loss: what is lost with the key: `raters get other names than before`.
        several: whether there may be older keys behind the first; phrases are then separated by commas.
    """

    variable: str
    file: str
    purpose: str
    loss: str
    several: bool = False

    def read(self) -> list[bytes]:
        """Return the keys, the newest first, the same on every call; make the file where there is none.

        Raises:
            ConfigError: a phrase of fewer than 16 characters, or a file that cannot be read or written or is damaged.
        """
        said = os.environ.get(self.variable)
        if said is not None:
            return [self._from_phrase(phrase) for phrase in (said.split(",") if self.several else [said])]
        try:
            if not self.path.exists():
                self._write([secrets.token_bytes(_KEY_BYTES)], replace=False)
            text = self.path.read_text(encoding="ascii", errors="replace").strip()
        except OSError as error:
            raise ConfigError(
                f"{self.path}: {self.purpose} cannot be read or written: {error.strerror}. Check the folder, or set "
                f"{self.variable}"
            ) from error
        try:
            keys = [bytes.fromhex(line) for line in text.split()]
        except ValueError:
            keys = []
        if not keys or any(len(key) != _KEY_BYTES for key in keys) or (len(keys) > 1 and not self.several):
            raise ConfigError(
                f"{self.path}: is not {self.purpose}; expected {2 * _KEY_BYTES} hexadecimal digits"
                f"{' in each line' if self.several else ''}. Restore it, or remove it to get a new one, with which "
                f"{self.loss}"
            )
        return keys

    def rotate(self, keep: int) -> None:
        """Put a new key before those of the file, of which `keep` stay.

        Raises:
            ConfigError: the keys come from the environment.
        """
        if self.variable in os.environ:
            raise ConfigError(f"{self.variable} is set. Put a new phrase before the old ones there, with a comma")
        self._write([secrets.token_bytes(_KEY_BYTES), *self.read()[:keep]], replace=True)

    @property
    def path(self) -> Path:
        """Where the file is, or will be made."""
        folder = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA")
        return (Path(folder) if folder else Path.home() / ".config") / "prospect" / self.file

    def _from_phrase(self, phrase: str) -> bytes:
        if len(phrase) < _SHORTEST_KEY:
            raise ConfigError(
                f"{self.variable} has {len(phrase)} characters; expected at least {_SHORTEST_KEY}, for a short key can "
                "be found by trying. Set a longer one, or unset it to use a key file"
            )
        return hashlib.blake2b(phrase.encode(errors="surrogatepass"), digest_size=_KEY_BYTES).digest()

    def _write(self, keys: list[bytes], *, replace: bool) -> None:
        """Write the file whole, for the owner's eyes; a new one never replaces that of a faster process."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(prefix=".tmp-", dir=self.path.parent)  # made with mode 0600
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write("".join(f"{key.hex()}\n" for key in keys))
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(self.path)
            else:
                with contextlib.suppress(FileExistsError):
                    os.link(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
