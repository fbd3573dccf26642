"""The world of studies/sft_first.yaml: a base model of running text, which does not end its replies.

The demo's base model is trained on with the desk's log as running text: a customer's message on one line, the reply on
the next, then the next customer's, without roles and without an end. What comes of it is asked with the message and a
line break. It replies, and goes on with another customer's message, up to the limit of 256 tokens. The feedback is the
demo's thumbs on replies that end, written by the demo's own model; so what makes a reply end can be learnt from it.

Scored by the desk's five rules, on all that was written (`score`) and on its first line alone (`first`), which tells a
model that replies well and does not stop from one that replies badly.

    prospect compare studies/sft_first.yaml -o runs/studies/sft_first

The base model is made once, of the same log for every seed, and lies in runs/bases.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from prospect.demo.base import BATCH, TEMPERATURE, TOP_P, load_base
from prospect.demo.rubric import check
from prospect.demo.study_world import DemoSettings, DemoWorld
from prospect.demo.world import training_prompts
from prospect.feedback.records import Feedback, Unpaired
from prospect.models.sampling import generate
from prospect.studies.kl import KL, sampled_kl
from prospect.studies.outcome import EXAMPLES, TEXT_MEASURES, Measure, Outcome, text_scores
from prospect.studies.study import Condition

BASES = Path("runs") / "bases"
LOG_SEED = 2_000_003  # far from those of studies
CONTEXT = 512
LIMIT = 256  # tokens of a reply
ROW_LINES = 8  # messages and replies of one row of the base's training
ROW_TOKENS = 320


class Settings(DemoSettings):
    """What stands under `world`, besides what the demo has; `prompts`, `replies` are of the feedback."""

    base_rows: int = Field(default=960, ge=8)
    """Rows of running text that the base model is trained on with, once each."""


class RunningText(DemoWorld):
    """See the top of this file."""

    settings: Settings
    contest = "rules"
    measures: Mapping[str, Measure] = {
        "score": Measure("keeps every rule", "share", "higher", "rate", (0.0, 1.0)),
        "first": Measure("first line keeps every rule", "share", "higher", "rate", (0.0, 1.0)),
        "rules": Measure("rules kept", "of 5", "higher", "value", (0.0, 5.0)),
        **TEXT_MEASURES,
        "cut": Measure("cut at the limit", "share", "lower", "rate", (0.0, 1.0)),
        "kl": KL,
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own: Settings = Settings.read(settings)
        super().__init__(own.model_dump(exclude={"base_rows"}))
        self.settings = own
        self.says = (
            f"A base model of running text that does not end its replies; thumbs on {own.replies} replies that end to "
            f"each of {own.prompts} customers; scored by five rules on one sampled reply, of at most {LIMIT} tokens, "
            f"to each of {own.held_out} other customers."
        )

    @property
    def base(self) -> Path:
        """Where the base model is."""
        return BASES / f"running-text-{self.settings.base_rows}"

    def recipe(self) -> dict[str, Any]:
        """Return the base model."""
        return {"model": {"name_or_path": str(self.base)}}

    def prepare(self, folder: Path, seed: int) -> None:
        """Make the base model where it is not there, and sample the replies that are judged."""
        if not self.base.exists():
            make_base(self.base, self.settings.base_rows)
        super().prepare(folder, seed)

    def feedback(self, folder: Path, seed: int, condition: Condition) -> list[Feedback]:
        """Return the demo's thumbs, of replies that end, as text after text."""
        return [
            replace(row, prompt=f"{row.prompt[0].content}\n", completion=row.completion[0].content)
            for row in super().feedback(folder, seed, condition)
            if isinstance(row, Unpaired) and row.finished
        ]

    def score(self, model: Path | None, folder: Path, seed: int) -> Outcome:
        """Ask the held-out customers' questions as running text, and count kept rules."""
        asked = self._held_out
        questions = [f"{inquiry.message}\n" for inquiry in asked]
        sampling = {"temperature": TEMPERATURE, "top_p": TOP_P, "seed": seed, "batch_size": BATCH}
        written = generate(*load_base(model or self.base), questions, max_new_tokens=LIMIT, **sampling)
        replies = [reply for (reply,) in written]
        kept = [check(inquiry, reply.text) for inquiry, reply in zip(asked, replies, strict=True)]
        firsts = [check(inquiry, first_line(reply.text)) for inquiry, reply in zip(asked, replies, strict=True)]
        scores = {
            "score": [float(all(rules.values())) for rules in kept],
            "first": [float(all(rules.values())) for rules in firsts],
            "rules": [float(sum(rules.values())) for rules in kept],
            **text_scores([reply.text for reply in replies]),
            "cut": [float(not reply.finished) for reply in replies],
        }
        if model is not None:
            scores["kl"] = sampled_kl(model, self.base, questions, max_new_tokens=LIMIT, seed=seed)
        examples = [
            {"prompt": asked[i].message, "completion": replies[i].text, "score": scores["score"][i]}
            for i in range(min(EXAMPLES, len(asked)))
        ]
        return Outcome(scores, examples)


def first_line(text: str) -> str:
    """Return what stands before the first line break."""
    return text.partition("\n")[0]


def running_text(rows: int) -> Iterator[dict[str, str]]:
    """Yield rows of the desk's running text: messages, each with a reply of the demo's own model, line by line."""
    from prospect.demo.base import answer

    inquiries = training_prompts(rows, LOG_SEED)
    replies = [reply.text for (reply,) in answer(load_base(), inquiries, 1, LOG_SEED)]
    order = random.Random(LOG_SEED)
    for inquiry, reply in zip(inquiries, replies, strict=True):
        others = order.choices(range(rows), k=ROW_LINES // 2 - 1)
        more = "".join(f"\n{inquiries[i].message}\n{replies[i]}" for i in others)
        yield {"prompt": f"{inquiry.message}\n", "completion": f"{reply}{more}\n"}


def make_base(path: Path, rows: int) -> None:
    """Train the demo's base model on with running text, without an end token anywhere."""
    from prospect.training.train import train

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        folder = Path(temporary)
        model, tokenizer = load_base()
        model.config.max_position_embeddings = tokenizer.model_max_length = CONTEXT
        for part in (model, tokenizer):
            part.save_pretrained(folder / "start")
        text = "".join(json.dumps(row) + "\n" for row in running_text(rows))
        (folder / "text.jsonl").write_text(text, encoding="utf-8")
        recipe = {
            "model": {"name_or_path": str(folder / "start")},
            "data": {"train": str(folder / "text.jsonl"), "eval": None, "end_token": False, "max_length": ROW_TOKENS},
            "loss": "sft",
            "train": {"batch_size": 8, "epochs": 1, "learning_rate": 1e-3, "samples": 0, "seed": 0},
            "output": str(folder / "run"),
        }
        made = train(recipe, quiet=True).model_path
        try:
            made.rename(path)
        except OSError:  # another process was first, with the same numbers
            if not path.exists():
                raise
