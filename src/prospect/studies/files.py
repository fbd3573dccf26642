"""Any model and any feedback as a world of studies, scored without a judge: does the policy tell good from bad?

    world:
      kind: files
      model: my/model
      data: feedback.jsonl        what conditions are applied to
      held_out: held_out.jsonl    thumbs or pairs that nobody trains on

The score of a completion is its log-ratio: log-prob by the trained model less that by `model`, for every method the
same `model`, so that methods with and without a reference can be compared. AUROC is over thumbs; accuracy is, of pairs,
the share with the chosen side's log-ratio above the rejected one's; of thumbs, the share on the right side of 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prospect.errors import DataError
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.records import Feedback, Paired, Unpaired
from prospect.feedback.split import prompt_key
from prospect.statistics.ranking import placements
from prospect.studies.outcome import Measure, Outcome, WorldSettings, refuse_raters
from prospect.studies.sections import Condition

if TYPE_CHECKING:
    from prospect.data.batch import Row


class FilesSettings(WorldSettings):
    """What stands under `world`."""

    model: str
    """A folder or hub name."""
    data: str | list[str]
    """Feedback to train on."""
    held_out: str | list[str]
    """Feedback to score on."""
    label_map: dict[Any, bool] | None = None
    """Your label values to true (desirable) or false, in both."""


class FilesWorld:
    """See the top of this file."""

    contest = None
    measures: Mapping[str, Measure] = {
        "score": Measure("held-out accuracy", "share", "higher", "value", (0.0, 1.0)),
        "auroc": Measure("held-out AUROC", "share", "higher", "value", (0.0, 1.0)),
        "drift": Measure("mean log-ratio", "nats", None, "value"),
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings: FilesSettings = FilesSettings.read(settings)
        self.held_out = len(self.held_out_keys())
        pairs = isinstance(self._held_out[0], Paired)
        if pairs:
            self.measures = {name: one for name, one in self.measures.items() if name != "auroc"}
        self.says = (
            f"{self.settings.model} on {self.settings.data}; scored by how well its log-ratios to the untrained model "
            f"tell desirable from undesirable completions in {len(self._held_out)} held-out "
            f"{'pairs' if pairs else 'rows'} of {self.held_out} prompts."
        )

    def recipe(self) -> dict[str, Any]:
        """Return the model."""
        return {"model": {"name_or_path": self.settings.model}}

    def held_out_keys(self) -> set[str]:
        """Return the keys of the held-out prompts."""
        return {prompt_key(row.prompt) for row in self._held_out}

    def prepare(self, folder: Path, seed: int) -> None:
        """Score the held-out completions by the untrained model; refuse early what cannot be read."""
        self._read(self.settings.data)
        path = folder / "reference_logps.npy"
        if not path.exists():
            np.save(path, self._logps(self.settings.model))

    def feedback(self, folder: Path, seed: int, condition: Condition) -> list[Feedback]:
        """Return the feedback as it lies there."""
        refuse_raters(condition, "intransitive", "minority", why="this feedback is not from simulated raters.")
        return self._read(self.settings.data)

    def score(self, model: Path | None, folder: Path, seed: int) -> Outcome | None:
        """Log-ratios of the held-out completions; the untrained model has none."""
        if model is None:
            return None
        ratios = self._logps(str(model)) - np.load(folder / "reference_logps.npy")
        desirable = np.array([good for _, _, good in self._completions])
        prompts = [prompt_key(row.prompt) for row in self._held_out]
        if isinstance(self._held_out[0], Paired):
            right = (np.sign(ratios[0::2] - ratios[1::2]) + 1) / 2
            drift = (ratios[0::2] + ratios[1::2]) / 2
            return Outcome({"score": by_prompt(right, prompts), "drift": by_prompt(drift, prompts)})
        right = (np.sign(np.where(desirable, ratios, -ratios)) + 1) / 2
        areas = auroc_parts(ratios, desirable)
        scores = {"score": right, "auroc": areas, "drift": ratios}
        return Outcome({name: by_prompt(values, prompts) for name, values in scores.items()})

    @cached_property
    def _held_out(self) -> list[Feedback]:
        rows = self._read(self.settings.held_out)
        if not isinstance(rows[0], Paired | Unpaired):
            raise DataError(f"{rows[0].where}: the row is {rows[0].kind}; expected thumbs or pairs to score on")
        if isinstance(rows[0], Unpaired) and len({row.desirable for row in rows if isinstance(row, Unpaired)}) < 2:
            raise DataError(f"{self.settings.held_out}: all thumbs are of one kind; expected both to score on")
        return rows

    def _read(self, files: str | list[str]) -> list[Feedback]:
        return list(load_feedback(files, label_map=self.settings.label_map))

    @property
    def _completions(self) -> list[tuple[Feedback, Any, bool]]:
        """Every held-out completion: its record, its text, its verdict; a pair's chosen side first."""
        from prospect.data.dataset import sides

        return [(row, side, side.desirable) for row in self._held_out for side in sides(row)]

    def _logps(self, model: str) -> np.ndarray:
        from prospect.config import ModelSettings
        from prospect.data.dataset import encode_side
        from prospect.data.render import Encoder
        from prospect.evaluation.held_out.scoring import score_rows
        from prospect.models.loading import load_model_config, resolve_max_length
        from prospect.models.policy import load_for_scoring

        settings = ModelSettings(name_or_path=model)
        base = ModelSettings(name_or_path=self.settings.model)
        policy = load_for_scoring(settings)
        encoder = Encoder(policy.tokenizer, resolve_max_length(None, load_model_config(base)), end_token=True)
        rows: list[Row] = [encode_side(record, side, encoder)[0] for record, side, _ in self._completions]
        return score_rows(policy.logps, rows, policy.device, None, model)


def by_prompt(values: np.ndarray, prompts: Sequence[str]) -> list[float]:
    """Return a number for each prompt whose mean is the mean over rows: the sum of its rows times P / rows."""
    places = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    sums = np.bincount([places[prompt] for prompt in prompts], weights=values)
    return [float(total) for total in sums * len(places) / len(values)]


def auroc_parts(scores: np.ndarray, desirable: np.ndarray) -> np.ndarray:
    """Return a number for each row whose mean is AUROC and whose variance is DeLong's.

    A + (n / n_D) (V_D(i) - A) if desirable, A + (n / n_U) (V_U(j) - A) if not,

    V_D(i) the share of undesirable rows below desirable row i, V_U(j) the share of desirable rows above undesirable
    row j, ties half.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988).
    """
    above, below = placements(scores, desirable)
    area, parts = above.mean(), np.empty(scores.size)
    parts[desirable] = area + scores.size / above.size * (above - area)
    parts[~desirable] = area + scores.size / below.size * (below - area)
    return parts
