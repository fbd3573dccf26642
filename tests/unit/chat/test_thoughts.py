"""Thoughts and answer of a completion are told apart by the tags that models write."""

from __future__ import annotations

import pytest

from prospect.feedback.chat.thoughts import join_thoughts, read_opening, split_thoughts


@pytest.mark.parametrize(
    ("text", "answer", "closed"),
    [
        ("<think>\nhm\n</think>\n\nOn Monday.", "On Monday.", True),
        ("\n <think></think>On Monday.", "On Monday.", True),
        ("hm\n</think>\n\nOn Monday.", "On Monday.", True),  # the prompt opened the block
        ("<think>they wrote </think> here, hm</think>On Monday.", "On Monday.", True),
        ("[THINK]hm[/THINK]On Monday.", "On Monday.", True),
        ("◁think▷hm◁/think▷On Monday.", "On Monday.", True),
        ("<think>hm", "", False),
        ("<think>hm</think>\n<think>and again", "", False),
        ("On Monday.", "On Monday.", True),
        ("Write <think>, then </think>, then the answer.", "Write <think>, then </think>, then the answer.", True),
        ("On Monday. <think>hm", "On Monday. <think>hm", True),
        ("", "", True),
    ],
)
def test_the_answer_begins_after_the_thoughts(text: str, answer: str, closed: bool) -> None:
    found = split_thoughts(text)
    assert (found.answer, found.closed) == (answer, closed)
    assert text.startswith(found.thoughts) and bool(found.thoughts) == (found.answer != text)


def test_a_block_that_the_prompt_opened_is_thoughts_until_it_is_closed() -> None:
    assert split_thoughts("hm", opened=True) == ("hm", "", False)
    assert split_thoughts("hm </think>Yes", opened=True).answer == "Yes"
    assert split_thoughts("<think> they say, hm </think>Yes", opened=True).answer == "Yes"
    assert split_thoughts("say <think>, hm </think>Yes", opened=True).answer == "Yes"


def test_a_prompt_that_ends_with_a_tag_opens_the_block() -> None:
    assert read_opening("<|assistant|><think>\n").tag == "<think>"
    assert read_opening("[THINK]").tag == "[THINK]"
    for prompt in ("<|assistant|>", "<think>\n\n</think>\n\n", "say <think> and go on", ""):
        assert read_opening(prompt).tag == ""


def test_thoughts_and_answer_that_came_apart_are_split_again() -> None:
    assert split_thoughts(join_thoughts("hm", "Yes", closed=True)) == ("<think>\nhm\n</think>", "Yes", True)
    assert split_thoughts(join_thoughts("hm", "", closed=False)).closed is False
    assert join_thoughts(" ", "Yes", closed=True) == "Yes"
