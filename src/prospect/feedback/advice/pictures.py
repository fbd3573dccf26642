"""Which method suits feedback on images, and why."""

from __future__ import annotations

from dataclasses import replace

from prospect.feedback.advice.advice import Advice, Facts, Method
from prospect.feedback.advice.method import FEWEST_EXAMPLES, choose_method
from prospect.feedback.convert.balance import ClassWeights, suggest_class_weights

_BALANCE = (
    "Keep data.class_weights: auto. A denoiser can make every image worse without bound, and where undesirable images "
    "weigh more in all, that lowers KTO's loss."
)
_WHY: dict[Method, tuple[str, ...]] = {
    "kto": ("The verdicts are thumbs, one on each image, which is what Diffusion-KTO learns from.", _BALANCE),
    "dpo": (
        "The rows are pairs, which is what Diffusion-DPO learns from; KTO reads them too, as thumbs up and down.",
        "Watch the log-ratio of the chosen images: DPO is content to let both fall, the rejected ones faster.",
    ),
    "sft": ("The images are to be imitated: supervised fine-tuning on them comes first.",),
}


def advise_on_images(facts: Facts) -> Advice:
    """Return the method that suits feedback on images, and why; without a recipe, for settings depend on the model.

    The rules are those of texts. Scores on images become pairs of the best and the worst, for which dpo is the method.
    """
    if facts.kind == "scored":
        method: Method = "dpo" if facts.comparable >= FEWEST_EXAMPLES else "collect"
        found = f"{facts.comparable} of {facts.prompts} prompts have images with different scores"
        reasons: tuple[str, ...] = (f"{found}: pair the best with the worst (prospect data convert --to paired).",)
    else:
        method, said = choose_method(replace(facts, comparable=0, scores=0))
        reasons = _WHY.get(method, tuple(said))
    weights = ClassWeights(1.0, 1.0)
    if method == "kto" and facts.kind == "unpaired":
        weights = suggest_class_weights(facts.desirable, facts.undesirable)
    return Advice(
        method=method,
        reasons=reasons,
        desirable_weight=weights.desirable,
        undesirable_weight=weights.undesirable,
        recipe=None,
        settings={},
    )
