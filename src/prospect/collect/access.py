"""Who may do what: API keys of servers, tokens of browsers, and the open door on the loopback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from prospect.collect.keys import KeyRing, Scope
from prospect.collect.refusals import Refusal
from prospect.collect.tokens import Claims, Signer
from prospect.collect.turns import MAIN
from prospect.errors import ProspectError


@dataclass(frozen=True)
class Caller:
    """Who sends a request.

    Attributes:
        key: names the key, for limits.
        tenant: whose turns it may see.
        name: of the key; empty where there are no keys.
    """

    key: str
    tenant: str
    name: str = ""


@dataclass(frozen=True)
class Access:
    """Knows keys and tokens.

    Attributes:
        keys: those that are accepted; None where everyone who reaches the server is: then it listens on the loopback.
        signer: makes and checks tokens.
    """

    keys: KeyRing | None
    signer: Signer

    async def caller(self, headers: Mapping[str, str], scope: Scope) -> Caller:
        """Return who sends a request that needs a scope.

        Raises:
            Refusal: 401 without a valid key, 403 without the scope, 503 where keys cannot be read.
        """
        if self.keys is None:
            return Caller("", MAIN)
        kind, _, secret = headers.get("authorization", "").partition(" ")
        try:
            key = await self.keys.find(secret.strip()) if kind.lower() == "bearer" and secret else None
        except ProspectError:
            raise Refusal(503, "the keys cannot be read. Try again.", retry_after=5) from None
        if key is None:
            raise Refusal(401, "no valid API key. Send one of this server's as Authorization: Bearer KEY.")
        if scope not in key.scopes:
            raise Refusal(403, f'the API key has no scope "{scope}".')
        return Caller(f"{key.tenant}\0{key.name}", key.tenant, key.name)

    def token(self, turn: str, tenant: str, rater: str | None) -> str:
        """Return the token with which a browser may vote on a turn.

        Where nobody says who asked, whoever votes on the turn is one rater of their own.
        """
        return self.signer.sign(Claims(tenant, turn, rater or unknown_rater(turn)), datetime.now(UTC))

    def claims(self, token: str, turn: str) -> Claims:
        """Return what a token allows on a turn.

        Raises:
            Refusal: 401; it is forged or too old, or of another turn.
        """
        claims = self.signer.check(token, datetime.now(UTC))
        if claims is None or claims.turn != turn.partition("-")[0]:  # the token of a response is good for each choice
            raise Refusal(401, "the token is not one for this turn, or too old.")
        return claims


def unknown_rater(turn: str) -> str:
    """Return the rater of a turn of whom nothing is known."""
    return f"turn:{turn.partition('-')[0]}"
