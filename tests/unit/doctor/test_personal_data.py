"""Personal data is found where its form can be checked, and sums, dates and part numbers are left alone."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prospect.feedback.texts.personal_data import find_personal_data, redact

SECRET = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"  # 36 characters; prefixes are joined to it here, so no scanner minds
KEYS = [
    "s" + "k-" + SECRET,
    "s" + "k-proj-" + SECRET + "_" + SECRET,
    "s" + "k-ant-api03-" + SECRET,
    "s" + "k_live_" + SECRET,
    "g" + "hp_" + SECRET,
    "g" + "ithub_pat_" + SECRET,
    "g" + "lpat-" + SECRET[:20],
    "A" + "KIA" + "ABCDEFGH23456789",
    "A" + "Iza" + SECRET[:35],
    "x" + "oxb-" + "123456789012-abcdefghijkl",
    "h" + "f_" + SECRET,
    "e" + "yJhbGciOiJIUzI1NiJ9." + "e" + "yJzdWIiOiIxMjM0In0." + SECRET,
    "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIE" + SECRET + "\nabc+/=\n-----END " + "RSA PRIVATE KEY-----",
]


def found(text: str) -> list[tuple[str, str]]:
    return [(kind, text[start:end]) for kind, start, end in find_personal_data(text)]


@pytest.mark.parametrize(
    "address",
    ["ann@firm.com", "ann.lee+news@mail.firm.co.uk", "a_b-c@firm-x.org", "müller@bücher.de", "1234567890@qq.com"],
)
@pytest.mark.parametrize("frame", ["{}", "Write to {}.", "<{}>", "mailto:{}", "邮箱{}谢谢", "a@b {}, or"])
def test_an_email_address_is_found_whole(address: str, frame: str) -> None:
    text = frame.format(address)
    if frame.startswith("mailto"):
        assert found(text)[0][1].endswith(address)
    else:
        assert found(text) == [("email", address)]


@pytest.mark.parametrize(
    "text",
    [
        "@media screen",
        "me @ home.com",
        "logo@2x.png",
        "pkg@1.2.3",
        "A@B.shape",
        "git@github.com:a/b",
        "x@y",
        "w@x.mean()",
    ],
)
def test_other_uses_of_the_sign_are_no_email(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "number",
    [
        "+49 30 1234567", "+49 (0)30 1234567", "+1 (212) 555-0199", "+12125550199", "+44 7911 123456",
        "+33 1 23 45 67 89",
        "+39 06 1234 5678", "+86 138 1234 5678", "+91-98765-43210", "+7 (495) 123-45-67", "+55 11 91234-5678",
        "(212) 555-0199", "212-555-0199", "212.555.0199", "1-800-555-0199", "020 7946 0958", "07700 900123",
        "01 23 45 67 89", "06.12.34.56.78", "030/1234567", "(0221) 1234567", "0412 345 678", "03-1234-5678",
        "(11) 91234-5678", "138-1234-5678", "06\u00a012\u00a034\u00a056\u00a078",
    ],
)  # fmt: skip
@pytest.mark.parametrize("frame", ["{}", "You reach us under {}.", "({}), or", "office: {}\nat night"])
def test_a_phone_number_of_a_known_form_is_found_whole(number: str, frame: str) -> None:
    assert found(frame.format(number)) == [("phone", number)]


@pytest.mark.parametrize(
    "text",
    [
        "call me at {}",
        "Tel.: {}",
        "phone number is {}",
        "My mobile: {}",
        "WhatsApp {}",
        "тел. {}",
        "电话：{}",
        "fax no. {}",
    ],
)
@pytest.mark.parametrize("number", ["5550199", "555 0199", "2125550199", "612 345 678", "13812345678"])
def test_any_number_after_a_word_such_as_phone_is_a_phone_number(text: str, number: str) -> None:
    assert found(text.format(number)) == [("phone", number)]


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-15 10:30", "15.01.2024", "01/02/2024 12:30", "01-02-2024", "from 1990 to 2010", "1990 1991 1992 1993",
        "ISBN 978-0-306-40615-7", "ISBN 0-306-40615-2", "ISBN-10: 0 306 40615 2", "$1,000,000.00",
        "1 000 000 000 people",
        "+10 000 000", "10 + 12345678 = 12345688", "5 +12345678", "x=+4912345678", "3.14159265358979",
        "+48.858844, +2.294351",
        "0.333333333333", "version 10.0.19041.1", "1000-200-300", "900-300-1000=-400", "05 10 15 20 25",
        "01 02 03 04 05",
        "call 2024-01-15 10", "call(1234567)", "phone costs 1 000 000", "mobile: 1 000 000 users", "1700000000",
        "1700000000000",
        "0012 0034 0056 0078", "0x1234567890", "a1234567890b", "12345678901234567890", "order 2125550199",
        "100 200 300 4000",
        "09.30 10.45 11.15", "48÷2=24 24+48=72 72*100=7200", "+1.234.567.890", "https://x.org/212-555-0199",
        "0.5 0.25 0.125",
        "12/2/2021 10-11", "4006381333931", "+52.5200 -13.4050",
        "+44 7700 900123",  # a number for films, which is given to nobody
    ],
)  # fmt: skip
def test_sums_dates_prices_and_book_numbers_are_left_alone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "number",
    ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "3782 822463 10005",
     "6011000990139424", "3530111333300000", "30569309025904", "2223003122003222", "6200000000000005"],
)  # fmt: skip
def test_a_card_number_is_found_if_issuer_length_and_checksum_agree(number: str) -> None:
    assert found(f"card {number}, please") == [("card", number)]
    assert found(f"paid with {number} 12/26") == [("card", number)]
    last = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert found(f"card {last}, please") == []


@pytest.mark.parametrize(
    "text",
    ["9111111111111111", "411111111111111", "0.4111111111111111", "4111 11111111 1111", "41111111111111111234",
     "a4111111111111111", "4111 1111 1111 1111 1111", "4111,1111,1111,1111"],
)  # fmt: skip
def test_digits_in_no_form_of_a_card_are_none(text: str) -> None:
    assert found(text) == []


def test_the_three_digits_of_the_back_are_not_taken_along() -> None:
    assert found("4111 1111 1111 1111 123") == [("card", "4111 1111 1111 1111")]


@pytest.mark.parametrize(
    "number",
    ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "FR14 2004 1010 0505 0001 3M02 606",
     "NL91ABNA0417164300", "NO93 8601 1117 947", "MT84MALT011000012345MTLCAST001S"],
)  # fmt: skip
def test_a_bank_account_is_found_if_length_and_checksum_agree(number: str) -> None:
    assert found(f"Pay to {number} today") == [("iban", number)]
    wrong = number.replace("4", "5", 1) if "4" in number[4:] else number.replace("9", "8", 1)
    assert ("iban", wrong) not in found(f"Pay to {wrong} today")
    assert not any(kind == "iban" for kind, _ in found(f"Pay to {number}7 today"))


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_a_key_is_found_whole(key: str) -> None:
    assert found(f"export KEY={key}\n") == [("key", key)]
    assert found(key) == [("key", key)]


@pytest.mark.parametrize(
    "text",
    ["risk-management-and-more-words-here", "s" + "k-learn-is-a-library-for-machine-learning", "AKIA", "g" + "hp_short",
     "h" + "f_hub_download_of_some_file_and_more", "p" + "k_live_" + SECRET, "xoxo-and-kisses-to-everybody-there",
     "desk-" + SECRET, "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----", "eyJ"],
)  # fmt: skip
def test_words_that_begin_like_keys_are_none(text: str) -> None:
    assert found(text) == []


def test_name_and_password_of_an_address_are_a_key() -> None:
    assert found("postgres://ann:h4x0r@db.firm.com/x, ask me@firm.com") == [
        ("key", "ann:h4x0r"),
        ("email", "me@firm.com"),
    ]
    assert found("ftp://username:password@ftp.firm.com") == []


@pytest.mark.parametrize("address", ["93.184.216.34", "2a00:1450:4001:81b::200e", "2606:2800:220:1:248:1893:25c8:1946"])
def test_a_public_ip_address_is_found(address: str) -> None:
    assert found(f"from {address}, at noon") == [("ip", address)]


@pytest.mark.parametrize(
    "text",
    ["192.168.1.100", "127.0.0.1", "10.0.0.255", "version 1.2.3.4", "4.12.10.3", "300.184.216.34", "1.93.184.216.34",
     "12:30:45", "std::vector", "2001:db8::1", "fe80::1", "10:20:30:40:50:60:70:80"],
)  # fmt: skip
def test_private_addresses_versions_and_times_are_no_ip_address(text: str) -> None:
    assert found(text) == []


def test_matches_are_in_order_and_do_not_overlap() -> None:
    text = f"{KEYS[0]} 5550199@firm.com 4111111111111111 +49 30 1234567, tel 4111111111111111, 212-555-0199@firm.com"
    matches = find_personal_data(text)
    assert [m.kind for m in matches] == ["key", "email", "card", "card", "email"]
    assert all(a.end <= b.start for a, b in pairwise(matches))


def test_redaction_replaces_each_match_by_its_kind_and_nothing_else() -> None:
    text = (
        f"Ann (ann@firm.com, 212-555-0199) paid 4111 1111 1111 1111\nfrom 93.184.216.34: {KEYS[0]}; NL91ABNA0417164300"
    )
    clean, counts = redact(text)
    assert clean == "Ann ([EMAIL], [PHONE]) paid [CARD]\nfrom [IP]: [KEY]; [IBAN]"
    assert counts == Counter(email=1, phone=1, card=1, ip=1, key=1, iban=1)
    assert redact("nothing here") == ("nothing here", Counter())


def test_redaction_goes_on_until_nothing_is_found() -> None:
    clean, counts = redact("4111111111111111 +49 30 1234567")
    assert (clean, counts) == ("[CARD] [PHONE]", Counter(card=1, phone=1))


PIECES = st.sampled_from(
    ["ann@firm.com", "+49 30 1234567", "4111 1111 1111 1111", "212-555-0199", "NL91ABNA0417164300", "93.184.216.34",
     "tel ",
     "://", "2a00:1450:4001:81b::200e", KEYS[0], KEYS[4], KEYS[-1], "\n", "1", "-", ".", "@", "+", "0", "é", "\ud800",
     "()"]
)  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["+49 30 12345678 ", "4111111111111111 ", "+49 30 12345678 ann@firm.com "])
def test_a_long_row_of_numbers_is_replaced_in_linear_time(piece: str) -> None:
    """Each number is one only after the one before was replaced: whole rounds would take an hour."""
    clean, counts = redact(piece * 10_000)
    assert not re.search("[0-9]", clean) and counts.total() == clean.count("[")


@given(st.lists(st.one_of(PIECES, st.text(max_size=4), st.from_regex(r"[0-9 .()+/@:A-Z\-]{0,12}", fullmatch=True))))
def test_redaction_is_idempotent_and_keeps_everything_else(pieces: list[str]) -> None:
    text = " ".join(pieces[::2]) + "".join(pieces[1::2])
    spans = find_personal_data(text)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    assert all(0 <= start < end <= len(text) for _, start, end in spans)
    clean, counts = redact(text)
    assert redact(clean) == (clean, Counter())
    assert counts.total() >= len(spans)
    position = 0
    for part in re.split(r"\[(?:EMAIL|PHONE|CARD|IBAN|KEY|IP)\]", clean):  # what is left stands in the text, in order
        position = text.index(part, position) + len(part)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    ["1", "1 ", "0-1", "a@", "+1 2", "DE12 3456 ", ":a:", "eyJaaaaaaaa.", "s" + "k-a", "xoxb-", "-----BEGIN ", "://a:b",
     "123.", "tel 1 ", "(12) ", "4111 ", "_k_live_",
     "-eyJ"],
)  # fmt: skip
def test_hostile_repetitions_take_no_more_than_linear_time(piece: str) -> None:
    """A backtracking search would need hours for these."""
    assert len(redact(piece * 40_000)[0]) > 0


@pytest.mark.parametrize("file", ["gsm8k_solutions", "kto_mix_300", "oasst_pairs", "stories_real", "stories_sentiment"])
def test_nothing_is_found_in_real_feedback_without_personal_data(shared: Path, file: str) -> None:
    with (shared / "data" / f"{file}.jsonl").open(encoding="utf-8") as lines:
        matches = [hit for line in lines for text in strings(json.loads(line)) for hit in found(text)]
    assert matches == []


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)
