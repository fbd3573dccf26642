"""Personal data in texts: e-mail addresses, phone numbers, payment cards, bank accounts, keys and IP addresses.

Only what has a form that can be checked is looked for, and the form is checked as far as it goes (checksums, lengths,
country codes), because most long numbers in answers are sums, dates and part numbers. Names and street addresses have
no such form and are not found.

Every text of a file passes here, so cheap questions come first: is there an "@", does the beginning of a key occur, are
there six digits with nothing but separators between them. Most texts are done with that, and in the others only the
surroundings of the digits are searched.
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple


class Match(NamedTuple):
    """A piece of personal data, `text[start:end]`, of kind email, phone, card, iban, key or ip."""

    kind: str
    start: int
    end: int


def find_personal_data(text: str) -> list[Match]:
    """Return what was found, in the order of the text; no two matches overlap.

    Where two kinds claim the same characters, the more specific one has them: key, email, iban, card, ip, phone.
    """
    found: list[Match] = []
    for prefix, pattern in (_KEYS if "_" in text else _KEYS_WITHOUT_UNDERSCORE).items():
        if prefix in text:
            _add(found, "key", _keys(text, pattern))
    if "@" in text:
        _add(found, "key", _passwords(text))
        _add(found, "email", _emails(text))
    if _THREE_COLONS.search(text):
        _add(found, "ip", _ipv6(text))
    if _has_long_number(text):
        numbers = [match.span() for match in _LONG_NUMBER.finditer(text)]
        for kind, search in (("iban", _ibans), ("card", _cards), ("ip", _ipv4), ("phone", _phones)):
            for first, last in numbers:
                _add(found, kind, search(text, first, last))
    return found


def redact(text: str) -> tuple[str, Counter[str]]:
    """Return the text with [EMAIL], [PHONE], [CARD], [IBAN], [KEY] or [IP] in place of each match, and their counts.

    Nothing else changes. Nothing is found in the result, so redacting it again changes nothing.
    """
    counts: Counter[str] = Counter()
    # More than once, because what stands beside a match decides too: after another number "+49 30 1234567" is added
    # to it, after "[CARD]" it is a phone number. Each round takes digits, an "@" or a key away and adds none.
    for _ in range(_USUAL_ROUNDS):
        if not (matches := find_personal_data(text)):
            return text, counts
        text = _replaced(text, matches, counts)
    # Of many numbers in a row each round may find one. In short parts that takes no longer than the row is long; what
    # stands where parts meet is left for the end.
    text = "".join(_replaced_often(part, counts) for part in _PARTS.findall(text))
    return _replaced_often(text, counts), counts


_USUAL_ROUNDS = 4
_PARTS = re.compile(r".{1,256}(?=\s|\Z)|.{1,256}", re.DOTALL)


def _replaced_often(text: str, counts: Counter[str]) -> str:
    while matches := find_personal_data(text):
        text = _replaced(text, matches, counts)
    return text


def _replaced(text: str, matches: list[Match], counts: Counter[str]) -> str:
    parts, last = [], 0
    for kind, start, end in matches:
        parts += [text[last:start], f"[{kind.upper()}]"]
        counts[kind] += 1
        last = end
    return "".join([*parts, text[last:]])


Spans = Iterator[tuple[int, int]]
_start = attrgetter("start")
_BEYOND = 6  # characters after a number that the patterns look at

_SEPARATORS = " \t()-./\u00a0\u2009\u2010\u2011\u202f"
_LONG_NUMBER = re.compile(f"[0-9](?:[{re.escape(_SEPARATORS)}]{{0,3}}[0-9]){{5,}}")
# Digits become 0, what may stand between them -, all else x. Bytes above 127 count as separators: some are.
_CLASSES = bytes(
    0x30 if 0x30 <= byte <= 0x39 else 0x2D if byte > 127 or chr(byte) in _SEPARATORS else 0x78 for byte in range(256)
)


def _has_long_number(text: str) -> bool:
    """Whether `_LONG_NUMBER` may match, at a nanosecond per character."""
    classes = text.encode("utf-8", "surrogatepass").translate(_CLASSES)
    return classes.count(b"0") >= 6 and b"000000" in classes.translate(None, b"-")


def _add(found: list[Match], kind: str, spans: Spans) -> None:
    """Add the spans that overlap nothing found before; `found` stays in the order of the text."""
    for start, end in spans:
        place = bisect_left(found, start, key=_start)
        if (not place or found[place - 1].end <= start) and (place == len(found) or end <= found[place].start):
            found.insert(place, Match(kind, start, end))


# -- keys --

_WORD = "[A-Za-z0-9_-]"
_KEYS = {
    prefix: re.compile(prefix + rest, re.ASCII)
    for prefix, rest in {
        "sk-": f"{_WORD}{{20,}}",
        "k_live_": "[A-Za-z0-9]{16,}",
        "k_test_": "[A-Za-z0-9]{16,}",
        "ghp_": "[A-Za-z0-9]{36,}",
        "gho_": "[A-Za-z0-9]{36,}",
        "ghu_": "[A-Za-z0-9]{36,}",
        "ghs_": "[A-Za-z0-9]{36,}",
        "ghr_": "[A-Za-z0-9]{36,}",
        "github_pat_": "[A-Za-z0-9_]{22,}",
        "glpat-": f"{_WORD}{{20,}}",
        "AKIA": r"[A-Z0-9]{16}\b",
        "ASIA": r"[A-Z0-9]{16}\b",
        "AIza": f"{_WORD}{{35}}",
        "xox": f"[abeoprs]-{_WORD}{{16,}}",
        "hf_": "[A-Za-z0-9]{30,}",
        "npm_": "[A-Za-z0-9]{36}",
        "eyJ": rf"{_WORD}{{8,1024}}\.eyJ{_WORD}{{8,}}\.{_WORD}{{10,}}",
        "-----BEGIN ": r"(?P<what>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----(?s:.*?)(?:-----END (?P=what)-----|\Z)",
    }.items()
}


# Keys are random: words joined by hyphens have no digits among their letters.
_RANDOM = re.compile("[0-9][A-Za-z0-9]{4}")
_KEYS_WITHOUT_UNDERSCORE = {prefix: pattern for prefix, pattern in _KEYS.items() if "_" not in prefix}
_PASSWORD = re.compile(r"://([^\s/:@\[\]]{1,64}:[^\s/@\[\]]{1,128})@[A-Za-z0-9\[]")


def _keys(text: str, pattern: re.Pattern[str]) -> Spans:
    for match in pattern.finditer(text):
        start = match.start()
        if text.startswith("k_", start):  # Stripe's secret (s) and restricted (r) keys; the others are public
            start -= 1
            if text[start : start + 1] not in ("s", "r"):
                continue
        # The patterns begin with their prefix, which makes the search fast, so what stands before it is looked at here.
        alone = start <= 0 or not (text[start - 1].isascii() and text[start - 1].isalnum())
        if alone and (text[start] not in "sx" or _RANDOM.search(text, start + 4, match.end())):
            yield start, match.end()


def _passwords(text: str) -> Spans:
    """Yield the name:password of addresses such as scheme://name:password@host, but for those that say just that."""
    for match in _PASSWORD.finditer(text):
        if not re.search(":(?:pass|password|passwd|pwd|secret)$", match[1], re.IGNORECASE):
            yield match.span(1)


# -- e-mail --

_LOCAL = re.compile(r"[A-Za-z0-9À-ɏ!#$%&'*+/=?^_`{|}~.\-]{1,64}\Z")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9À-ɏ](?:[A-Za-z0-9À-ɏ\-]{0,61}[A-Za-z0-9À-ɏ])?\.){1,8}(xn--[a-z0-9\-]{2,59}|[A-Za-z]{2,24})(?![\w(])",
    re.ASCII,
)
_FILES = ("png", "jpg", "jpeg", "gif", "svg", "webp", "bmp", "ico", "css", "js", "json", "html")  # logo@2x.png


def _emails(text: str) -> Spans:
    at = text.find("@")
    while at >= 0:
        local = _LOCAL.search(text, max(0, at - 64), at)
        domain = _DOMAIN.match(text, at + 1)
        if local and domain:
            name = local.group().lstrip("!#$%&'*+/=?^`{|}~.-")
            if name and name[-1] != "." and name != "git" and _is_mail_domain(domain):
                secret = _PASSWORD.match(text, max(0, text.rfind("://", max(0, at - 196), at)))
                if not secret or secret.end(1) != at:
                    yield at - len(name), domain.end()
        at = text.find("@", at + 1)


def _is_mail_domain(domain: re.Match[str]) -> bool:
    top = domain[1].lower()
    one_letter = len(domain.group()) == len(top) + 2 and len(top) > 3  # A@B.shape is a product of matrices
    return top not in _FILES and not one_letter


# -- bank accounts and cards --

_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?=[ \u00a0\u202f\-]?[A-Z0-9]{4})")


@cache
def _account(country: str) -> re.Pattern[str] | None:
    """Return the form of a country's accounts, which is their length; None where there are none."""
    from stdnum import numdb

    parts = numdb.get("iban").info(country)[0][1].get("bban", "")
    length = sum(map(int, re.findall("[0-9]+", parts)))  # "8!n10!n": 8 digits and 10 digits
    form = rf"[A-Z]{{2}}[0-9]{{2}}(?:[ \u00a0\u202f\-]?[A-Z0-9]){{{length}}}(?![A-Za-z0-9])"
    return re.compile(form) if length else None


def _ibans(text: str, first: int, last: int) -> Spans:
    from stdnum import iban

    for match in _IBAN.finditer(text, max(0, first - 66), last):
        form = _account(match.group()[:2])
        account = form.match(text, match.start()) if form else None
        if account and iban.is_valid("".join(c for c in account.group() if c.isalnum())):
            yield account.span()


_CARD = re.compile(
    r"(?<![A-Za-z0-9_.,+\-/])(?<![0-9]{4} )"
    r"(?:[2-6][0-9]{13,18}"
    r"|[2-6][0-9]{3}([ \u00a0\-])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3}(?![0-9]))?(?!\1[0-9]{4})"
    r"|3[0-9]{3}([ \u00a0\-])[0-9]{6}\2[0-9]{4,5})(?![A-Za-z0-9_]|[.,][0-9])"
)
# First and last prefix of each issuer's numbers, and their lengths. Visa's old 13 digits are left out: EANs have 13.
_ISSUERS = (
    (4, 4, (16, 19)),  # Visa
    (51, 55, (16,)), (2221, 2720, (16,)),  # Mastercard
    (34, 34, (15,)), (37, 37, (15,)),  # American Express
    (300, 305, (14, 16)), (3095, 3095, (14, 16)), (36, 36, (14, 16)), (38, 39, (14, 16)),  # Diners Club
    (6011, 6011, (16, 19)), (644, 659, (16, 19)),  # Discover
    (3528, 3589, (16, 19)),  # JCB
    (62, 62, (16, 17, 18, 19)),  # UnionPay
    (2200, 2204, (16, 19)),  # Mir
    (60, 60, (16,)), (508, 508, (16,)), (81, 82, (16,)),  # RuPay
    (5018, 5018, (16, 19)), (5020, 5020, (16, 19)), (5038, 5038, (16, 19)), (5893, 5893, (16, 19)),  # Maestro
    (6304, 6304, (16, 19)), (6759, 6763, (16, 19)),
)  # fmt: skip


def _cards(text: str, first: int, last: int) -> Spans:
    for match in _CARD.finditer(text, first, last + _BEYOND):
        start, end = match.span()
        if _is_card(match.group()):
            yield start, end
        elif match[1] and end - start == 23 and _is_card(text[start : end - 4]):  # 16 digits, and the 3 of the back
            yield start, end - 4


def _is_card(number: str) -> bool:
    from stdnum import luhn

    digits = re.sub("[^0-9]", "", number)
    prefix = int(digits[:4])
    known = any(
        first <= prefix // 10 ** (4 - len(str(first))) <= last and len(digits) in lengths
        for first, last, lengths in _ISSUERS
    )
    return known and luhn.is_valid(digits)


# -- IP addresses --

_IPV4 = re.compile(r"(?<![\w.\-/])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w]|\.[0-9])", re.ASCII)
_THREE_COLONS = re.compile(":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{3,34}(?![\w:])", re.ASCII)


def _ipv4(text: str, first: int, last: int) -> Spans:
    for match in _IPV4.finditer(text, first, last + _BEYOND):
        # Versions and section numbers look the same, but have no part above 99; one address in fifty has none either.
        if any(len(part) == 3 for part in match.group().split(".")) and _is_public(match.group()):
            yield match.span()


def _ipv6(text: str) -> Spans:
    for match in _IPV6.finditer(text):
        address = match.group().rstrip(":")
        if _THREE_COLONS.search(address) and _is_public(address):
            yield match.start(), match.start() + len(address)


def _is_public(address: str) -> bool:
    """Addresses of homes, loopbacks and documentation are everybody's and so nobody's."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


# -- phone numbers --

_GAP = r"(?:[ \u00a0\u2009\u202f.\-\u2011\u2010/]|\)[ \u00a0\-]?|[ \u00a0\-]?\()"
_END = re.compile(r"(?![A-Za-z0-9_%°]|[.,:][0-9]|[ ]?[€$£=*^])")
_INTERNATIONAL = re.compile(
    rf"(?<![\w)\]+.,=])(?<![0-9)=*/^] )\+\(?[1-9][0-9]{{0,14}}(?:{_GAP}[0-9]+){{0,7}}", re.ASCII
)
_NATIONAL = re.compile(
    r"(?<![\w.,+\-/])(?<![0-9=+*/] )(?<![=+*/$€£])"
    rf"(?:1[ .\-])?(?:[0-9]{{2,5}}|\([0-9]{{2,5}}\))(?:{_GAP}[0-9]{{2,8}}){{1,5}}"
    rf"(?!-?[0-9]|[ ]?[=+*][ ]?[0-9]|[ ][0-9]){_END.pattern}",
    re.ASCII,
)
# Countries as whose a number without a code is tried: where it begins with 0, and where it does not.
_COUNTRIES = "FR GB DE AU JP AT BE CH FI IE IN KR NL NZ SE TR UA ZA"
_WITH_ZERO, _WITHOUT_ZERO = tuple(_COUNTRIES.split()), ("US", "BR", "CN")
_ANY_NUMBER = re.compile(
    rf"(?<![\w.,+])(?:\([0-9]{{2,5}}\) ?|\+?[0-9])(?:{_GAP}?[0-9]){{6,14}}(?![0-9]){_END.pattern}", re.ASCII
)
_STEMS = "tel tél phone mobil handy app fax hotline call dial ring sms cell тел 电话 電話 手机 手機 전화"
_STEM_LIST = tuple(_STEMS.split())
_CALLED = re.compile(
    r"(?:\b(?:tel(?:ephone|efon|éfono|efone)?|tél(?:éphone)?|(?:cell|mobile|tele)?phone|mobile?|mobil(?:nummer)?|cell|"
    r"handy(?:nummer)?|whats ?app|fax|hotline|call|dial|ring|sms|телефон|тел)|电话|電話|手机|手機|전화)"
    r"(?:[ .:#\-]{0,3}(?:number|nummer|no|nr|is|me|us|him|her|them|at|on|now|home|work|office|our|my|the|your|ist|"
    r"unter|номер|号码|號碼|番号|번호)\b){0,4}[ .:#=：\-]{0,4}\Z"
)
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}[-./ ](?:0?[1-9]|1[0-2])[-./ ][0-3]?[0-9]\b|[0-3]?[0-9][-./][0-3]?[0-9][-./](?:19|20)?[0-9]{2}\b"
)


def _phones(text: str, first: int, last: int) -> Spans:
    first, last = max(0, first - 2), last + _BEYOND  # "+(" may stand before the first digit
    for match in _INTERNATIONAL.finditer(text, first, last):
        length = _dialled(match.group(), None)
        if length and _END.match(text, match.start() + length):
            yield match.start(), match.start() + length
    for match in _NATIONAL.finditer(text, first, last):
        if _is_national(match.group()):
            yield match.span()
    for match in _ANY_NUMBER.finditer(text, first, last):
        before = text[max(0, match.start() - 48) : match.start()].lower()
        if any(stem in before for stem in _STEM_LIST) and _CALLED.search(before) and not _is_quantity(match.group()):
            yield match.span()


def _dialled(number: str, country: str | None) -> int:
    """Return how many characters at its beginning are a valid phone number; 0 if none is.

    Args:
        number: what looks like one.
        country: where it is dialled; its digits must then be grouped as they are there. None: it begins with +.
    """
    from phonenumbers import Leniency, PhoneNumberMatcher

    leniency = Leniency.STRICT_GROUPING if country else Leniency.VALID
    found = next(iter(PhoneNumberMatcher(number, country, leniency)), None)
    return found.end if found and found.start == 0 else 0


def _is_national(number: str) -> bool:
    """Whether a number without a country's code is a valid one somewhere, and no list of numbers or date."""
    groups = re.findall("[0-9]+", number)
    if not 9 <= sum(map(len, groups)) <= 12 or (len(groups) < 5 and _DATE.match(number)):
        return False
    steps = {int(b) - int(a) for a, b in pairwise(groups)}
    if len(groups) > 2 and len(steps) == 1 and max(steps) <= 10:  # 05 10 15 20 25
        return False
    countries = _WITH_ZERO if groups[0][0] == "0" else _WITHOUT_ZERO
    return any(_dialled(number, country) == len(number) for country in countries)


def _is_quantity(number: str) -> bool:
    """Whether a number after "call" or "phone" is a date, or a round number with separators: 1 000 000."""
    if re.fullmatch(r"[1-9][0-9]{0,2}(?:[ .\u00a0\u202f][0-9]{3}){1,2}|[0-9]+\.[0-9]+", number):
        return len(number) < 11 or number.endswith("000") or "." in number
    return bool(_DATE.match(number))
