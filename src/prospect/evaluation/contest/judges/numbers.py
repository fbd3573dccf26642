"""The numbers that stand in a text, exactly: 1,234.5 and -3/4 are fractions, never floats."""

from __future__ import annotations

import re
from fractions import Fraction

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)"
# A minus is a sign unless something that could be subtracted from stands before it: 5-3 ends with 3, x = -3 with -3.
_NUMBER = re.compile(
    rf"""
    (?P<sign> (?<![\w)\]}}.]) [-+\u2212] )?  (?: [$€£] [ ]? )?
    (?:
        \\[dt]?frac \{{ (?P<top> {_DECIMAL} ) \}} \{{ (?P<bottom> {_DECIMAL} ) \}}
      | (?: (?P<whole> \d{{1,3}} ) [ ] (?= \d+ / \d ) )?  (?<![\d.]) (?P<number> {_DECIMAL} )
        (?: [ ]? / [ ]? (?P<under> {_DECIMAL} ) | [eE] (?P<power> [-+]? \d{{1,3}} ) (?! \d ) )?
    )
    """,
    re.VERBOSE,
)
# Python refuses to read integers of more digits than this, for the time it takes grows with their square.
_MOST_DIGITS = 4000


def last_number(text: str) -> Fraction | None:
    """Return the last number of a text; None where there is none.

    Read are signs (- + and the minus sign), thousands separators (1,234), decimals (.5), fractions (3/4, 2 1/2
    and LaTeX's frac), powers of ten (1.5e-3) and currency signs before a number. A percent sign changes nothing.
    """
    found: re.Match[str] | None = None
    for found in _NUMBER.finditer(text):  # noqa: B007  the last one is wanted
        pass
    if found is None or len(found.group()) > _MOST_DIGITS:
        return None
    if found["top"] is not None:
        value = _divide(_exact(found["top"]), _exact(found["bottom"]))
    else:
        value = _exact(found["number"])
        if found["under"] is not None:
            value = _divide(value, _exact(found["under"]))
        elif found["power"] is not None:
            value *= Fraction(10) ** int(found["power"])
        if found["whole"] is not None and value is not None:
            value += int(found["whole"])
    if value is None:
        return None
    return -value if (found["sign"] or "").strip() in ("-", "\u2212") else value


def _exact(digits: str) -> Fraction:
    return Fraction(digits.replace(",", ""))


def _divide(top: Fraction, bottom: Fraction) -> Fraction | None:
    return top / bottom if bottom else None
