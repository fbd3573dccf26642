"""Texts as the medium of rounds: the model itself writes in this process, or a server that is made to serve it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from prospect import progress
from prospect.errors import ConfigError
from prospect.evaluation.answers.asked import Question
from prospect.evaluation.answers.generate import as_rows
from prospect.evaluation.answers.subject import find_subject
from prospect.evaluation.answers.writers import (
    Generation,
    LocalWriter,
    Writer,
    collect_answers,
)
from prospect.evaluation.contest.judges.base import Judge, plain_text
from prospect.evaluation.contest.text_measures import TextMeasures, measure_texts
from prospect.evaluation.held_out.scoring import own_log_ratios
from prospect.feedback.chat.rendering import Rendering
from prospect.feedback.records import Demonstration, Feedback, Text, text_of
from prospect.losses import get_loss
from prospect.results.rounds import Drawn, RoundSample
from prospect.rounds.folder import PARTIAL
from prospect.rounds.medium import Draws
from prospect.rounds.outcomes import Passed
from prospect.rounds.prompts import Prompts
from prospect.rounds.recipe import RoundsRecipe
from prospect.rounds.served import ServedWriter, Server
from prospect.statistics.bootstrap import Estimate
from prospect.statistics.means import mean_by_prompt

_SHOWN = 2000  # characters of a sample in the ledger


@dataclass(frozen=True)
class Texts:
    """What rounds make with a language model.

    Attributes:
        recipe: of the rounds.
        server: who writes, where the recipe names one.
    """

    recipe: RoundsRecipe
    server: Server

    @classmethod
    def of(cls, recipe: RoundsRecipe) -> Texts:
        """Return the medium of a recipe.

        Raises:
            ConfigError: settings of images.
        """
        for name in ("steps", "guidance"):
            if getattr(recipe.rounds, name) is not None:
                raise ConfigError(f"rounds.{name} is about images, and {recipe.start} writes text. Leave it out.")
        return cls(recipe, Server(recipe))

    @property
    def default_rate(self) -> float:
        """See `RoundsMedium`."""
        return get_loss(self.recipe.base.loss.name).learning_rate

    @property
    def sampling(self) -> str:
        """See `RoundsMedium`."""
        one = self.recipe.rounds
        return f", of {one.max_new_tokens} tokens at most, at temperature {one.temperature:g} and top_p {one.top_p:g}"

    def prepare(self, prompts: Prompts, judges: Sequence[Judge], folder: Path) -> Prompts:
        """Refuse a teacher's images."""
        for rows in prompts.teacher.values():
            for row in rows:
                text_of(row.completion, row.where)
        return prompts

    def draw(self, model: str, prompts: Sequence[Text], count: int, seed: int, *, number: int, folder: Path) -> Draws:
        """Let a model write, thoughts and all."""
        settings, total = self.recipe.rounds, len(prompts) * count
        answers = collect_answers(
            self._writer(model, number),
            prompts,
            Generation(count, settings.max_new_tokens, settings.temperature, settings.top_p, seed),
            thoughts="keep",
            partial=folder / PARTIAL,
            progress=lambda done, _: progress.count(done, total, "completions"),
        )
        rows = iter(as_rows(prompts, answers))
        tokens = sum(one.tokens for some in answers for one in some)
        return Draws([[*islice(rows, len(some))] for some in answers], tokens)

    def _writer(self, model: str, number: int) -> Writer:
        settings = self.recipe.rounds
        if settings.sampler is None or settings.serve is None:
            # The start and the runs are asked alike: as the recipe renders prompts.
            rendering = replace(Rendering.of(self.recipe.base.data), date=None)
            return LocalWriter(find_subject(model), settings.sample_batch, rendering)
        return ServedWriter(self.server, model, number)

    def unfit(self, rows: Sequence[Feedback], weights: Mapping[str, float]) -> str:
        """Return "": what texts need is seen to by `balance`."""
        return ""

    def describe(self, draws: Draws, seconds: float) -> Drawn:
        """Return what was drawn, in numbers."""
        flat = draws.flat
        measured = _measured(flat)
        return Drawn(
            prompts=len(draws.rows),
            samples=len(flat),
            distinct=sum(len({_text(row) for row in some}) for some in draws.rows),
            tokens=draws.tokens,
            cut=sum(not row.finished for row in flat),
            empty=measured.empty,
            words=round(measured.words.value, 2),
            repetition=_rounded(measured.repetition.value if measured.repetition else None),
            distinct_2=_rounded(measured.distinct_2),
            seconds=round(seconds, 2),
        )

    def measure(self, draws: Draws) -> dict[str, Any]:
        """Return lengths and diversity."""
        flat = draws.flat
        measured = _measured(flat)
        return {
            "words": round(measured.words.value, 2),
            "tokens": round(draws.tokens / len(flat), 2),
            "cut": sum(not row.finished for row in flat),
            "repetition": _rounded(measured.repetition.value if measured.repetition else None),
            "distinct_2": _rounded(measured.distinct_2),
        }

    def show(self, rows: Sequence[Demonstration], passed: Passed, places: Sequence[int]) -> RoundSample:
        """Return the first text of a prompt."""
        place = places[0]
        row, verdict = rows[place], passed.passed[place]
        return RoundSample(
            prompt=plain_text(row.prompt)[:_SHOWN],
            completion=_text(row)[:_SHOWN],
            score=passed.scores[place],
            desirable=None if verdict in (None, 0.5) else bool(verdict),
        )

    def kl(self, questions: Sequence[Question], model: str, start: str, who: str, seed: int) -> Estimate | None:
        """Return the mean log-ratio to the start of samples at temperature 1, over all tokens: KL(policy || start).

        One model is in memory at a time.
        """
        settings, subject = self.recipe.rounds, find_subject(model)
        records = [
            Demonstration(prompt=question.prompt, completion="", id=question.key, where=question.key)
            for question in questions[: settings.evaluate.kl_prompts]
        ]
        if not records:
            return None
        base = self.recipe.base
        with progress.phase(f"KL of {who} from the start"):
            rows, ratios = own_log_ratios(
                subject.settings,
                find_subject(start).settings,
                records,
                precision=base.train.precision,
                max_new_tokens=settings.max_new_tokens,
                seed=seed,
                batch_size=settings.sample_batch,
                rendering=Rendering.of(base.data),
                who=f"the model of {who}",
            )
        return mean_by_prompt(list(ratios), [row.prompt_key for row in rows]) if len(rows) > 1 else None


def _text(row: Demonstration) -> str:
    return plain_text(row.completion)


def _measured(rows: Sequence[Demonstration]) -> TextMeasures:
    return measure_texts([_text(row) for row in rows])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
