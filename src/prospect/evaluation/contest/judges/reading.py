"""A judge's reply -> a verdict: nothing in a reply is searched, its whole is a verdict or it is none.

A reply is text that a model wrote after reading completions which may be hostile, and it may repeat them. So

- thoughts are passed over, and what is left, to the last character, must be one JSON object of one verdict, or one
  letter. A letter or an object in the middle of other text is never a verdict.
- What the judge was shown cannot be repeated into that form: think tags and the key "verdict" are taken apart in prompt
  and completions (`judging_prompt`), so a text that is repeated letter by letter neither ends the thoughts nor is such
  an object.
- Thoughts stand in for an answer only where the server gave none and did not cut the reply (a server that files the
  whole reply under thoughts does this). Then the same holds, and a lone letter is not enough: thoughts repeat things,
  and end with a letter sooner than with an object that was asked for.
- A reply that was cut is none, whatever it ends with: the cut may lie within a quotation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection

from prospect.endpoint.replies import Reply
from prospect.evaluation.contest.judges.base import Grade, Verdict
from prospect.evaluation.contest.judges.prompt import LABELS, SCORES
from prospect.feedback.chat.thoughts import split_thoughts

VERSION = 2  # of these rules: verdicts that were read by others are asked for again

_FENCE = re.compile(r"```(?:[\w-]*[ \t]*\n)?(?P<inner>(?:(?!```).)*)```", re.DOTALL)
# The letters of this pattern and no others: an object spelled with escapes is one that a completion could hold.
_OBJECT = re.compile(r'\{\s*"verdict"\s*:\s*"(?P<label>[^"\\]*)"\s*\}')
_LETTER = re.compile(r"(?P<mark>\*\*|[*_`]|)(?:\((?P<a>\w)\)|\[(?P<b>\w)\]|(?P<c>\w)\)?)[.:]?(?P=mark)\.?", re.ASCII)
_SHOWN = 200  # characters of a reply that could not be read


def read_reply(reply: Reply) -> Verdict:
    """Return the verdict of a reply; "unparsed" with its beginning where it is none."""
    label, note = read_label(reply, LABELS)
    tokens = reply.prompt_tokens, reply.completion_tokens
    return Verdict("unparsed" if label is None else LABELS[label], note, *tokens)


def read_score(reply: Reply) -> Grade:
    """Return the score of a reply of one completion: 1 for yes, 0 for no, or how likely yes was beside no.

    The latter where the server says how likely each was in the place of the letter that it answered with.
    """
    label, note = read_label(reply, SCORES)
    tokens = reply.prompt_tokens, reply.completion_tokens
    if label is None:
        return Grade(math.nan, note, *tokens)
    chance = _chance_of_yes(reply, label)
    return Grade(SCORES[label] if chance is None else chance, note, *tokens)


def _chance_of_yes(reply: Reply, label: str) -> float | None:
    """Return P(yes) / (P(yes) + P(no)) in the last place where a letter stands by itself; None where none is known."""
    for place in reversed(reply.chances):
        if _bare(place.token) not in SCORES:
            continue
        shares = dict.fromkeys(SCORES, 0.0)
        for token, logp in place.likeliest:
            if _bare(token) in shares:
                shares[_bare(token)] += math.exp(logp)
        return shares["Y"] / sum(shares.values()) if _bare(place.token) == label and any(shares.values()) else None
    return None


def _bare(token: str) -> str:
    """Return a token as the letter that it is, where it holds no more than that and the marks around it."""
    return token.strip(' \n"{}:*_`().').upper()


def read_label(reply: Reply, labels: Collection[str]) -> tuple[str | None, str]:
    """Return the label that a reply is, None where it is none, and what people should read of it: it, or its start."""
    label = None if reply.cut else _label(reply, labels)
    if label is not None:
        return label, label
    cut = ", cut" if reply.cut else ""
    if reply.text.strip() or not reply.thoughts:
        return None, f"reply{cut}: {reply.text.strip()[:_SHOWN]!r}"
    return None, f"reply of thoughts only{cut}: {reply.thoughts.strip()[:_SHOWN]!r}"


def _label(reply: Reply, labels: Collection[str]) -> str | None:
    if reply.text.strip():
        answer = _answer(reply.text)
        return _of_object(answer, labels) or _of_letter(answer, labels)
    return _of_object(_answer(reply.thoughts), labels)


def _answer(text: str) -> str:
    """Return what follows the thoughts, without a fence around it."""
    answer = split_thoughts(text).answer.strip()
    fenced = _FENCE.fullmatch(answer)
    return fenced["inner"].strip() if fenced else answer


def _of_object(text: str, labels: Collection[str]) -> str | None:
    found = _OBJECT.fullmatch(text)
    return _of_letter(found["label"].strip(), labels) if found else None


def _of_letter(text: str, labels: Collection[str]) -> str | None:
    """Return the letter that stands alone, as models write it: A, a, A., A), (A), [A], **A**, `A`."""
    found = _LETTER.fullmatch(text)
    letter = (found["a"] or found["b"] or found["c"]).upper() if found else ""
    return letter if letter in labels else None
