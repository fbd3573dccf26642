"""A model behind an OpenAI-compatible server as a judge, with a verdict that has one form."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prospect.endpoint.client import Endpoint, EndpointError, RequestRefusedError
from prospect.endpoint.replies import Reply
from prospect.endpoint.request_fields import LIMITS
from prospect.evaluation.contest.judges.base import Candidate, Item, Judge, Verdict
from prospect.evaluation.contest.judges.prompt import LABELS, form_of_prompt, judging_prompt
from prospect.evaluation.contest.judges.reading import VERSION, read_reply
from prospect.evaluation.contest.judges.registry import judge

ENDING = "Answer with one letter."
STRUCTURED_ENDING = 'Answer with one letter in JSON: {"verdict": "A"}, {"verdict": "B"} or {"verdict": "C"}.'
RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"verdict": {"type": "string", "enum": list(LABELS)}},
            "required": ["verdict"],
            "additionalProperties": False,
        },
    },
}
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

    Whatever is neither is unparsed: nothing is searched for a letter. A server that refuses the schema is asked without
    it from then on. A request that it refuses for itself (too long, say) is unparsed, and not kept.

    Args:
        endpoint: the server and the model. Its `request` stands in place of what is sent here: temperature 0, a limit
            of `MAX_TOKENS`, and the schema (`response_format`; None asks for the bare letter).
        rubric: the question.
    """

    def __init__(self, endpoint: Endpoint, rubric: str | None = None) -> None:
        self.endpoint = endpoint
        self.name = f"endpoint:{endpoint.url}#{endpoint.model}"
        self.rubric = rubric
        self._structured = endpoint.request.get("response_format", RESPONSE_FORMAT) is not None
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
        form = f"{VERSION} {form_of_prompt(self.rubric, ENDING, STRUCTURED_ENDING)}"
        return "\0".join(("endpoint", self.endpoint.url, self.endpoint.model, settings, form))

    def stream(self, items: Sequence[Item]) -> Iterator[tuple[int, Verdict]]:
        """Ask for several items at a time.

        Raises:
            EndpointError: the server cannot be reached, refuses all of the first requests, or none of the first replies
                can be read.
        """
        yield from self.endpoint.in_parallel(self._ask, items)

    def estimate_tokens(self, item: Item | Candidate) -> tuple[int, int]:
        """Return a guess: a token for four characters, ten for the verdict."""
        prompt = judging_prompt(item, self.rubric, ending=STRUCTURED_ENDING)
        return len(prompt) // CHARACTERS_PER_TOKEN, 10

    def _ask(self, item: Item) -> Verdict:
        try:
            reply = self._reply(item)
        except RequestRefusedError as error:
            with self._lock:
                self._refused += 1
                if not self._answered and self._refused >= MOST_REFUSED:
                    raise
            return Verdict("unparsed", str(error), final=False)
        verdict = read_reply(reply)
        with self._lock:
            self._answered += 1
            self._unread += verdict.choice == "unparsed"
            if self._answered == self._unread >= MOST_UNREAD:
                raise EndpointError(self._unreadable(verdict, reply))
        return verdict

    def _unreadable(self, verdict: Verdict, reply: Reply) -> str:
        request = self.endpoint.request
        limit = next((request[name] for name in LIMITS if request.get(name) is not None), MAX_TOKENS)
        advice = "Ask a model that keeps to a form, or take another judge."
        if reply.cut:
            advice = (
                f"It was cut at {limit} tokens: give it more (--request max_tokens=16000), or turn its thinking off."
            )
        return (
            f"{self.name}: none of its first {self._unread} replies is a verdict, so it is asked no more. One of them: "
            f"{verdict.note}. {advice}"
        )

    def _reply(self, item: Item) -> Reply:
        if self._structured:
            try:
                return self._send(item, STRUCTURED_ENDING, response_format=RESPONSE_FORMAT)
            except RequestRefusedError as refused:
                try:
                    reply = self._send(item, ENDING)
                except RequestRefusedError:
                    raise refused from None  # it was not the schema
                self._structured = False
                return reply
        return self._send(item, ENDING)

    def _send(self, item: Item, ending: str, **options: Any) -> Reply:
        prompt = judging_prompt(item, self.rubric, ending=ending, take_apart=True)
        return self.endpoint.chat([{"role": "user", "content": prompt}], **_OPTIONS, **options)
