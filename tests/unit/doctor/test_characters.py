"""The writing system of a text, and characters that nobody meant to write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prospect.feedback.texts.characters import odd_characters, script_of


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("", "none"), ("12 + 3 = 15!", "none"), ("€ 5 – 😀 ×", "none"), ("x = 3", "latin"), ("Tiếng Việt", "latin"),
        ("Привет, world", "cyrillic"), ("hello, мир", "latin"), ("Καλημέρα", "greek"), ("שלום", "hebrew"),
        ("مرحبا", "arabic"), ("नमस्ते", "devanagari"), ("สวัสดี", "thai"), ("안녕하세요", "hangul"), ("你好，世界", "han"),
        ("こんにちは", "japanese"), ("東京都に住んでいます", "japanese"), ("カタカナ", "japanese"), ("𠀀𠀁", "han"),
        ("გამარჯობა", "georgian"), ("வணக்கம்", "tamil"), ("\ud800 a", "latin"), ("你好 hello there", "latin"),
    ],
)  # fmt: skip
def test_the_script_is_that_of_most_letters(text: str, script: str) -> None:
    assert script_of(text) == script


def test_a_quotation_in_another_script_does_not_change_the_script() -> None:
    assert script_of("The word привет means hello in Russian, or so they say.") == "latin"
    assert script_of("汉字里有一个の字，其余全部都是中文，没有别的假名") == "han"


def misread(text: str, encoding: str = "cp1252") -> str:
    """UTF-8 that was read as another encoding; bytes that Windows-1252 does not define stay what they are."""
    return "".join(
        bytes([byte]).decode("latin-1" if byte in b"\x81\x8d\x8f\x90\x9d" else encoding) for byte in text.encode()
    )


FOREIGN = [
    "café", "don’t", "“quoted”", "5 €", "naïve", "привет", "日本語", "😀 ok", "Prüfung für", "š", "10 °C", "a – b",
    "À la",
    "été", "שלום", "مرحبا", "Việt", "\ufeffa", "voilà", "… and", "Ωμέγα",
    "x → y", "5\u00a0%", "£5", "Łódź", "ﬁne",
]  # fmt: skip


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize("text", FOREIGN)
def test_utf8_read_as_another_encoding_is_mojibake(text: str, encoding: str) -> None:
    assert "mojibake" in odd_characters(misread(text, encoding))
    assert "mojibake" in odd_characters(f"And then: {misread(text, encoding)} he said.")
    assert "mojibake" not in odd_characters(text)


@pytest.mark.parametrize(
    "text",
    [
        "„Spaß“", "« liberté\u00a0»", "VOCÊ”", "“IRMÔ", "ESPAÑ”", "voilà…", "Ã", "É©", "„Ä“", "« à\u00a0»", "5\u00a0°C",
        "«Ñ»", "SÃO", "Åland", "Ça", "âme", "ÀÉÎ", "naïve ï", "è vero…", "“É”", "ÄÖÜ", "œuvre", "10 µm", "½ × ¾", "½",
    ],
)  # fmt: skip
def test_accents_and_quotes_as_people_write_them_are_not_mojibake(text: str) -> None:
    assert odd_characters(text) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "plain", "tab\tnew\r\nline", "👨\u200d👩\u200d👧", "❤️\u200d🔥", "👩🏽\u200d🚀", "🏳️\u200d🌈", "1\ufe0f\u20e3",
        "می\u200cخواهم", "क्\u200dष", "\u200fשלום\u200e abc", "\u202bשלום\u202c a", "\u2067שלום\u2069", "ก\u200bข",
        "Donau\u00adschiff", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "©\ufe0f", "日本",
    ],
)  # fmt: skip
def test_joiners_marks_and_breaks_that_the_text_needs_are_not_odd(text: str) -> None:
    assert odd_characters(text) == frozenset()


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("a\0b", {"nul"}), ("a\x07b", {"control"}), ("\x7f", {"control"}), ("a\0\x1b[0m", {"nul", "control"}),
        ("a\x0cb", {"control"}), ("a\x85b", {"control"}), ("\ufffd", {"replacement"}), ("\ud800", {"surrogate"}),
        ("\ue000", {"private_use"}), ("\U000f0001", {"private_use"}),
        ("a\u202eb", {"bidi"}), ("a\u2066b\u2069",
        {"bidi"}),
        ("שלום\u202e", {"bidi"}), ("שלום\u2067", {"bidi"}), ("a\u200bb", {"zero_width"}), ("\ufeffa", {"zero_width"}),
        ("a\u200db", {"zero_width"}), ("e\u200e", {"zero_width"}), ("a\U000e0041", {"zero_width"}),
        ("שלום\u200b", {"zero_width"}), ("😀\u200d", {"zero_width"}),
        ("é\0\x01\ud800", {"nul", "control", "surrogate"}),
    ],
)  # fmt: skip
def test_odd_characters_are_named(text: str, kinds: set[str]) -> None:
    assert odd_characters(text) == kinds
    assert odd_characters(f"日本 {text} é") == kinds


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_printed_ascii_is_never_odd(text: str) -> None:
    assert odd_characters(text) == frozenset()


@given(st.text(st.characters()))
def test_any_text_has_an_answer(text: str) -> None:
    assert script_of(text)
    odd = odd_characters(text)
    assert ("nul" in odd) == ("\0" in text)
    assert ("surrogate" in odd) == any("\ud800" <= char <= "\udfff" for char in text)


@given(st.text(st.characters(min_codepoint=0x410, max_codepoint=0x44F), min_size=2))
def test_any_misread_russian_word_is_found(text: str) -> None:
    assert "mojibake" in odd_characters(misread(text))
    assert odd_characters(text) == frozenset()
