"""People as judges: a page on which they vote without knowing whose completion is whose, and the votes read back."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

from prospect.atomic import write_text
from prospect.errors import DataError
from prospect.evaluation.contest.judges.base import Candidate, Choice, Item, Judge, Verdict, plain_text, text_key
from prospect.evaluation.contest.judges.prompt import DEFAULT_RUBRIC
from prospect.evaluation.contest.judges.registry import judge
from prospect.file_kinds import regular_file

_FORMAT = "prospect-votes"


def write_page(
    items: Sequence[Item],
    path: str | Path,
    *,
    rubric: str = DEFAULT_RUBRIC,
    title: str = "Which is better?",
    seed: int = 0,
) -> int:
    """Write a page on which a person votes: one file that needs no server, no network and no other file.

    Comparisons come in an order drawn by the seed, so that those voted on first are a fair sample; which completion
    stands on the left is drawn for each of them. The page names no side, not even in its source. Votes stay in the
    browser until they are saved to a file, which `HumanJudge` reads.

    Args:
        items: comparisons. Identical completions are left out, for they tie; what comes twice is asked once.
        path: the .html file.
        rubric: the question, at the top of the page.
        title: of the browser's tab.
        seed: of the order and the sides.

    Returns:
        How many comparisons are on the page.

    Raises:
        DataError: there is nothing to compare.
    """
    distinct = {_pair_key(item): item for item in items if not item.identical}
    if not distinct:
        raise DataError("there is nothing to vote on: no comparison has two different completions.")
    drawn = random.Random(f"prospect page {seed}")
    shown = sorted(distinct)  # so that the order of the items changes nothing
    drawn.shuffle(shown)
    rows = [_row(key, distinct[key], drawn.random() < 0.5) for key in shown]
    page = hashlib.blake2b(json.dumps([rubric, rows]).encode(), digest_size=6).hexdigest()
    write_text(Path(path).expanduser(), _render({"page": page, "items": rows}, rubric, title))
    return len(rows)


class Votes(NamedTuple):
    """What one person voted, as one file has it.

    Attributes:
        voter: drawn by the page, the same in all files that one browser saves from it.
        saved: when, in milliseconds; tells files of one person apart, and nothing else.
        votes: comparison -> the completion voted for, "tie" or "skip".
    """

    voter: str
    saved: float
    votes: dict[str, str]


@judge("human:VOTES.json")
class HumanJudge(Judge):
    """Reads votes of people; of several votes on a comparison the most frequent counts, equally frequent ones tie.

    Whoever saved several times has one vote: each file holds all that was voted until then, and the fullest counts, of
    equally full ones the latest.

    A comparison on which somebody said only that they cannot say is unparsed. One that nobody came to is not judged at
    all (`covers`).

    Args:
        votes: files that the page saved.

    Raises:
        DataError: a file is missing or holds no votes.
    """

    position_free = True  # the page has drawn the sides

    def __init__(self, votes: str | Path | Sequence[str | Path]) -> None:
        paths = [votes] if isinstance(votes, str | Path) else list(votes)
        if not paths:
            raise DataError("no file of votes is named; expected at least one that the page saved.")
        self.name = f"human:{','.join(Path(path).name for path in paths)}"
        files = sorted((read_votes(path) for path in paths), key=lambda one: (len(one.votes), one.saved))
        voters = {one.voter: one.votes for one in files}  # the last of a voter's files is the fullest
        self._votes = [voters[voter] for voter in sorted(voters)]

    @classmethod
    def named(cls, rest: str) -> HumanJudge:
        """Return the judge of `human:VOTES.json`; the name may be a glob."""
        return cls(sorted(glob(rest)) or rest)  # noqa: PTH207  the pattern may be absolute

    @property
    def identity(self) -> str:
        """The votes themselves."""
        return f"human\0{text_key(json.dumps(self._votes, sort_keys=True))}"

    def covers(self, item: Item | Candidate) -> bool:
        """Return whether anybody came to the comparison, or to the completion."""
        if isinstance(item, Candidate):
            return any(text_key(*item.texts) in votes for votes in self._votes)
        key = _pair_key(item)
        return item.identical or any(key in votes for votes in self._votes)

    def stream(self, items: Sequence[Item]) -> Iterator[tuple[int, Verdict]]:
        """Look the votes up.

        Raises:
            DataError: nobody came to an item, or a vote is for neither of its completions.
        """
        for number, item in enumerate(items):
            yield number, self._verdict(item)

    def _verdict(self, item: Item) -> Verdict:
        key = _pair_key(item)
        found = [votes[key] for votes in self._votes if key in votes]
        if not found:
            raise DataError(f"{self.name}: there is no vote on the comparison {key}; finish voting on the page.")
        meaning: dict[str, Choice] = {text_key(item.first): "first", text_key(item.second): "second", "tie": "tie"}
        strange = next((vote for vote in found if vote != "skip" and vote not in meaning), None)
        if strange is not None:
            raise DataError(f"{self.name}: the vote on {key} is {strange!r}, which is neither of its completions.")
        counts = Counter(meaning[vote] for vote in found if vote != "skip")
        if not counts:
            return Verdict("unparsed", "cannot say")
        note = ", ".join(f"{choice} {count}" for choice, count in sorted(counts.items()))
        (best, most), *others = counts.most_common()
        return Verdict("tie" if any(count == most for _, count in others) else best, note)


def read_votes(path: str | Path) -> Votes:
    """Return the votes of a file.

    Raises:
        DataError: it is missing, holds no votes, or does not say whose they are.
    """
    where = Path(path).expanduser()
    try:
        found: Any = json.loads(regular_file(where).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{path}: the votes cannot be read ({error.strerror}); expected a file that the page saved."
        ) from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}: this is no JSON; expected a file that the page saved.") from None
    votes = found.get("votes") if isinstance(found, dict) and found.get("format") == _FORMAT else None
    if not isinstance(votes, dict) or not all(isinstance(vote, str) for vote in votes.values()):
        raise DataError(f'{path}: there are no votes in it (format "{_FORMAT}"); expected a file that the page saved.')
    if not votes:
        raise DataError(f"{path}: nobody has voted in it yet.")
    voter, saved = found.get("voter"), found.get("saved")
    if not (isinstance(voter, str) and voter) or not isinstance(saved, int | float):
        raise DataError(
            f"{path}: the fields voter and saved are {voter!r} and {saved!r}; expected a name and a number, as the "
            "page writes them, so that nobody's votes count twice."
        )
    return Votes(voter, saved, votes)


def _pair_key(item: Item) -> str:
    """Return a key that does not depend on which completion comes first."""
    return text_key(item.prompt, *sorted((item.first, item.second), key=text_key))


def _row(key: str, item: Item, swapped: bool) -> dict[str, str]:
    a, b = (item.second, item.first) if swapped else (item.first, item.second)
    return {
        "key": key,
        "prompt": plain_text(item.prompt),
        "a": plain_text(a),
        "b": plain_text(b),
        "a_key": text_key(a),
        "b_key": text_key(b),
    }


def _render(data: Mapping[str, Any], rubric: str, title: str) -> str:
    """Return the page. Texts are in it as JSON without a <, and the page puts them on screen as text, never as HTML."""
    here = Path(__file__).parent
    style, script = ((here / f"human_page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    encoded = json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    parts = {
        "TITLE": html.escape(title),
        "QUESTION": html.escape(rubric),
        "DATA": encoded,
        "STYLE": style,
        "SCRIPT": script,
        "STYLE_HASH": _hash(style),
        "SCRIPT_HASH": _hash(script),
    }
    page = (here / "human_page.html").read_text(encoding="utf-8")
    return re.sub(r"@@([A-Z_]+)@@", lambda mark: parts[mark[1]], page)  # one pass: nothing in a text is filled in again


def _hash(text: str) -> str:
    """Return the page's content security policy: this script and this style, and none from a text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
