"""One request and its answer, from the first byte to the record."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prospect.collect.answer import Answer, Choice
from prospect.collect.request import Asked
from prospect.collect.turns import Ended, Turn, new_id


@dataclass
class Exchange:
    """One request and its answer.

    Attributes:
        asked: the request.
        tenant: whose it is.
        consent: whether text may be kept.
        model: the name that the upstream is asked for.
        arm: `current`, `canary` or `shadow`.
        fingerprint: of the weights, where the upstream does not say its own.
        beside: of a shadow's answer, the turn whose answer people saw.
        id: of the response and of its first turn; the turn of choice k > 0 is `ID-k`.
        answer: what came so far.
        client_left: whether the client left before the end.
        failed: whether the upstream gave no answer, or broke off.
        recorded: whether its turns were written, or need not be.
        created: when the request came.
        began: the same in seconds of `time.perf_counter`.
    """

    asked: Asked
    tenant: str
    consent: bool
    model: str
    arm: str
    fingerprint: str
    beside: str | None = None
    id: str = field(default_factory=new_id)
    answer: Answer = field(default_factory=Answer)
    client_left: bool = False
    failed: bool = False
    recorded: bool = False
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: float = field(default_factory=time.perf_counter)
    _first: float | None = None
    _last: float | None = None

    def heard(self) -> None:
        """Note the time of a byte of the upstream."""
        self._last = time.perf_counter()
        if self._first is None:
            self._first = self._last

    @property
    def upstream_seconds(self) -> float | None:
        """Seconds until the upstream's last byte; None where none came."""
        return None if self._last is None else self._last - self.began

    @property
    def ended(self) -> Ended:
        """How its first choice ended."""
        choices = self.answer.choices
        return self._ended(choices[min(choices)] if choices else None)

    @property
    def may_be_kept(self) -> bool:
        """Whether the text of its first turn may be."""
        return self.consent and self.asked.prompt_of(0) is not None

    def turns(self) -> list[Turn]:
        """Return what is recorded of it: a turn for each choice; one without an answer where nothing came."""
        choices = sorted(self.answer.choices.items())
        return [self._turn(index, choice) for index, choice in choices] or [self._turn(0, None)]

    def _turn(self, index: int, choice: Choice | None) -> Turn:
        message = None if choice is None else choice.message()
        completion = message if message is None or self.asked.chat else message["content"]
        prompt = self.asked.prompt_of(index)
        return Turn(
            id=self.id if index == 0 else f"{self.id}-{index}",
            tenant=self.tenant,
            conversation=self.asked.conversation,
            rater=self.asked.rater,
            consent=self.consent and prompt is not None,  # tokens are no text that could be kept
            messages="" if prompt is None else prompt,
            completion=completion,
            tools=self.asked.tools,
            ended=self._ended(choice),
            model=self.model or self.answer.model,
            fingerprint=self.answer.fingerprint or self.fingerprint,
            arm=self.arm,
            sampling=self.asked.sampling,
            prompt_tokens=self.answer.prompt_tokens,
            completion_tokens=self.answer.completion_tokens if len(self.answer.choices) < 2 else None,
            ms_first=self._milliseconds(self._first),
            ms_last=self._milliseconds(self._last),
            created=self.created,
            beside=self.beside,
            upstream_id=self.answer.upstream_id or None,
        )

    def _ended(self, choice: Choice | None) -> Ended:
        whole = self.answer.done or (choice is not None and choice.finish is not None)
        if self.client_left and not whole:
            return "client_left"
        return "upstream_error" if (self.failed and not whole) or choice is None else self.answer.ended(choice)

    def _milliseconds(self, at: float | None) -> float | None:
        return None if at is None else round((at - self.began) * 1000, 3)
