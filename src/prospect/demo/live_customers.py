"""Simulated customers who chat with a server and vote over HTTP, each on their own answers by their own tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from prospect import progress
from prospect.demo.base import TEMPERATURE, TOP_P
from prospect.demo.customer import Rater, collect_thumbs
from prospect.demo.world import REPLY_TOKENS, Inquiry
from prospect.endpoint.client import EndpointError
from prospect.models.sampling import Generated

_AT_ONCE = 8  # customers
_PATIENCE = 120.0  # seconds for an answer, with seven others before it


@dataclass(frozen=True)
class Customer:
    """Somebody who writes, one conversation an inquiry, and gives a thumb on each answer.

    Attributes:
        rater: how they vote; the server is told the name.
        inquiries: what they write.
    """

    rater: Rater
    inquiries: Sequence[Inquiry]


@dataclass(frozen=True)
class Acknowledged:
    """A vote that the server said it has kept.

    Attributes:
        turn: on which answer.
        value: 1 or -1.
    """

    turn: str
    value: int


def customers_of(inquiries: Sequence[Inquiry], name: str, each: int, noise: float) -> list[Customer]:
    """Return customers who write `each` of the inquiries."""
    return [
        Customer(Rater(f"{name}-{start // each + 1}", noise), inquiries[start : start + each])
        for start in range(0, len(inquiries), each)
    ]


def visit(url: str, customers: Sequence[Customer], seed: int) -> list[Acknowledged]:
    """Let customers chat and vote, eight at a time; return what the server acknowledged.

    Args:
        url: of the server.
        customers: who come.
        seed: of answers and thumbs.

    Raises:
        EndpointError: the server refuses an answer or a vote, or does not answer.
    """
    try:
        return asyncio.run(_visit(url, customers, seed))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EndpointError(f"{url}: the demo's server does not answer ({type(error).__name__}).") from None


async def _visit(url: str, customers: Sequence[Customer], seed: int) -> list[Acknowledged]:
    kept: list[Acknowledged] = []
    waiting: Iterator[Customer] = iter(customers)
    timeout = aiohttp.ClientTimeout(total=_PATIENCE)

    async def desk(session: aiohttp.ClientSession) -> None:
        for customer in waiting:  # shared: each takes the next one
            for number, inquiry in enumerate(customer.inquiries):
                kept.append(await _chat_and_vote(session, customer, number, inquiry, seed))
            progress.count(len(kept), sum(len(one.inquiries) for one in customers), "answers")

    async with aiohttp.ClientSession(url, timeout=timeout) as session:
        await asyncio.gather(*(desk(session) for _ in range(_AT_ONCE)))
    return kept


async def _chat_and_vote(
    session: aiohttp.ClientSession, customer: Customer, number: int, inquiry: Inquiry, seed: int
) -> Acknowledged:
    asked = {
        "messages": [turn.as_dict() for turn in inquiry.prompt],
        "temperature": TEMPERATURE,
        "top_p": TOP_P,
        "max_tokens": REPLY_TOKENS,
        "seed": seed,
    }
    who = {
        "x-prospect-rater": customer.rater.name,
        "x-prospect-conversation": f"{customer.rater.name}-{number}",
        "x-prospect-consent": "yes",
    }
    async with session.post("/v1/chat/completions", json=asked, headers=who) as response:
        [choice] = (await _said(response))["choices"]
        turn, token = response.headers["x-prospect-turn"], response.headers["x-prospect-vote"]
    reply = Generated(choice["message"]["content"], 0, choice["finish_reason"] == "stop")
    [thumb] = collect_thumbs([inquiry], [[reply]], raters=[customer.rater], seed=seed)
    vote = {"id": turn, "value": 1 if thumb.desirable else -1}
    async with session.post("/v1/feedback", json=vote, headers={"x-prospect-vote": token}) as response:
        kept = await _said(response)
    return Acknowledged(kept["id"], kept["value"])


async def _said(response: aiohttp.ClientResponse) -> Any:
    if response.status != 200:
        raise EndpointError(f"{response.url}: {response.status}: {(await response.text())[:300]}")
    return await response.json()
