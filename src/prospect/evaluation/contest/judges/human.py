"""People as judges: the votes that they gave on a page, read back."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prospect.errors import DataError
from prospect.evaluation.contest.judges.base import Candidate, Choice, Grade, Item, Judge, Verdict, text_key
from prospect.evaluation.contest.judges.human_page import DOWN, SKIP, UP, pair_key
from prospect.evaluation.contest.judges.registry import files_named, judge
from prospect.file_kinds import regular_file

_FORMAT = "prospect-votes"


class Votes(NamedTuple):
    """What one person voted, as one file has it.

    Attributes:
        voter: drawn by the page, the same in all files that one browser saves from it.
        saved: when, in milliseconds; tells files of one person apart, and nothing else.
        votes: comparison -> the completion voted for, "tie" or "skip"; or completion -> "up", "down" or "skip".
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

    A completion that people gave thumbs to has for its score the share of thumbs up; as many up as down say nothing.

    Args:
        votes: files that the page saved.

    Raises:
        DataError: a file is missing or holds no votes.
    """

    position_free = True  # the page has drawn the sides
    gives_chances = True
    sees_images = True

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
        return cls(files_named(rest))

    @property
    def identity(self) -> str:
        """The votes themselves."""
        return f"human\0{text_key(json.dumps(self._votes, sort_keys=True))}"

    def covers(self, item: Item | Candidate) -> bool:
        """Return whether anybody came to the comparison, or to the completion."""
        if isinstance(item, Candidate):
            return any(text_key(*item.texts) in votes for votes in self._votes)
        key = pair_key(item)
        return item.identical or any(key in votes for votes in self._votes)

    def stream(self, items: Sequence[Item]) -> Iterator[tuple[int, Verdict]]:
        """Look the votes up.

        Raises:
            DataError: nobody came to an item, or a vote is for neither of its completions.
        """
        for number, item in enumerate(items):
            yield number, self._verdict(item)

    def _verdict(self, item: Item) -> Verdict:
        key = pair_key(item)
        found = [votes[key] for votes in self._votes if key in votes]
        if not found:
            raise DataError(f"{self.name}: there is no vote on the comparison {key}; finish voting on the page.")
        meaning: dict[str, Choice] = {text_key(item.first): "first", text_key(item.second): "second", "tie": "tie"}
        strange = next((vote for vote in found if vote != SKIP and vote not in meaning), None)
        if strange is not None:
            raise DataError(f"{self.name}: the vote on {key} is {strange!r}, which is neither of its completions.")
        counts = Counter(meaning[vote] for vote in found if vote != SKIP)
        if not counts:
            return Verdict("unparsed", "cannot say")
        note = ", ".join(f"{choice} {count}" for choice, count in sorted(counts.items()))
        (best, most), *others = counts.most_common()
        return Verdict("tie" if any(count == most for _, count in others) else best, note)

    def score_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, float]]:
        """Yield the share of thumbs up of each completion; see `grade_each`."""
        for number, grade in self.grade_each(rows):
            yield number, grade.score

    def grade_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, Grade]]:
        """Look the thumbs up; NaN where nobody gave one, or as many are up as down.

        Raises:
            DataError: a vote is no thumb.
        """
        for number, row in enumerate(rows):
            key = text_key(*row.texts)
            counts = Counter(votes[key] for votes in self._votes if key in votes)
            if strange := counts.keys() - {UP, DOWN, SKIP}:
                raise DataError(f"{self.name}: the vote on {key} is {min(strange)!r}; expected {UP}, {DOWN} or {SKIP}.")
            up, down = counts[UP], counts[DOWN]
            score = math.nan if up == down else up / (up + down)
            yield number, Grade(score, ", ".join(f"{vote} {count}" for vote, count in sorted(counts.items())))


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
