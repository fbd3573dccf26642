"""The world of studies/real_feedback.yaml: the chat model of studies/chat_model.py on feedback that people gave.

Of every file the short rows are taken, pairs are taken apart into thumbs, and a share of the prompts is held out. A
model is scored by how well its log-ratios to the start tell desirable from undesirable held-out completions: AUROC of
all, and of each file by itself. No judge. The two classes of a file can differ in more than what people think of them,
as where two models wrote them; AUROC says that they are told apart, and not by what.

    prospect compare studies/real_feedback.yaml -o runs/studies/real_feedback
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from prospect.feedback.convert.verdicts import to_unpaired
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.records import Feedback, Text, Unpaired
from prospect.feedback.split import split_by_prompt
from prospect.studies.files import FilesSettings, FilesWorld, auroc_parts
from prospect.studies.outcome import Measure, Outcome, WorldSettings, refuse_raters
from prospect.studies.study import Condition
from prospect.user_code import import_file

chat_model = import_file(Path(__file__).with_name("chat_model.py"))
SPLIT_SEED = 0
"""Every seed of a study holds out the same prompts."""


class Settings(WorldSettings):
    """What stands under `world`."""

    data: list[str] = Field(min_length=1)
    """Files of feedback."""
    words: int = Field(default=150, ge=1)
    """The most words of a prompt and its completion."""
    held_out: int = Field(default=22, ge=2)
    """Prompts of each file that a run is scored on."""


class RealFeedback(FilesWorld):
    """See the top of this file."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.own: Settings = Settings.read(settings)
        files = self.own.data
        self.settings = FilesSettings(model=chat_model.weights(), data=files, held_out=files)
        self.held_out = self.own.held_out * len(files)
        names = [Path(path).stem for path in files]
        area = ("share", "higher", "value", (0.0, 1.0))
        self.measures = {
            "score": Measure("held-out AUROC", *area),
            **{name: Measure(f"AUROC of {name}", *area) for name in names},
            "drift": Measure("mean log-ratio", "nats", None, "value"),
        }
        self.says = (
            f"SmolLM2-135M-Instruct on real feedback of at most {self.own.words} words, {' and '.join(names)}; scored "
            "by how well its log-ratios to the start tell desirable from undesirable completions of "
            f"{self.own.held_out} held-out prompts of each."
        )

    def recipe(self) -> dict[str, Any]:
        """Return the model with an adapter."""
        return {"model": {"name_or_path": chat_model.weights(), "lora": {"r": 8}}}

    def prepare(self, folder: Path, seed: int) -> None:
        """Score the held-out completions by the start."""
        chat_model.require_weights()
        super().prepare(folder, seed)

    def feedback(self, folder: Path, seed: int, condition: Condition) -> list[Feedback]:
        """Return the thumbs that are not held out; a loss on pairs makes the pairs of a prompt again."""
        refuse_raters(condition, "intransitive", "minority", why="this feedback is not from simulated raters.")
        return [row for train, _ in self._split.values() for row in train]

    def score(self, model: Path | None, folder: Path, seed: int) -> Outcome | None:
        """Log-ratios of the held-out completions; the start has none."""
        if model is None:
            return None
        ratios = self._logps(str(model)) - np.load(folder / "reference_logps.npy")
        desirable = np.array([good for _, _, good in self._completions])
        scores = {"score": list(auroc_parts(ratios, desirable))}
        begin = 0
        for name, (_, rows) in self._split.items():
            part = slice(begin, begin + len(rows))
            scores[name], begin = list(auroc_parts(ratios[part], desirable[part])), part.stop
        return Outcome({**scores, "drift": list(ratios)})

    @cached_property
    def _held_out(self) -> list[Feedback]:
        return [row for _, rows in self._split.values() for row in rows]

    @cached_property
    def _split(self) -> dict[str, tuple[list[Unpaired], list[Unpaired]]]:
        """Return, by the name of its file, the thumbs to train on and those that are held out."""
        found = {}
        for path in self.own.data:
            rows = [row for row in load_feedback(path) if max(_words(row)) <= self.own.words]
            train, held_out = split_by_prompt(to_unpaired(rows), self.own.held_out, seed=SPLIT_SEED)
            found[Path(path).stem] = (train, held_out)
        return found


def _words(row: Any) -> list[int]:
    """Return the number of words of the prompt with each completion."""
    sides = [row.completion] if isinstance(row, Unpaired) else [row.chosen, row.rejected]
    return [_count(row.prompt) + _count(side) for side in sides]


def _count(text: Text) -> int:
    return sum(len(part.split()) for part in ([text] if isinstance(text, str) else [one.content for one in text]))
