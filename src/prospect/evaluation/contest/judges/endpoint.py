"""A model behind an OpenAI-compatible server as a judge, with a verdict that has one form."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from prospect.endpoint.client import Endpoint, EndpointError, RequestRefusedError
from prospect.endpoint.replies import Reply
from prospect.endpoint.request_fields import LIMITS
from prospect.evaluation.contest.judges.base import Candidate, Grade, Item, Judge, Verdict
from prospect.evaluation.contest.judges.prompt import LABELS, SCORES, form_of_prompt, judging_prompt
from prospect.evaluation.contest.judges.reading import VERSION, read_reply, read_score
from prospect.evaluation.contest.judges.registry import judge

Given = TypeVar("Given", Verdict, Grade)

ENDING = "Answer with one letter."
STRUCTURED_ENDING = 'Answer with one letter in JSON: {"verdict": "A"}, {"verdict": "B"} or {"verdict": "C"}.'
STRUCTURED_ENDING_OF_ONE = 'Answer with one letter in JSON: {"verdict": "Y"} or {"verdict": "N"}.'
_LOGPROBS = {"logprobs": True, "top_logprobs": 5}


def _response_format(labels: Collection[str]) -> dict[str, Any]:
    """Return the field of a request that lets a server write nothing but a verdict of one of the labels."""
    schema = {
        "type": "object",
        "properties": {"verdict": {"type": "string", "enum": list(labels)}},
        "required": ["verdict"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}


class _Way(NamedTuple):
    """How a question is put: the end of its prompt, and further fields of its request."""

    ending: str
    fields: dict[str, Any]


# From the best to what every server takes; who refuses one is asked in the next from then on.
RESPONSE_FORMAT = _response_format(LABELS)
_COMPARING = (_Way(STRUCTURED_ENDING, {"response_format": RESPONSE_FORMAT}), _Way(ENDING, {}))
_OF_ONE = _Way(STRUCTURED_ENDING_OF_ONE, {"response_format": _response_format(SCORES)})
_SCORING = (_OF_ONE._replace(fields=_OF_ONE.fields | _LOGPROBS), _OF_ONE, _Way(ENDING, _LOGPROBS), _Way(ENDING, {}))
# A model that thinks over two completions writes one or two thousand tokens; one that does not stops after ten.
MAX_TOKENS = 4096
_OPTIONS = {"temperature": 0, "max_tokens": MAX_TOKENS}
# The first requests that are all refused say that none will go through.
MOST_REFUSED = 5
# The first replies of which none can be read say that the judge, or its limit, is the wrong one: a model that writes
# even every second verdict in the right form has a chance of 1 in 256 to be taken for one.
MOST_UNREAD = 8
CHARACTERS_PER_TOKEN = 4  # for the estimate of cost: about what English text has


@judge("endpoint:URL#MODEL")
class EndpointJudge(Judge):
    """Ask a server for a letter: by a JSON schema where it takes one, else for the bare letter, read strictly.

    Of a single completion it says Y for yes or N for no, which is 1 or 0; where the server gives log-probs, the score
    is P(Y) / (P(Y) + P(N)), as with a model from disk.

    Whatever is neither is unparsed: nothing is searched for a letter. A server that refuses the schema is asked without
    it from then on. A request that it refuses for itself (too long, say) is unparsed, and not kept.

    Args:
        endpoint: the server and the model. Its `request` stands in place of what is sent here: temperature 0, a limit
            of `MAX_TOKENS`, and the schema (`response_format`; None asks for the bare letter).
        rubric: the question, of two completions or of one, to be answered with yes or no; None asks the usual one.
    """

    gives_chances = True

    def __init__(self, endpoint: Endpoint, rubric: str | None = None) -> None:
        self.endpoint = endpoint
        self.name = f"endpoint:{endpoint.url}#{endpoint.model}"
        self.rubric = rubric
        schema = endpoint.request.get("response_format", RESPONSE_FORMAT) is not None
        self._comparing, self._scoring = (
            [way for way in ways if schema or "response_format" not in way.fields] for ways in (_COMPARING, _SCORING)
        )
        self._refused, self._answered, self._unread = 0, 0, 0
        self._lock = threading.Lock()

    @classmethod
    def named(
        cls, rest: str, *, rubric: str | None = None, endpoint_settings: Mapping[str, Any] | None = None
    ) -> EndpointJudge:
        """Return the judge of `endpoint:URL#MODEL`."""
        return cls(Endpoint.parse(rest, **(endpoint_settings or {})), rubric)

    @property
    def identity(self) -> str:
        """Address, model, settings and the form of the prompt; whether it took the schema decides no verdict."""
        settings = json.dumps({**_OPTIONS, **self.endpoint.request}, sort_keys=True, default=str)
        form = f"{VERSION} {form_of_prompt(self.rubric, ENDING, STRUCTURED_ENDING, STRUCTURED_ENDING_OF_ONE)}"
        return "\0".join(("endpoint", self.endpoint.url, self.endpoint.model, settings, form))

    def stream(self, items: Sequence[Item]) -> Iterator[tuple[int, Verdict]]:
        """Ask for several items at a time.

        Raises:
            EndpointError: the server cannot be reached, refuses all of the first requests, or none of the first replies
                can be read.
        """
        refused = partial(Verdict, "unparsed", final=False)
        yield from self.endpoint.in_parallel(lambda item: self._ask(item, self._comparing, read_reply, refused), items)

    def score_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, float]]:
        """Yield the score of each completion; see `grade_each`."""
        for number, grade in self.grade_each(rows):
            yield number, grade.score

    def grade_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, Grade]]:
        """Ask about several completions at a time; refusals are those of `stream`."""
        refused = partial(Grade, math.nan, final=False)
        yield from self.endpoint.in_parallel(lambda row: self._ask(row, self._scoring, read_score, refused), rows)

    def estimate_tokens(self, item: Item | Candidate) -> tuple[int, int]:
        """Return a guess: a token for four characters, ten for the verdict."""
        prompt = judging_prompt(item, self.rubric, ending=STRUCTURED_ENDING)
        return len(prompt) // CHARACTERS_PER_TOKEN, 10

    def _ask(
        self,
        item: Item | Candidate,
        ways: list[_Way],
        read: Callable[[Reply], Given],
        refused: Callable[[str], Given],
    ) -> Given:
        try:
            reply = self._reply(item, ways)
        except RequestRefusedError as error:
            with self._lock:
                self._refused += 1
                if not self._answered and self._refused >= MOST_REFUSED:
                    raise
            return refused(str(error))
        given = read(reply)
        with self._lock:
            self._answered += 1
            self._unread += given.unread
            if self._answered == self._unread >= MOST_UNREAD:
                raise EndpointError(self._unreadable(given.note, reply))
        return given

    def _unreadable(self, note: str, reply: Reply) -> str:
        request = self.endpoint.request
        limit = next((request[name] for name in LIMITS if request.get(name) is not None), MAX_TOKENS)
        advice = "Ask a model that keeps to a form, or take another judge."
        if reply.cut:
            advice = (
                f"It was cut at {limit} tokens: give it more (--request max_tokens=16000), or turn its thinking off."
            )
        return (
            f"{self.name}: none of its first {self._unread} replies is a verdict, so it is asked no more. One of them: "
            f"{note}. {advice}"
        )

    def _reply(self, item: Item | Candidate, ways: list[_Way]) -> Reply:
        """Return the reply to the first of the ways that the server does not refuse; those before it are given up."""
        refusal: RequestRefusedError | None = None
        for way in list(ways):
            prompt = judging_prompt(item, self.rubric, ending=way.ending, take_apart=True)
            try:
                reply = self.endpoint.chat([{"role": "user", "content": prompt}], **_OPTIONS, **way.fields)
            except RequestRefusedError as error:
                refusal = refusal or error
                continue
            if refusal is not None:
                with self._lock:
                    ways[:] = ways[ways.index(way) :] if way in ways else ways
            return reply
        assert refusal is not None, "there is a way that asks for nothing special"
        raise refusal  # it was not the way of asking
