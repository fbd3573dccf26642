"""The demo's support desk: its customers, its rubric, its thumbs and the base model it begins with."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import combinations

import pytest

from prospect.demo.base import BASE, load_base
from prospect.demo.customer import Rater, collect_thumbs
from prospect.demo.rubric import MAX_WORDS, REMEDIES, RULES, check, passes
from prospect.demo.world import PROBLEMS, REPLY_TOKENS, Inquiry, held_out_prompts, is_held_out, training_prompts
from prospect.errors import ConfigError
from prospect.feedback.records import Message
from prospect.models.sampling import Generated, generate
from support_log import draw_faults, support_log, write_reply

MARA = Inquiry("Order 4821: my kettle came with a crack. Yours, Mara", "Mara", "4821", "kettle", PROBLEMS[0])
GOOD = "Hello Mara, we are sorry. I have looked at order 4821. We are sending you a replacement. Yours, the desk"


@pytest.mark.parametrize(
    ("reply", "broken"),
    [
        (GOOD, set()),
        (GOOD.replace("Hello", "dear"), set()),
        (GOOD.replace("we are sorry", "thank you for telling us"), set()),
        (GOOD.replace("4821", "4812"), {"order"}),
        (GOOD.replace("order 4821", "your order"), {"order"}),
        (GOOD.replace("order 4821", "orders 4821 and 4822"), {"order"}),
        (GOOD.replace("4821", "48213"), {"order"}),
        (GOOD.replace("are sending you a replacement", "refund it"), {"remedy"}),
        (GOOD.replace("a replacement", "a replacement and a refund"), {"remedy"}),
        (GOOD.replace("We are sending you a replacement.", "Read the help pages."), {"remedy"}),
        (GOOD.replace("Mara", "Maria"), {"polite"}),
        (GOOD.replace("Hello Mara, we", "We"), {"polite"}),
        (GOOD.replace("we are sorry", "well"), {"polite"}),
        (GOOD.replace("Yours", "Do not bother us again. Yours"), {"polite"}),
        (GOOD + " yes" * (MAX_WORDS - len(GOOD.split())), set()),
        (GOOD + " yes" * (MAX_WORDS + 1 - len(GOOD.split())), {"short"}),
        (GOOD.replace("replacement.", "replacement tomorrow."), {"promises"}),
        (GOOD.replace("replacement.", "replacement, guaranteed."), {"promises"}),
        (GOOD.replace("replacement.", "replacement and a free gift."), {"promises"}),
        (GOOD.replace("4821", "17").replace("Hello", "Well"), {"order", "polite"}),
        ("", {"order", "remedy", "polite", "short"}),
    ],
)
def test_a_reply_breaks_exactly_these_rules(reply, broken):
    assert {rule for rule, kept in check(MARA, reply).items() if not kept} == broken
    assert passes(MARA, reply) is (not broken)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_only_the_problems_own_remedy_keeps_the_rule(problem):
    words = {
        "replacement": "replace it",
        "tracking": "track it",
        "refund": "refund it",
        "exchange": "exchange it",
        "cancellation": "cancel it",
    }
    inquiry = Inquiry("", "Mara", "4821", "kettle", problem)
    keeps = [remedy for remedy in REMEDIES if check(inquiry, f"We {words[remedy]}.")["remedy"]]
    assert keeps == [problem.remedy]


@pytest.mark.parametrize("faults", [(), *combinations(RULES, 1), *combinations(RULES, 2)], ids="+".join)
def test_a_reply_of_the_log_breaks_the_rules_it_is_meant_to_and_no_other(faults):
    rng = random.Random(0)
    for inquiry in training_prompts(100, seed=5):
        reply = write_reply(inquiry, faults, rng)
        assert {rule for rule, kept in check(inquiry, reply).items() if not kept} == set(faults), reply


def test_the_log_mixes_good_replies_and_faults_of_every_kind():
    rng = random.Random(0)
    drawn = [draw_faults(rng) for _ in range(2000)]
    count = Counter(rule for faults in drawn for rule in faults)
    assert set(count) == set(RULES) and min(count.values()) > 200
    assert set(map(len, drawn)) == {0, 1, 2}
    assert list(support_log(20)) == list(support_log(20)) != list(support_log(20, seed=1))


def test_the_same_seed_gives_the_same_prompts_and_fewer_are_the_first_of_more():
    assert training_prompts(50, seed=3) == training_prompts(80, seed=3)[:50]
    assert held_out_prompts(50) == held_out_prompts(80)[:50]
    assert training_prompts(50, seed=3) != training_prompts(50, seed=4)


def test_held_out_prompts_share_no_order_and_no_message_with_training_or_the_log():
    held_out = held_out_prompts(1000)
    seen = [*training_prompts(3000), *(inquiry for inquiry, _ in support_log(3000))]
    assert len({inquiry.message for inquiry in held_out}) == 1000
    assert not {i.order for i in held_out} & {i.order for i in seen}
    assert not {i.message for i in held_out} & {i.message for i in seen}
    assert all(is_held_out(int(inquiry.order)) for inquiry in held_out)


def test_a_message_says_all_that_a_good_reply_needs():
    inquiries = training_prompts(500)
    for inquiry in inquiries:
        assert re.findall(r"\d+", inquiry.message) == [inquiry.order] and len(inquiry.order) == 4
        assert inquiry.name in inquiry.message and inquiry.product in inquiry.message
        assert inquiry.prompt == (Message("user", inquiry.message),)
    assert len({inquiry.problem.name for inquiry in inquiries}) == len(PROBLEMS)
    assert len({inquiry.message for inquiry in inquiries}) == 500


@pytest.fixture(scope="module")
def answered():
    """250 inquiries, each with a good reply, a bad one, and two of the log."""
    rng = random.Random(1)
    inquiries = training_prompts(250)
    faults = [(), ("polite",)]
    replies = [
        [Generated(write_reply(i, f, rng), 40, True) for f in (*faults, draw_faults(rng), draw_faults(rng))]
        for i in inquiries
    ]
    return inquiries, replies


def test_without_noise_every_thumb_is_the_rubrics(answered):
    thumbs = collect_thumbs(*answered)
    verdicts = [passes(i, reply.text) for i, replies in zip(*answered, strict=True) for reply in replies]
    assert [thumb.desirable for thumb in thumbs] == verdicts
    assert {thumb.rater for thumb in thumbs} == {"customer"} and len({thumb.id for thumb in thumbs}) == 1000
    assert thumbs[0].prompt == answered[0][0].prompt
    assert thumbs[0].completion == (Message("assistant", answered[1][0][0].text),)


def test_noise_flips_its_share_of_thumbs(answered):
    clean, noisy = collect_thumbs(*answered), collect_thumbs(*answered, raters=[Rater("customer", noise=0.2)])
    flips = sum(a.desirable != b.desirable for a, b in zip(clean, noisy, strict=True))
    assert abs(flips - 200) < 40  # three standard deviations of a binomial of 1000 and .2 are 38
    inverted = collect_thumbs(*answered, raters=[Rater("customer", noise=1.0)])
    assert all(a.desirable != b.desirable for a, b in zip(clean, inverted, strict=True))


def test_raters_share_the_replies_and_each_has_its_own_noise(answered):
    raters = [Rater("exact"), Rater("careless", noise=0.4)]
    clean, thumbs = collect_thumbs(*answered), collect_thumbs(*answered, raters=raters)
    count = Counter(thumb.rater for thumb in thumbs)
    flipped = Counter(b.rater for a, b in zip(clean, thumbs, strict=True) if a.desirable != b.desirable)
    assert abs(count["exact"] - 500) < 50 and count.total() == 1000
    assert flipped["exact"] == 0 and abs(flipped["careless"] - 0.4 * count["careless"]) < 35


@pytest.mark.parametrize(("up", "down"), [(0.1, 1.0), (1.0, 0.25), (0.0, 0.5)])
def test_imbalance_keeps_exactly_the_share_of_a_class(answered, up, down):
    every = collect_thumbs(*answered)
    kept = collect_thumbs(*answered, keep_desirable=up, keep_undesirable=down)
    desirable = sum(thumb.desirable for thumb in every)
    assert sum(thumb.desirable for thumb in kept) == round(up * desirable)
    assert sum(not thumb.desirable for thumb in kept) == round(down * (1000 - desirable))
    assert [thumb for thumb in every if thumb in kept] == kept


def test_thumbs_depend_on_the_seed_and_not_on_the_other_inquiries(answered):
    inquiries, replies = answered
    raters = [Rater("a", 0.3), Rater("b", 0.3)]
    every = collect_thumbs(inquiries, replies, raters=raters)
    assert every == collect_thumbs(inquiries, replies, raters=raters)
    assert every != collect_thumbs(inquiries, replies, raters=raters, seed=1)
    assert every[:40] == collect_thumbs(inquiries[:10], replies[:10], raters=raters)


def test_a_reply_that_was_cut_is_marked_unfinished():
    [thumb] = collect_thumbs([MARA], [[Generated(GOOD, 96, False)]])
    assert not thumb.finished


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"raters": []}, "raters is empty"),
        ({"keep_desirable": 1.1}, "keep_desirable is 1.1"),
        ({"keep_undesirable": -0.1}, "keep_undesirable is -0.1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        collect_thumbs([MARA], [[Generated(GOOD, 40, True)]], **settings)


@pytest.mark.parametrize("noise", [-0.1, 1.1, float("nan")])
def test_noise_outside_0_to_1_is_refused(noise):
    with pytest.raises(ConfigError, match="rater ann: noise is"):
        Rater("ann", noise)


@pytest.fixture(scope="module")
def base():
    return load_base()


def test_the_base_model_takes_at_most_5_mb_and_has_one_to_two_million_parameters(base):
    assert sum(file.stat().st_size for file in BASE.iterdir()) <= 2_500_000
    assert 1_000_000 <= base[0].num_parameters() <= 2_000_000
    assert {file.suffix for file in BASE.iterdir()} == {".json", ".jinja", ".safetensors"}


def test_the_base_models_template_has_one_start_token_and_ends_the_reply_alone(base):
    tokenizer = base[1]
    chat = [{"role": "user", "content": "Order 4821?"}, {"role": "assistant", "content": "Yes."}]
    opening = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(chat, tokenize=False)
    assert opening == "<|begin|><|user|>Order 4821?<|assistant|>"
    assert whole == opening + "Yes.<|end|>"
    assert tokenizer.eos_token == "<|end|>"
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == ids.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(tokenizer("Order 4821: it's broken, isn't it?")["input_ids"], skip_special_tokens=True) == (
        "Order 4821: it's broken, isn't it?"
    )


def test_digits_are_tokens_of_their_own(base):
    tokens = base[1].tokenize("order 4821.")
    assert [token for token in tokens if any(c.isdigit() for c in token)] == ["4", "8", "2", "1"]


def test_30_to_60_percent_of_the_base_models_replies_to_unseen_prompts_pass(base):
    inquiries = held_out_prompts(200)
    replies = generate(*base, [i.prompt for i in inquiries], max_new_tokens=REPLY_TOKENS, batch_size=100, seed=7)
    rate = sum(passes(i, reply.text) for i, [reply] in zip(inquiries, replies, strict=True)) / 200
    assert 0.30 <= rate <= 0.60
    assert all(reply.finished for [reply] in replies)
