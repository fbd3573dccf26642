"""A causal language model from disk as a judge: by the letters that it holds likely. Nothing is generated.

Letters: N rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from prospect.errors import DataError, ModelError
from prospect.evaluation.contest.judges.base import Candidate, Grade, Item, Judge, Verdict
from prospect.evaluation.contest.judges.prompt import LABELS, SCORES, form_of_prompt, judging_prompt
from prospect.evaluation.contest.judges.registry import judge

if TYPE_CHECKING:
    import torch

ENDING = "Answer with one letter."
PLAIN_ENDING = f"{ENDING}\n\nAnswer:"
# Tokens of one forward pass, padding and all: a 7B model holds some 2 GB of hidden states for them.
BATCH_TOKENS = 8192
# Stands for the judging prompt while the chat template is rendered around it.
_PLACE = "JUDGING-PROMPT-STANDS-HERE"


@judge("lm:MODEL")
class LocalLMJudge(Judge):
    """Reads the judging prompt and takes the letter with the highest log-prob: A, B, or C for a tie.

    The score of a single completion is P(Y) / (P(Y) + P(N)), Y for yes and N for no: a soft label from 0 to 1.

    Text in a completion cannot change the form: there is none to change, for nothing is generated; and it cannot pose
    as a turn of the chat, for its characters are never read as special tokens, and marks of turns that are plain text
    to the tokenizer are taken apart.

    A prompt that is longer than the model's context is not cut: its verdict counts as unparsed, and it has no score.

    Args:
        model: name of a model, see `find_model`, or a loaded `(model, tokenizer)`.
        rubric: the question, of two completions or of one, to be answered with yes or no; None asks the usual one.
    """

    gives_chances = True

    def __init__(self, model: str | tuple[Any, Any], rubric: str | None = None) -> None:
        self.name = f"lm:{model}" if isinstance(model, str) else f"lm:{type(model[0]).__name__}"
        self.rubric = rubric
        self._source = model

    @classmethod
    def named(cls, rest: str, *, rubric: str | None = None) -> LocalLMJudge:
        """Return the judge of `lm:MODEL`."""
        return cls(rest, rubric)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        if not isinstance(self._source, str):
            return self._source[0].eval(), self._source[1]
        from prospect.evaluation.answers.subject import find_subject, load_for_generating

        return load_for_generating(find_subject(self._source), "fp32")

    @cached_property
    def identity(self) -> str:
        """Its weights, its chat template, and the form of the prompt."""
        from prospect.models.loading import weights_identity

        model, tokenizer = self._loaded
        weights = weights_identity(model, "fp32")
        form = form_of_prompt(self.rubric, ENDING, PLAIN_ENDING, marks=self._marks)
        return "\0".join(("lm", weights, tokenizer.chat_template or "", form))

    @cached_property
    def _marks(self) -> tuple[str, ...]:
        return turn_marks(self._loaded[1])

    def stream(self, items: Sequence[Item]) -> Iterator[tuple[int, Verdict]]:
        """Judge items of like length together, the longest first, so that memory runs out at once or never."""
        for number, logps in self._logps(items, LABELS):
            yield number, Verdict("unparsed", logps) if isinstance(logps, str) else _verdict(logps)

    def score_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, float]]:
        """Yield the share of yes in yes and no, of completions of like length together."""
        for number, grade in self.grade_each(rows):
            yield number, grade.score

    def grade_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, Grade]]:
        """Yield the same with the log-probs, or why there are none."""
        for number, logps in self._logps(rows, SCORES):
            yield number, Grade(math.nan, logps) if isinstance(logps, str) else _grade(logps)

    def _logps(
        self, items: Sequence[Item | Candidate], labels: Collection[str]
    ) -> Iterator[tuple[int, list[float] | str]]:
        """Yield the log-probs of the letters after each judging prompt, nats; or why there are none."""
        model, tokenizer = self._loaded
        head, tail, letters = _frame(tokenizer, labels)
        most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        rows: list[tuple[int, list[int]]] = []
        for number, item in enumerate(items):
            ids = [*head, *self._read(tokenizer, item), *tail]
            if most is not None and len(ids) > most:
                yield number, f"{len(ids)} tokens, and the judge reads {most} at most"
            else:
                rows.append((number, ids))
        rows.sort(key=lambda row: -len(row[1]))
        for batch in _batches(rows):
            scores = _last_logps(model, [ids for _, ids in batch], letters)
            for (number, _), found in zip(batch, scores.tolist(), strict=True):
                yield number, found

    def _read(self, tokenizer: Any, item: Item | Candidate) -> list[int]:
        ending = ENDING if tokenizer.chat_template else PLAIN_ENDING
        prompt = judging_prompt(item, self.rubric, ending=ending, take_apart=True, marks=self._marks)
        # Characters that spell a special token stay characters.
        return tokenizer(prompt, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def turn_marks(tokenizer: Any) -> tuple[str, ...]:
    """Return what the chat template writes around turns as plain text, such as "### Answer:".

    Special tokens are not among these, for no text is read as one; nor are single words ("user"), which every text
    holds, and which are marks only beside special tokens. There are none where the template refuses three turns.
    """
    from prospect.data.render import render_chat
    from prospect.feedback.records import Message

    if not tokenizer.chat_template:
        return ()
    turns = [Message(role, _PLACE) for role in ("user", "assistant", "user")]
    try:
        _, *around = render_chat(tokenizer, turns, None, "judge", add_generation_prompt=True).split(_PLACE)
    except DataError:
        return ()
    special = sorted((str(token) for token in tokenizer.added_tokens_decoder.values() if token.special), key=len)
    ends = "|".join(("\n", *map(re.escape, reversed(special))))
    pieces = {piece.strip() for text in around for piece in re.split(ends, text)}
    return tuple(sorted(piece for piece in pieces if len(piece) > 1 and not re.fullmatch(r"\w+", piece)))


def _frame(tokenizer: Any, labels: Collection[str]) -> tuple[list[int], list[int], list[int]]:
    """Return the tokens before and after the judging prompt, and those of the letters."""
    from prospect.data.render import render_chat
    from prospect.feedback.records import Message

    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path} is a slow one, which cannot keep text and special tokens "
            "apart. Save it as a fast one (tokenizer.json)."
        )
    if tokenizer.chat_template:
        turns = [Message("user", _PLACE)]
        before, *after = render_chat(tokenizer, turns, None, "judge", add_generation_prompt=True).split(_PLACE)
        if len(after) != 1:
            raise ModelError(
                f"the chat template of {tokenizer.name_or_path} does not render a user's turn once, as it is, so the "
                "judging prompt has no place in it. Use another model as a judge."
            )
        head, tail = (list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (before, after[0]))
        space = ""
    else:
        head, tail, space = [], [], " "
        if tokenizer.bos_token_id is not None:
            head = [tokenizer.bos_token_id]
    spelled = [list(tokenizer(space + label, add_special_tokens=False)["input_ids"]) for label in labels]
    while len({tuple(ids[:1]) for ids in spelled}) == 1 and all(len(ids) > 1 for ids in spelled):
        tail.append(spelled[0][0])  # what all letters begin with, a space say, tells nothing
        spelled = [ids[1:] for ids in spelled]
    if any(len(ids) != 1 for ids in spelled) or len({ids[0] for ids in spelled}) != len(labels):
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path} has no token of its own for each of {', '.join(labels)}. Use "
            "another model as a judge."
        )
    return head, tail, [ids[0] for ids in spelled]


def _batches(rows: list[tuple[int, list[int]]]) -> Iterator[list[tuple[int, list[int]]]]:
    """Cut rows, the longest first, so that each batch holds `BATCH_TOKENS` with its padding, or one row."""
    start = 0
    while start < len(rows):
        size = max(1, BATCH_TOKENS // len(rows[start][1]))
        yield rows[start : start + size]
        start += size


def _last_logps(model: Any, rows: list[list[int]], labels: list[int]) -> torch.Tensor:
    """Return the log-probs of the labels after each row: float32 (N, labels) nats.

    Rows are padded on the right and without a mask: a causal model's real tokens never see what stands after them.
    """
    import torch

    device = next(model.parameters()).device
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    last, place = torch.unique(torch.tensor([len(row) - 1 for row in rows], device=device), return_inverse=True)
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    some = "logits_to_keep" in inspect.signature(causal.forward).parameters
    with torch.no_grad():
        # Logits of all tokens would be the largest thing in memory by far.
        logits = model(input_ids=ids, use_cache=False, **({"logits_to_keep": last} if some else {})).logits
    column = place if some else last[place]
    logits = logits[torch.arange(len(rows), device=device), column].float()
    return logits.log_softmax(-1)[:, labels].cpu()


def _verdict(logps: list[float]) -> Verdict:
    note, highest = _written(logps, LABELS), max(logps)
    if not _are_known(logps):
        return Verdict("unparsed", f"log-probs are not finite: {note}")
    # P(first) + P(tie) / 2, of the three letters alone.
    first, second, tie = (math.exp(logp - highest) for logp in logps)
    credit = (first + tie / 2) / (first + second + tie)
    best = [label for label, logp in zip(LABELS, logps, strict=True) if logp == highest]
    return Verdict(LABELS[best[0]] if len(best) == 1 else "tie", note, credit=credit)


def _grade(logps: list[float]) -> Grade:
    note = _written(logps, SCORES)
    if not _are_known(logps):
        return Grade(math.nan, f"log-probs are not finite: {note}")
    yes, no = (math.exp(logp - max(logps)) for logp in logps)
    return Grade(yes / (yes + no), note)


def _written(logps: list[float], labels: Collection[str]) -> str:
    return ", ".join(f"{label} {logp:.3f}" for label, logp in zip(labels, logps, strict=True))


def _are_known(logps: list[float]) -> bool:
    return not any(math.isnan(logp) for logp in logps) and max(logps) > -math.inf
