"""Near duplicates: estimates against the exact Jaccard index, and what may not change the groups."""

from __future__ import annotations

import pickle
import random
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prospect.feedback.texts.near_duplicates import SHORTEST, NearDuplicates

VOCABULARY = [f"{a}{b}{c}" for a in "bdfglmnprst" for b in "aeiou" for c in ("", "n", "r", "st", "ting")]


def groups_of(texts: list[str], threshold: float = 0.8) -> list[list[int]]:
    collected = NearDuplicates()
    collected.add_many(range(len(texts)), texts)
    return collected.groups(threshold)


def jaccard(left: str, right: str) -> float:
    """The exact index of the sets of three words in a row."""
    a, b = ({*zip(words, words[1:], words[2:], strict=False)} for words in map(words_of, (left, right)))
    return len(a & b) / len(a | b)


def words_of(text: str) -> list[str]:
    return re.findall("[a-z0-9]+", text.lower())


def edited(words: list[str], edits: int, rng: random.Random) -> list[str]:
    words = list(words)
    for _ in range(edits):
        place = rng.randrange(len(words))
        words[place : place + rng.randrange(2)] = [rng.choice(VOCABULARY)] * rng.randrange(2)
    return words


@pytest.mark.parametrize("length", [12, 40, 200, 800])
def test_near_duplicates_are_grouped_and_others_are_not(length: int) -> None:
    """Pairs of random texts, one edited from the other, a little or beyond recognition."""
    rng = random.Random(length)
    texts = []
    for _ in range(600):
        words = rng.choices(VOCABULARY, k=length)
        texts += [" ".join(words), ", ".join(edited(words, rng.randrange(length // 4 + 2), rng)).upper()]
    exact = [jaccard(a, b) for a, b in zip(texts[::2], texts[1::2], strict=True)]
    found = groups_of(texts)
    assert all(len(group) == 2 and group[0] // 2 == group[1] // 2 for group in found)
    grouped = {group[0] // 2 for group in found}
    near = {i for i, similarity in enumerate(exact) if similarity >= 0.9}
    far = {i for i, similarity in enumerate(exact) if similarity < 0.5}
    assert len(near) > 20 and len(far) > 20
    assert len(near & grouped) >= 0.95 * len(near)
    assert len(far & grouped) <= 0.005 * len(far)


@pytest.mark.parametrize(("threshold", "between"), [(0.4, (0.55, 0.9)), (0.95, (0.6, 0.85))])
def test_the_threshold_decides(threshold: float, between: tuple[float, float]) -> None:
    rng = random.Random(1)
    texts = []
    while len(texts) < 200:
        words = rng.choices(VOCABULARY, k=150)
        pair = " ".join(words), " ".join(edited(words, 8, rng))
        if between[0] < jaccard(*pair) < between[1]:
            texts += pair
    grouped = len(groups_of(texts, threshold))
    assert grouped >= 95 if threshold < between[0] else grouped <= 5


TEXT = st.text(st.sampled_from("ab é中\n.,A—’😀"), max_size=40)
LONG = st.lists(st.sampled_from(VOCABULARY), min_size=SHORTEST, max_size=30).map(" ".join)


@settings(deadline=None)
@given(st.lists(st.one_of(TEXT, LONG), max_size=12), st.data())
def test_equal_texts_are_always_together(texts: list[str], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(texts), max_size=4)) if texts else []
    groups = {key: i for i, group in enumerate(groups_of(texts + again)) for key in group}
    for i, text in enumerate(again, start=len(texts)):
        assert groups[i] == groups[texts.index(text)]


@settings(deadline=None)
@given(st.lists(TEXT, max_size=12))
def test_short_texts_are_together_only_if_their_words_are_the_same(texts: list[str]) -> None:
    for group in groups_of([text[:13] for text in texts]):
        cleaned = {re.sub(r"[ \n.,—’]+", "", texts[key][:13].lower()) for key in group}
        assert len(cleaned) == 1


@settings(deadline=None)
@given(st.lists(st.one_of(TEXT, LONG), max_size=12), st.randoms())
def test_order_of_adding_merging_and_pickling_change_nothing(texts: list[str], rng: random.Random) -> None:
    expected = groups_of(texts)
    numbered = list(enumerate(texts))
    rng.shuffle(numbered)
    half = len(numbered) // 2
    left, right = NearDuplicates(), NearDuplicates()
    for key, text in numbered[:half]:
        left.add(key, text)
    right.add_many([key for key, _ in numbered[half:]], [text for _, text in numbered[half:]])
    right.merge(pickle.loads(pickle.dumps(left)))
    assert len(right) == len(texts)
    assert right.groups() == expected == right.groups()


def test_case_signs_and_spaces_between_words_do_not_count() -> None:
    text = "Your parcel left our house on Monday, so it should be with you by Thursday at the latest"
    other = "“your PARCEL” left: our house — on monday; so it should be with\n\nyou by thursday at the latest…"
    assert groups_of([text, other, text.replace("parcel", "letter")], 0.99) == [[0, 1]]
    assert groups_of(["Yes, please", "yes please!", "yes, pleas", "please yes", "!!!", "???", "!!!"]) == [
        [0, 1],
        [4, 6],
    ]


def test_texts_without_spaces_between_words_are_compared_by_their_characters() -> None:
    text = "我们的包裹星期一已经离开仓库所以最迟星期四应该会送到您的手中如果没有请再联系我们"
    assert groups_of([text, text.replace("请再", "请"), text[::-1]], 0.7) == [[0, 1]]


def test_a_chain_of_duplicates_is_one_group() -> None:
    rng = random.Random(3)
    words = rng.choices(VOCABULARY, k=100)
    chain = [" ".join(words[3 * i : 3 * i + 90]) for i in range(4)]
    assert jaccard(chain[0], chain[3]) < 0.83 < 0.9 < jaccard(chain[0], chain[1])
    assert groups_of(["something else entirely", *chain], 0.85) == [[1, 2, 3, 4]]


def test_a_crowd_of_one_text_and_its_variants_is_one_group() -> None:
    rng = random.Random(4)
    words = rng.choices(VOCABULARY, k=120)
    crowd = [" ".join(edited(words, rng.randrange(3), rng)) for _ in range(3000)]
    (group,) = groups_of(crowd)
    assert len(group) == len(crowd)


def test_signatures_are_the_same_in_every_process() -> None:
    script = (
        "from prospect.feedback.texts.near_duplicates import NearDuplicates as N\n"
        "import hashlib\n"
        "n = N(); n.add_many([1, 2, 3], ['one two three four five six seven eight nine', 'Grüße, 世界 — ok', '?!'])\n"
        "print(hashlib.sha256(b''.join(column.tobytes() for part in n._parts for column in part)).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    # Python's own hashes differ between processes; this one must not, nor between machines.
    assert done.stdout.strip() == "5703203e045fefc5e55fc2e0ef518681e33f5b154493d9862da171fb87debe91"


def test_a_text_takes_at_most_300_bytes() -> None:
    collected = NearDuplicates()
    collected.add_many(range(1000), ["the parcel left our house on Monday and is on its way " * 20] * 1000)
    assert len(pickle.dumps(collected)) < 300 * 1000
    assert groups_of([]) == []


@pytest.mark.parametrize("threshold", [0.0, 1.5, -1.0])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"expected a number in \(0, 1\]"):
        groups_of(["a"], threshold)


def test_keys_and_texts_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="2 keys for 1 texts"):
        NearDuplicates().add_many([1, 2], ["a"])
