"""A small story model and thumbs on its continuations as a world of studies: happiness of what it writes, by VADER.

    world:
      kind: stories
      model: $STORIES/models/stories260K             Transformers layout
      data: $STORIES/data/stories_sentiment.jsonl    thumbs on continuations of openings
      held_out: 200                                  openings that a run is scored on, of those with feedback

Paths are written with an environment variable, or set with `--set world.model=PATH world.data=PATH`. Needs
vaderSentiment (`pip install vaderSentiment`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from prospect.errors import ConfigError
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.records import Feedback, Text
from prospect.feedback.split import prompt_key, split_by_prompt
from prospect.studies.kl import KL, sampled_kl
from prospect.studies.outcome import (
    EXAMPLES,
    TEXT_MEASURES,
    Measure,
    Outcome,
    WorldSettings,
    refuse_raters,
    text_scores,
)
from prospect.studies.sections import Condition

TOKENS = 48
TEMPERATURE, TOP_P = 0.8, 0.95
SPLIT_SEED = 0
"""Every seed of a study holds out the same openings, so that runs can be compared opening by opening."""


class StoriesSettings(WorldSettings):
    """What stands under `world`."""

    model: str
    """Folder of the model."""
    data: str
    """Feedback on continuations."""
    held_out: int = Field(default=200, ge=2)
    """Openings that a run is scored on."""
    held_out_after: int = Field(default=0, ge=0)
    """So many openings are held out before these and not scored on, such as those of the study that is tuned."""


class StoriesWorld:
    """See the top of this file."""

    contest = "score"
    measures: Mapping[str, Measure] = {
        "score": Measure("sentiment", "-1 to 1", "higher", "value", (-1.0, 1.0)),
        **TEXT_MEASURES,
        "kl": KL,
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings: StoriesSettings = StoriesSettings.read(settings)
        self.held_out = self.settings.held_out
        self.says = (
            "A model of children's stories that learns from feedback on its own continuations of openings; scored by "
            f"the VADER sentiment of one sampled continuation ({TOKENS} tokens) of each of {self.held_out} held-out "
            "openings."
        )

    def recipe(self) -> dict[str, Any]:
        """Return the model; the log's continuations were cut at a token limit, so none may end."""
        return {"model": {"name_or_path": self.settings.model}, "data": {"end_token": False}}

    def held_out_keys(self) -> set[str]:
        """Return the keys of the openings."""
        return {prompt_key(opening) for opening in self._openings}

    def prepare(self, folder: Path, seed: int) -> None:
        """Refuse early what will be needed late."""
        sentiment_of("")
        _ = self._split

    def feedback(self, folder: Path, seed: int, condition: Condition) -> list[Feedback]:
        """Return the feedback on openings that are not held out."""
        refuse_raters(condition, "intransitive", "minority", why="this feedback is not from simulated raters.")
        return self._split[0]

    def score(self, model: Path | None, folder: Path, seed: int) -> Outcome:
        """Continue the held-out openings."""
        from prospect.config import ModelSettings
        from prospect.models.policy import load_for_scoring
        from prospect.models.sampling import generate

        policy = load_for_scoring(ModelSettings(name_or_path=str(model or self.settings.model)))
        openings = self._openings
        written = generate(
            policy.model,
            policy.tokenizer,
            openings,
            max_new_tokens=TOKENS,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            seed=seed,
        )
        texts = [one.text for (one,) in written]
        moods = [sentiment_of(text) for text in texts]
        examples = [
            {"prompt": str(openings[i]), "completion": texts[i], "score": moods[i]}
            for i in range(min(EXAMPLES, len(texts)))
        ]
        scores = {"score": moods, **text_scores(texts)}
        if model is not None:
            scores["kl"] = sampled_kl(model, self.settings.model, openings, max_new_tokens=TOKENS, seed=seed)
        return Outcome(scores, examples)

    @cached_property
    def _split(self) -> tuple[list[Feedback], list[Feedback]]:
        """Return what is trained on, and all that is held out."""
        count = self.settings.held_out_after + self.settings.held_out
        return split_by_prompt(load_feedback(self.settings.data), count, seed=SPLIT_SEED)

    @cached_property
    def _openings(self) -> list[Text]:
        """What a run is scored on."""
        held_out = self._split[1]
        if self.settings.held_out_after:
            held_out = split_by_prompt(held_out, self.settings.held_out_after, seed=SPLIT_SEED)[0]
        return list(dict.fromkeys(row.prompt for row in held_out))


def sentiment_of(text: str) -> float:
    """Return VADER's compound score, -1 to 1.

    Raises:
        ConfigError: vaderSentiment is not installed.
    """
    if not _ANALYZER:
        try:
            module = importlib.import_module("vaderSentiment.vaderSentiment")
        except ImportError:
            raise ConfigError("world stories needs vaderSentiment. Install it: pip install vaderSentiment") from None
        _ANALYZER.append(module.SentimentIntensityAnalyzer())
    return float(_ANALYZER[0].polarity_scores(text)["compound"])


_ANALYZER: list[Any] = []  # it reads its lexicon once
