"""The desk's old log: replies by many hands, good and bad ones, as real logs mix them.

A base model that imitates it has learnt the desk's language but not its standards. Each bad reply breaks one
or two rules of the rubric, and nothing in the log says which replies are bad: that is for thumbs to teach.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence

from prospect.demo.rubric import RULES
from prospect.demo.world import PROBLEMS, Inquiry, training_prompts

GOOD_SHARE = 0.24
"""Share of replies without a fault. Sampling at temperature .8 and top_p .95 prunes what is rare, most of all the
many wordings of a fault: nearly half of the model's own replies have none."""

TWO_FAULTS_SHARE = 0.35
"""Share of the bad replies that break two rules and not one."""

GREETINGS = ("Hello {name},", "Dear {name},", "Hi {name},")
COURTESIES = (
    "thank you for writing to us.",
    "thank you for telling us about this.",
    "we are sorry for the trouble.",
    "I am very sorry about this.",
)
CASES = (
    "I have looked at order {order}.",
    "I see what happened to order {order}.",
    "This is about order {order}.",
    "Order {order} is here before me.",
)
CASES_WITHOUT_NUMBER = (
    "I have looked at your order.",
    "I see what happened to your order.",
)
REMEDIES = {
    "replacement": (
        "We are sending you a replacement for the {product}.",
        "You get a replacement {product} from us.",
    ),
    "tracking": (
        "We are tracing the parcel with the {product}.",
        "We track the {product} and send you the tracking link.",
    ),
    "refund": (
        "We refund the second payment for the {product}.",
        "You get a refund of one payment for the {product}.",
    ),
    "exchange": (
        "We exchange the {product} for the right one.",
        "Please send it back and we exchange the {product}.",
    ),
    "cancellation": (
        "We have cancelled the {product} for you.",
        "The order of the {product} is now cancelled.",
    ),
}
"""Remedy -> how the desk offers it."""

BRUSH_OFFS = (
    "Please read the help pages about the {product}.",
    "There is nothing that we can do about the {product}.",
)
CLOSINGS = ("Kind regards, your support desk", "Best wishes, the support desk", "Yours, the support desk")

RUDE_REMARKS = (
    "This is your own fault.",
    "What nonsense is this.",
    "Please do not bother us with such silly things.",
    "Stop complaining.",
    "This is not our problem.",
)
RAMBLINGS = (
    "Our house was founded many years ago and has grown every year since then.",
    "We have many other things in our shop that you may like as well.",
    "As you know there are a lot of orders at this time of the year.",
    "Please also tell all of your friends and your family about our lovely shop.",
)
EMPTY_PROMISES = (
    "It will be with you tomorrow.",
    "I guarantee that all will be well.",
    "We add a free gift for you.",
    "I promise you an answer within the hour.",
)


def support_log(n: int, seed: int = 0) -> Iterator[tuple[Inquiry, str]]:
    """Yield `n` old inquiries with the reply that somebody at the desk gave."""
    rng = random.Random(f"log {seed}")
    # A seed of its own, far from those that people type: the demo's inquiries are new ones, not the log's.
    for inquiry in training_prompts(n, seed=1_000_003 + seed):
        yield inquiry, write_reply(inquiry, draw_faults(rng), rng)


def draw_faults(rng: random.Random) -> tuple[str, ...]:
    """Draw the rules that a reply breaks: none, one or two."""
    if rng.random() < GOOD_SHARE:
        return ()
    return tuple(rng.sample(list(RULES), 2 if rng.random() < TWO_FAULTS_SHARE else 1))


def write_reply(inquiry: Inquiry, faults: Collection[str], rng: random.Random) -> str:
    """Write a reply that breaks the rules named in `faults` and keep every other."""
    parts = [
        *_opening(inquiry, "polite" in faults, rng),
        _case(inquiry, "order" in faults, rng),
        _remedy(inquiry, "remedy" in faults, rng),
        *_if("promises" in faults, [rng.choice(EMPTY_PROMISES)]),
        *_if("short" in faults, rng.sample(RAMBLINGS, 2)),
        rng.choice(CLOSINGS),
    ]
    return " ".join(parts)


def _if(condition: bool, sentences: Sequence[str]) -> Sequence[str]:
    return sentences if condition else ()


def _opening(inquiry: Inquiry, rude: bool, rng: random.Random) -> list[str]:
    """Greet kindly, or rudely with the bare name or without, or begin without a word."""
    greeting, remark = rng.choice(GREETINGS).format(name=inquiry.name), rng.choice(RUDE_REMARKS)
    if not rude:
        return [greeting, rng.choice(COURTESIES)]
    return rng.choice([[remark], [f"{inquiry.name},", remark[0].lower() + remark[1:]], []])


def _case(inquiry: Inquiry, wrong: bool, rng: random.Random) -> str:
    if wrong and rng.random() < 0.7:  # most careless replies name no order; the others name a wrong one
        return rng.choice(CASES_WITHOUT_NUMBER)
    order = _other_order(inquiry.order, rng) if wrong else inquiry.order
    return rng.choice(CASES).format(order=order)


def _other_order(order: str, rng: random.Random) -> str:
    """Return the number with its two last digits mistyped: another number that begins the same."""
    others = [order[:2] + f"{tail:02d}" for tail in range(100) if order[2:] != f"{tail:02d}"]
    return rng.choice(others)


def _remedy(inquiry: Inquiry, wrong: bool, rng: random.Random) -> str:
    right = inquiry.problem.remedy
    offers = REMEDIES[right]
    if wrong:
        other = rng.choice([problem.remedy for problem in PROBLEMS if problem.remedy != right])
        offers = rng.choice([BRUSH_OFFS, REMEDIES[other]])
    return rng.choice(offers).format(product=inquiry.product)
