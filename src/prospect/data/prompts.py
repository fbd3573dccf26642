"""Prompts that a policy will answer while it trains, in tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prospect.config import Config
from prospect.data.batch import Example, row_from_ids
from prospect.data.dataset import Dataset, describe_lengths
from prospect.data.render import PromptTooLongError, encode_prompt, make_renderer
from prospect.errors import DataError
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.files.questions import Question, read_questions
from prospect.feedback.records import Demonstration, Feedback
from prospect.results.run import DataSummary


@dataclass(frozen=True)
class Prompts(Dataset):
    """Prompts in the place of feedback.

    Each example is a prompt followed by as many end tokens as an answer may have tokens. No step is made on them: they
    are what models are tried out on, and what memory is planned for, before there is an answer.

    Attributes:
        questions: the prompts, with the right answers where there are any.
    """

    questions: Sequence[Question] = field(default=())

    @property
    def digest(self) -> str:
        """Hash of the prompts' tokens and the right answers, in order."""
        targets = json.dumps([question.target for question in self.questions], sort_keys=True, default=str)
        return hashlib.blake2b(f"{super().digest} {targets}".encode(), digest_size=16).hexdigest()

    def summary(self) -> DataSummary:
        """Return what provenance.json says about the prompts; lengths are in tokens."""
        lengths = np.array([len(row.prompt_ids) for (row,) in self.examples])
        return DataSummary(
            source=self.source,
            sha256=self.digest,
            kind="prompts",
            rows=len(self.examples),
            prompts=len(self.examples),
            prompt_tokens=describe_lengths(lengths),
            tokens=int(lengths.sum()),
            dropped=self.dropped,
        )


def encode_prompts(config: Config, tokenizer: Any, rendering: Rendering, max_length: int) -> Prompts:
    """Read the prompts of a recipe's `online` section.

    Args:
        config: the recipe.
        tokenizer: the policy's.
        rendering: how prompts become text.
        max_length: prompt and answer together, in tokens.

    Raises:
        PromptTooLongError: a prompt leaves no room for an answer.
        DataError: there is no prompt left.
    """
    settings = config.online
    assert settings is not None, "the recipe samples its data"
    longest, renderer = settings.max_new_tokens, make_renderer(tokenizer, rendering)
    examples: list[Example] = []
    records: list[Feedback] = []
    kept: list[Question] = []
    dropped = 0
    for question in read_questions(config.data.train, target=settings.target, label_map=config.data.label_map):
        ids = encode_prompt(tokenizer, question.prompt, None, renderer, where=f"prompt {len(kept) + dropped + 1}")
        if len(ids) + longest > max_length:
            if config.data.overlong_prompts == "error":
                raise PromptTooLongError(
                    f"prompt {len(kept) + dropped + 1} has {len(ids)} tokens and online.max_new_tokens is {longest}; "
                    f"expected at most {max_length} (data.max_length) together. Lower online.max_new_tokens, raise "
                    "data.max_length, or set data.overlong_prompts: drop."
                )
            dropped += 1
            continue
        answer = [tokenizer.eos_token_id] * longest
        examples.append((row_from_ids(ids, answer, prompt_key=question.key, id=f"prompt {len(kept) + 1}"),))
        records.append(Demonstration(prompt=question.prompt, completion="", id=question.key, where="prompt"))
        kept.append(question)
    if not kept:
        raise DataError(f"{config.data.train}: no prompt is left; {dropped} leave no room for an answer.")
    source = config.data.train if isinstance(config.data.train, str) else ", ".join(config.data.train)
    return Prompts(examples, "demonstration", source, records, 0, dropped, questions=tuple(kept))
