"""Conversations in one row, whose turns carry the verdicts themselves: chat-ui, FeeL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prospect.feedback.files.others.turns import messages_of
from prospect.feedback.importers.shapes.base import Dropped, Item, Vote
from prospect.feedback.importers.shapes.mongo import mongo_name

_ATTACHMENTS = ("files", "attachments", "images")


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What the votes on the turns of one row have in common; the fields are those of `Vote`."""

    where: str
    turns: list[Any]
    rating: str  # the key of a turn's verdict
    rater: str | None = None
    name: str | None = None  # of the conversation, to tell its turns from those of others
    time: Any = None
    model: str | None = None
    system: str | None = None

    def votes(self) -> Iterator[Item]:
        """Yield one item for every turn with a verdict; what comes before the turn is its prompt.

        Where turns know their ancestors, these are the prompt instead: then the list holds several branches.
        """
        for place, turn in enumerate(self.turns):
            if not isinstance(turn, dict):
                yield Dropped(where=f"{self.where}, message {place + 1}", reason="message is not an object")
            elif turn.get(self.rating) is not None:
                yield self._vote(place, turn)

    def _vote(self, place: int, turn: Mapping[str, Any]) -> Item:
        where = f"{self.where}, message {place + 1}"
        before = self._before(place, turn)
        said = messages_of([*before, turn]) if before is not None else None
        prompt = said[:-1] if said else []
        if self.system and prompt and prompt[0]["role"] != "system":
            prompt = [{"role": "system", "content": self.system}, *prompt]
        problem = self._problem(before, said)
        name = mongo_name(turn.get("id")) or (str(place) if self.name else None)
        return Vote(
            where=where,
            prompt="" if problem else prompt,
            completion="" if problem or not said else said[-1]["content"],
            verdict=turn[self.rating],
            rater=self.rater,
            completion_id=f"{self.name}/{name}" if name else None,
            source_id=f"{self.name}/{name}" if self.name and name else name,
            time=self.time,
            model=self.model,
            finished=not turn.get("interrupted"),
            unusable=problem,
        )

    def _before(self, place: int, turn: Mapping[str, Any]) -> list[Any] | None:
        ancestors = turn.get("ancestors")
        if not isinstance(ancestors, list):
            return self.turns[:place]
        by_id = {name: turn for turn in self.turns if isinstance(turn, dict) and (name := mongo_name(turn.get("id")))}
        chain = [by_id.get(mongo_name(ancestor) or "") for ancestor in ancestors]
        return None if None in chain else chain

    @staticmethod
    def _problem(before: list[Any] | None, said: list[dict[str, Any]] | None) -> str | None:
        if before is None:
            return "chain of parents is broken"
        if said is None:
            return "message cannot be read as text"
        if said[-1]["role"] != "assistant":
            return "rated message is not an assistant's"
        if all(turn["role"] == "system" for turn in said[:-1]):
            return "prompt is missing"
        attached = any(turn.get(key) for turn in before for key in _ATTACHMENTS)
        return "file or image in the prompt" if attached else None
