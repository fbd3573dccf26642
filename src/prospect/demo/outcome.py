"""What a demo run on texts and one on pictures tell alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from prospect import progress
from prospect.report.run.build import build_report
from prospect.report.run.model_card import write_model_card
from prospect.run_dir import RunDir
from prospect.statistics.rates import Rate


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a demo run showed; each rate carries a 95 % interval.

    Attributes:
        method: kto, dpo or sft.
        before: share of the base model's completions of held-out prompts that keep every rule.
        after: the same of the aligned model.
        rules: rule to its (before, after).
        thumbs: thumbs up and thumbs down that were trained on.
        seconds: of the whole command.
        report: the page.
    """

    rates: ClassVar[tuple[str, ...]] = ("before", "after")
    """Its rates, in the order in which `--json` prints them."""

    method: str
    before: Rate
    after: Rate
    rules: dict[str, tuple[Rate, Rate]]
    thumbs: tuple[int, int]
    seconds: float
    report: Path

    def as_dict(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            **{name: getattr(self, name)._asdict() for name in self.rates},
            "method": self.method,
            "seconds": round(self.seconds, 1),
            "report": str(self.report),
            "rules": {rule: {"before": b._asdict(), "after": a._asdict()} for rule, (b, a) in self.rules.items()},
            "thumbs": {"desirable": self.thumbs[0], "undesirable": self.thumbs[1]},
        }


def write_pages(run: RunDir) -> Path:
    """Write the report, which is returned, and the model card."""
    with progress.phase("writing the report"):
        report = build_report(run.path)
        write_model_card(run.path)
    return report
