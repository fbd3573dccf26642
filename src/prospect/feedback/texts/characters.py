"""Which writing system a text is in, and characters that should not be in it.

Both questions are asked of every text of a file, so ASCII is answered without looking at every character in Python,
and the rest through one table of code points.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

_LETTER = re.compile("[A-Za-z]")
_ALLOWED_ASCII = bytes([9, 10, 13, *range(32, 127)])

# Writing system -> ranges of its letters, both ends included (Unicode 16, blocks and the letters in them).
_SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "latin": (
        (0x41, 0x5A), (0x61, 0x7A), (0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x2AF),
        (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF), (0xFB00, 0xFB06), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A),
    ),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "armenian": ((0x531, 0x58F),),
    "hebrew": ((0x591, 0x5F4), (0xFB1D, 0xFB4F)),
    "arabic": ((0x620, 0x65F), (0x66E, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "devanagari": ((0x900, 0x963), (0x971, 0x97F), (0xA8E0, 0xA8FF)),
    "bengali": ((0x980, 0x9FF),),
    "gurmukhi": ((0xA00, 0xA7F),),
    "gujarati": ((0xA80, 0xAFF),),
    "oriya": ((0xB00, 0xB7F),),
    "tamil": ((0xB80, 0xBFF),),
    "telugu": ((0xC00, 0xC7F),),
    "kannada": ((0xC80, 0xCFF),),
    "malayalam": ((0xD00, 0xD7F),),
    "sinhala": ((0xD80, 0xDFF),),
    "thai": ((0xE01, 0xE3A), (0xE40, 0xE4E)),
    "lao": ((0xE80, 0xEFF),),
    "tibetan": ((0xF00, 0xFFF),),
    "myanmar": ((0x1000, 0x109F), (0xAA60, 0xAA7F)),
    "georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F)),
    "hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7FF)),
    "ethiopic": ((0x1200, 0x139F), (0x2D80, 0x2DDF)),
    "khmer": ((0x1780, 0x17D3),),
    "mongolian": ((0x1820, 0x18AF),),
    "kana": ((0x3041, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D)),
    "han": ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
}  # fmt: skip
_NAMES = ("none", *_SCRIPTS)


def script_of(text: str) -> str:
    """Return the writing system that most letters of the text belong to, "none" where there are no letters.

    "japanese" is kana with or without Han characters, "han" the latter without kana.
    """
    if text.isascii():  # known without a scan
        return "latin" if _LETTER.search(text) else "none"
    import numpy as np

    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(_script_table().take(codes), minlength=len(_NAMES))
    counts[0] = 0
    kana, han = _NAMES.index("kana"), _NAMES.index("han")
    counts[kana] += counts[han] if counts[kana] * 10 >= counts[han] else 0
    best = int(counts.argmax())
    return "none" if not counts[best] else "japanese" if best == kana else _NAMES[best]


@cache
def _script_table() -> Any:
    import numpy as np

    table = np.zeros(0x110000, np.uint8)
    for number, ranges in enumerate(_SCRIPTS.values(), start=1):
        for first, last in ranges:
            table[first : last + 1] = number
    return table


_ODD = {
    "nul": ((0, 0),),
    "control": ((0x01, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x9F)),
    "replacement": ((0xFFFD, 0xFFFD),),
    "surrogate": ((0xD800, 0xDFFF),),
    "private_use": ((0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD)),
    "bidi": ((0x202A, 0x202E), (0x2066, 0x2069)),
    "zero_width": (
        (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E), (0x200B, 0x200F), (0x2060, 0x2064), (0xFEFF, 0xFEFF),
        (0xE0001, 0xE007F),
    ),
    "mojibake": ((0xC2, 0xF4),),  # what the first byte of a character of UTF-8 looks like in Latin-1
}  # fmt: skip


def odd_characters(text: str) -> frozenset[str]:
    """Return which kinds of characters are in the text that a reader neither sees nor wants.

    The kinds: "nul"; "control" (C0 and C1 other than tab and line ends); "replacement" (U+FFFD, where something could
    not be decoded); "surrogate" (half a character); "private_use"; "bidi" (direction overrides; embeddings and isolates
    that are not closed, or where nothing is written from right to left); "zero_width" (invisible characters that join
    no emoji and belong to no script of the text); "mojibake" (UTF-8 that was read as Latin-1 or Windows-1252).
    """
    if text.isascii():
        rest = text.encode().translate(None, _ALLOWED_ASCII)
        if not rest:
            return _NOTHING
        return frozenset(({"nul"} if b"\0" in rest else set()) | ({"control"} if rest.strip(b"\0") else set()))
    import numpy as np

    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    flags = int(np.bitwise_or.reduce(_odd_table().take(codes)))
    if not flags:
        return _NOTHING
    found = {kind for bit, kind in enumerate(_ODD) if flags >> bit & 1}
    for kind, confirm in (("bidi", _odd_bidi), ("zero_width", _odd_zero_width), ("mojibake", _is_mojibake)):
        if kind in found and not confirm(text):
            found.remove(kind)
    return frozenset(found)


_NOTHING: frozenset[str] = frozenset()


@cache
def _odd_table() -> Any:
    import numpy as np

    table = np.zeros(0x110000, np.uint8)
    for bit, ranges in enumerate(_ODD.values()):
        for first, last in ranges:
            table[first : last + 1] |= 1 << bit
    return table


# -- direction and invisible characters --

_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
# What is fine where it stands: joiners between emoji (with skin tones and variation selectors) and inside words of
# scripts that use them, flags of regions, line breaks of scripts without spaces, direction marks beside such letters.
_EMOJI = "[\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff]"
_JOINING = "[\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u17ff\u1820-\u18af\ufb50-\ufdff\ufe70-\ufefc]"
_FINE = re.compile(
    f"(?<={_EMOJI})[\ufe0f\u20e3]?\u200d(?={_EMOJI})"
    f"|(?<={_JOINING})[\u200c\u200d]+"
    "|\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"
    "|(?<=[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff])[\u200b\u2060]"
    "|[\u200b\u2060](?=[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff])"
    "|[\u1820-\u18af]\u180e"
    "|(?<=\\w)\u00ad(?=\\w)"
)
_ZERO_WIDTH = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u2060-\u2064\ufeff\U000e0001-\U000e007f]")
_MARKS = re.compile("[\u061c\u200e\u200f]")


def _odd_bidi(text: str) -> bool:
    if "\u202d" in text or "\u202e" in text or not _RIGHT_TO_LEFT.search(text):
        return True
    opened = [sum(map(text.count, signs)) for signs in ("\u202a\u202b", "\u202c", "\u2066\u2067\u2068", "\u2069")]
    return opened[0] != opened[1] or opened[2] != opened[3]


def _odd_zero_width(text: str) -> bool:
    if _RIGHT_TO_LEFT.search(text):
        text = _MARKS.sub("", text)
    return bool(_ZERO_WIDTH.search(_FINE.sub("", text)))


# -- UTF-8 read as Windows-1252 --

_UNDEFINED = b"\x81\x8d\x8f\x90\x9d"
_CP1252 = {bytes([byte]).decode("cp1252"): byte for byte in range(0x80, 0x100) if byte not in _UNDEFINED}
_FOLLOWING = "".join(sorted({*map(chr, range(0x80, 0xC0)), *(char for char, byte in _CP1252.items() if byte < 0xC0)}))
_FOLLOWING = re.escape(_FOLLOWING)
_SEQUENCE = f"(?:[\u00c2-\u00df][{_FOLLOWING}]|[\u00e0-\u00ef][{_FOLLOWING}]{{2}}|[\u00f0-\u00f4][{_FOLLOWING}]{{3}})"
_SEQUENCES = re.compile(f"{_SEQUENCE}+")
_OPENING = (*"\"'(„“«‘",)
_AFTER_WORDS = re.compile(
    "[\u00a0\u00a9\u00aa\u00ae\u00b0\u00b2-\u00b4\u00b9-\u00bb\u2013\u2014\u2019\u201c\u201d\u2022\u2026\u203a\u2122]"
)


def _is_mojibake(text: str) -> bool:
    """Whether something in the text, written in Windows-1252 and read as UTF-8, is likelier than what it is now."""
    for match in _SEQUENCES.finditer(text):
        run = match.group()
        try:
            decoded = bytes(_CP1252.get(char) or ord(char) for char in run).decode()
        except ValueError:
            continue
        code, sign_follows = ord(decoded[0]), _AFTER_WORDS.match(run[-1])
        if len(decoded) > 1:  # several in a row: letters of another script, or of this one with accents
            if all(_likely(ord(char)) for char in decoded):
                return True
        elif 0xA0 <= code < 0x180:
            if not (sign_follows and _may_end_a_word(run[0], text[match.start() - 1 : match.start()])):
                return True
        elif 0x1E00 <= code < 0x1F00:
            if not sign_follows:
                return True
        elif 0x2010 <= code < 0x27C0 or 0xFB00 <= code <= 0xFB06 or code == 0xFEFF or 0x1F300 <= code < 0x1FB00:
            return True
    return False


def _may_end_a_word(letter: str, before: str) -> bool:
    """Whether a capital with an accent may be the last letter of a word: IRMÃ”, „Ä“, but neither cafÃ© nor 10 Â°C."""
    return before.isupper() or before in _OPENING or (letter in "ÄÅ" and not before.islower())


def _likely(code: int) -> bool:
    return code < 0x250 or 0x370 <= code < 0x700 or 0x900 <= code < 0x1100 or 0x1E00 <= code < 0x2800 or code >= 0x3000
