"""A small support desk: customers who write, each with a name, an order, a product and one problem.

This is the world of `prospect demo`, and its parts fit together so:

    world.py      training_prompts(n, seed), held_out_prompts(n) -> inquiries: a message, and its facts
    rubric.py     check(inquiry, reply)                          -> rule: kept or broken; passes() = all kept
    base.py       load_base()                                    -> a small model and its tokenizer, trained by
                                                                    tools/make_base.py on the desk's old log
    customer.py   collect_thumbs(inquiries, replies, ...)        -> feedback: the rubric's verdict as thumbs

    inquiries = training_prompts(600, seed=0)
    prompts = [inquiry.prompt for inquiry in inquiries]
    replies = generate(model, tokenizer, prompts, samples_per_prompt=4, max_new_tokens=REPLY_TOKENS)
    feedback = collect_thumbs(inquiries, replies, raters=[Rater("customer", noise=0.2)])
    # train on the feedback; before and after, count the replies to held_out_prompts(400) that pass

Prompts that are held out carry order numbers that occur nowhere else, neither in training prompts nor in
the log, so a reply to one names a number that its model has never seen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prospect.feedback.records import Message

REPLY_TOKENS = 96
"""Where a reply is cut: the longest of the log, a rambling one, has 92 tokens and its end token."""

# fmt: off
NAMES = (
    "Ada", "Amir", "Anna", "Ben", "Carla", "Chen", "Dana", "David", "Elena", "Emil", "Eva", "Farid",
    "Felix", "Grace", "Hana", "Hugo", "Ida", "Ivan", "Jack", "Jana", "Julia", "Karim", "Kate", "Leo",
    "Lena", "Lucas", "Mara", "Maria", "Max", "Mia", "Nadia", "Nina", "Noah", "Olga", "Omar", "Oscar",
    "Paul", "Petra", "Rosa", "Ruth", "Sam", "Sara", "Simon", "Tara", "Theo", "Tom", "Vera", "Yara",
)
PRODUCTS = (
    "backpack", "bicycle", "blanket", "book", "camera", "chair", "clock", "coat", "desk", "drill",
    "fan", "guitar", "jacket", "kettle", "keyboard", "lamp", "mirror", "mixer", "pan", "phone",
    "printer", "radio", "speaker", "table", "tent", "toaster", "vase", "watch",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Problem:
    """What can go wrong with an order.

    Attributes:
        name: the problem in a word.
        remedy: what helps, a key of `rubric.REMEDIES`.
        complaints: how customers say it; `{product}` stands for the thing they bought.
    """

    name: str
    remedy: str
    complaints: tuple[str, ...]


PROBLEMS = (
    Problem(
        "broken",
        "replacement",
        (
            "the {product} arrived broken",
            "my {product} came with a crack",
            "the {product} was damaged in the box",
            "my new {product} does not work",
        ),
    ),
    Problem(
        "late",
        "tracking",
        (
            "the {product} has not arrived",
            "I am still waiting for my {product}",
            "my {product} is two weeks late",
            "nobody has brought the {product} yet",
        ),
    ),
    Problem(
        "charged twice",
        "refund",
        (
            "I was charged twice for the {product}",
            "I paid two times for one {product}",
            "my card shows two payments for the {product}",
            "you took the money for my {product} twice",
        ),
    ),
    Problem(
        "wrong item",
        "exchange",
        (
            "you sent me the wrong {product}",
            "this is not the {product} that I chose",
            "my {product} has the wrong colour",
            "the {product} in the box is a different model",
        ),
    ),
    Problem(
        "changed mind",
        "cancellation",
        (
            "I do not want the {product} any more",
            "I bought the {product} by mistake",
            "please stop the order of the {product}",
            "I have changed my mind about the {product}",
        ),
    ),
)

# {complaint} begins a sentence as {Complaint}; both end without a full stop.
MESSAGES = (
    "Hello, this is {name}. It is about order {order}: {complaint}. {ask}",
    "Hi, my name is {name}. {Complaint}. The order number is {order}. {ask}",
    "{Complaint}. My order is {order}. {ask} {name}",
    "Order {order}: {complaint}. {ask} Yours, {name}",
    "Good morning, {name} here. {Complaint}, order {order}. {ask}",
    "Hello, {complaint}. It was order {order}. {ask} Thanks, {name}",
)
ASKS = ("What now?", "Please help.", "Can you help me?", "What can I do?", "Please answer soon.")


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A customer's message, and the facts behind it that a good reply gets right.

    Attributes:
        message: what the customer wrote.
        name: the customer's first name.
        order: the order number, four digits.
        product: what was bought.
        problem: what went wrong.
    """

    message: str
    name: str
    order: str
    product: str
    problem: Problem

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The message as the model is asked: a conversation of one turn."""
        return (Message("user", self.message),)


def training_prompts(n: int, seed: int = 0) -> list[Inquiry]:
    """Return `n` different inquiries to collect feedback on; other seeds give others."""
    return _distinct(n, random.Random(f"training {seed}"), lambda order: not is_held_out(order))


def held_out_prompts(n: int) -> list[Inquiry]:
    """Return the first `n` of the inquiries kept for evaluation: always the same, and never trained on."""
    return _distinct(n, random.Random("held out"), is_held_out)


def is_held_out(order: int) -> bool:
    """Whether an order number is kept for evaluation: one in seven, and no last digit gives it away."""
    return order % 7 == 0


def _distinct(n: int, rng: random.Random, admits: Callable[[int], bool]) -> list[Inquiry]:
    inquiries: dict[str, Inquiry] = {}
    for inquiry in _inquiries(rng, admits):
        if len(inquiries) == n:
            break
        inquiries.setdefault(inquiry.message, inquiry)
    return list(inquiries.values())


def _inquiries(rng: random.Random, admits: Callable[[int], bool]) -> Iterator[Inquiry]:
    orders = [order for order in range(1000, 10_000) if admits(order)]
    while True:
        yield _inquiry(rng, str(rng.choice(orders)))


def _inquiry(rng: random.Random, order: str) -> Inquiry:
    name, product, problem = rng.choice(NAMES), rng.choice(PRODUCTS), rng.choice(PROBLEMS)
    complaint = rng.choice(problem.complaints).format(product=product)
    message = rng.choice(MESSAGES).format(
        name=name,
        order=order,
        complaint=complaint,
        Complaint=complaint[0].upper() + complaint[1:],
        ask=rng.choice(ASKS),
    )
    return Inquiry(message, name, order, product, problem)
