"""Which model answers a conversation while a new one is tried on a share of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from prospect.errors import UsageError

CURRENT, CANARY, SHADOW = "current", "canary", "shadow"


@dataclass(frozen=True)
class Canary:
    """A model that answers a share of the conversations, or, as a shadow, of the requests.

    Attributes:
        model: as the upstream calls it.
        share: of them, from 0 to 1.
    """

    model: str
    share: float

    @classmethod
    def parse(cls, text: str, option: str = "--canary") -> Canary:
        """Read `MODEL=5%`.

        Args:
            text: what was given.
            option: to which it was given, for the message.

        Raises:
            UsageError: it is something else.
        """
        model, _, share = text.rpartition("=")
        try:
            part = float(share.removesuffix("%")) / 100
        except ValueError:
            part = -1.0
        if not model or not share.endswith("%") or not 0 <= part <= 1:
            raise UsageError(f"{option} {text}: expected a model and its share, such as new=5%.")
        return cls(model, part)

    def takes(self, branch: str) -> bool:
        """Return whether a conversation is the canary's: always the same answer for the same conversation.

        The draw is a hash of model and conversation, so that two canaries after each other get other conversations,
        and a larger share keeps those of a smaller one.
        """
        name = f"{self.model}\0{branch}".encode()
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") < self.share * 2**64
