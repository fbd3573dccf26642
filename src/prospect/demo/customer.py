"""Simulated customers: they read a reply, hold it against the rubric, and give a thumb up or down.

Real thumbs are noisy, lopsided and given by many hands. Each of the three is a setting here, so that its
effect on training can be measured: a rater's `noise`, the share of a class that is kept, and several
raters.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from prospect.demo.rubric import passes
from prospect.demo.world import Inquiry
from prospect.errors import ConfigError
from prospect.feedback.records import Message, Unpaired


@dataclass(frozen=True, slots=True)
class Rater:
    """Somebody who gives thumbs.

    Attributes:
        name: goes into the feedback as its `rater`.
        noise: probability that a thumb is the opposite of what the rubric says, 0 to 1.
    """

    name: str
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1:
            raise ConfigError(f"rater {self.name}: noise is {self.noise}; expected a probability, 0 to 1.")


class HasText(Protocol):
    """What a customer reads: `models.sampling.Generated`, of which only the text is used."""

    @property
    def text(self) -> str:
        """The reply."""

    @property
    def finished(self) -> bool:
        """False where it was cut."""


def collect_thumbs(
    inquiries: Sequence[Inquiry],
    replies: Sequence[Sequence[HasText]],
    *,
    raters: Sequence[Rater] = (Rater("customer"),),
    keep_desirable: float = 1.0,
    keep_undesirable: float = 1.0,
    seed: int = 0,
) -> list[Unpaired]:
    """Return one thumb per reply, in order, each from one of the raters, drawn evenly.

    The thumb on a reply depends on the seed, the raters, the inquiry and the reply's number alone, so
    that more inquiries leave the thumbs on the others as they were.

    Args:
        inquiries: what the customers wrote.
        replies: for each inquiry its replies, as `generate` returns them.
        raters: who gives thumbs.
        keep_desirable: share of the thumbs up that reach the log, 0 to 1; a random part of them is dropped.
        keep_undesirable: the same of the thumbs down.
        seed: another seed, other raters, flips and drops.

    Raises:
        ConfigError: no rater, or a share outside 0 to 1.
    """
    _check(raters, keep_desirable=keep_desirable, keep_undesirable=keep_undesirable)
    thumbs = list(_thumbs(inquiries, replies, raters, seed))
    dropped = _drop(thumbs, True, keep_desirable, seed) | _drop(thumbs, False, keep_undesirable, seed)
    return [thumb for thumb in thumbs if thumb.id not in dropped]


def _thumbs(
    inquiries: Sequence[Inquiry], replies: Sequence[Sequence[HasText]], raters: Sequence[Rater], seed: int
) -> Iterator[Unpaired]:
    for i, (inquiry, answers) in enumerate(zip(inquiries, replies, strict=True)):
        for j, reply in enumerate(answers):
            rng = random.Random(f"thumb {seed} {inquiry.message} {j}")
            rater = rng.choice(raters)
            flipped = rng.random() < rater.noise
            yield Unpaired(
                prompt=inquiry.prompt,
                completion=(Message("assistant", reply.text),),
                desirable=passes(inquiry, reply.text) != flipped,
                id=f"inquiry-{i}-reply-{j}",
                where=f"demo:{i}:{j}",
                rater=rater.name,
                finished=reply.finished,
            )


def _drop(thumbs: Sequence[Unpaired], desirable: bool, keep: float, seed: int) -> set[str]:
    """Return the ids of those thumbs of one class that do not reach the log: exactly the share not kept."""
    ids = [thumb.id for thumb in thumbs if thumb.desirable == desirable]
    return set(random.Random(f"drop {seed} {desirable}").sample(ids, len(ids) - round(keep * len(ids))))


def _check(raters: Sequence[Rater], **shares: float) -> None:
    if not raters:
        raise ConfigError("raters is empty; expected at least one, such as Rater('customer', noise=0.2).")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"{name} is {share}; expected a share, 0 to 1.")
