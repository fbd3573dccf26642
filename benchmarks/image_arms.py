"""KTO, DPO and SFT on the demo's pictures, each tuned over as many settings, and a control whose thumbs say nothing.

Every arm has the demo's recipe and learns from the same pictures of the base model. A setting is chosen by the share of
pictures of training prompts that keep both rules, at noise that no arm was trained on; the held-out prompts are only
counted with the settings chosen, other flips, another order of training and other noise. In the control thumbs are
dealt out anew, as many up as before, in the same share of the pictures that keep the rules as of the others: thumbs
shuffled over all of them go together with the rules a little, by chance, and KTO follows whatever that is.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from prospect.demo.customer import Rater
from prospect.demo.image_base import draw_images, load_image_base
from prospect.demo.image_run import PICTURES, image_recipe
from prospect.demo.image_thumbs import collect_image_thumbs
from prospect.demo.image_world import Wish, held_out_wishes, passes, training_wishes
from prospect.demo.settings import IMAGE_METHODS
from prospect.evaluation import Rate
from prospect.feedback import write_jsonl
from prospect.statistics.means import rate_by_prompt
from prospect.studies.runner import one_thread
from prospect.training.train import train

FACTORS = (1.0, 3.0)  # on the demo's learning rate of the method: its settings
ASKED = 16  # prompts to choose by, and prompts to count on
CHOOSING, COUNTING = 8, 16  # pictures of each
TUNED, FRESH, NOISES = 1, 2, (101, 102)  # seeds
CONTROLS = (2, 3, 4, 5)  # seeds of shuffling: where thumbs say nothing, chance says where training goes


@dataclass(frozen=True)
class Arm:
    """What is trained: a method with a factor on its learning rate, and on which thumbs."""

    method: str
    factor: float = 1.0
    flipped: float = 0.0
    shuffled: bool = False
    seed: int = TUNED

    @property
    def thumbs(self) -> str:
        """How thumbs are given."""
        return "shuffled" if self.shuffled else f"{self.flipped:.0%} flipped"


class Pictures:
    """What the base model drew, for all arms."""

    def __init__(self) -> None:
        base = load_image_base()
        self.wishes, self.asked = training_wishes(), held_out_wishes()
        self.drawn = draw_images(base, self.wishes, PICTURES, TUNED)
        self.before = share(self.asked, draw_images(base, self.asked, COUNTING, NOISES[1]))

    def train(self, arm: Arm, folder: Path) -> Any:
        """Return the pipeline that an arm comes to."""
        thumbs = list(
            collect_image_thumbs(self.wishes, self.drawn, folder, rater=Rater("customer", arm.flipped), seed=arm.seed)
        )
        if arm.shuffled:
            labels = dealt_anew([row.desirable for row in thumbs], arm.seed)
            thumbs = [replace(row, desirable=label) for row, label in zip(thumbs, labels, strict=True)]
        write_jsonl(thumbs, folder / "feedback.jsonl")
        recipe = image_recipe(arm.method, folder, arm.seed)
        recipe["data"]["eval"] = None
        recipe["train"]["learning_rate"] *= arm.factor
        del recipe["train"]["eval_every"]
        return load_image_base(train(recipe, quiet=True).model_path)

    def choose(self, method: str) -> Iterator[tuple[Arm, Rate]]:
        """Yield the settings of a method with the shares of pictures of training prompts that pass."""
        for factor in FACTORS:
            arm = Arm(method, factor)
            yield arm, self.count(arm, self.wishes[:: len(self.wishes) // ASKED], CHOOSING, NOISES[0])

    def count(self, arm: Arm, wishes: Sequence[Wish], count: int, seed: int) -> Rate:
        """Train an arm, and return the share of its pictures that keep both rules."""
        with tempfile.TemporaryDirectory() as folder:
            return share(wishes, draw_images(self.train(arm, Path(folder)), wishes, count, seed))


def dealt_anew(labels: Sequence[bool], seed: int) -> list[bool]:
    """Return as many thumbs up in an order that says nothing of the old one: the same share of either class is up."""
    found, draw, up = [False] * len(labels), random.Random(seed), sum(labels)
    of_class = {label: [i for i, one in enumerate(labels) if one is label] for label in (True, False)}
    ups = {True: round(up * up / len(labels))}
    ups[False] = up - ups[True]
    for label, members in of_class.items():
        for i in draw.sample(members, ups[label]):
            found[i] = True
    return found


def share(wishes: Sequence[Wish], drawn: Sequence[Sequence[np.ndarray]]) -> Rate:
    kept = [
        (wish.prompt, float(passes(picture, wish))) for wish, own in zip(wishes, drawn, strict=True) for picture in own
    ]
    return rate_by_prompt([passed for _, passed in kept], [prompt for prompt, _ in kept])


def compare_arms(methods: Sequence[str], noises: Sequence[float]) -> list[dict[str, Any]]:
    """Tune, count, print a table of each, and return the rows."""
    rows: list[dict[str, Any]] = []
    with one_thread():
        pictures = Pictures()
        print("| what | method | thumbs | learning rate | pass (95 %) | CPU s |\n|---|---|---|---|---|---|")
        show(rows, "held out", Arm("base"), pictures.before, 0.0)
        chosen = {}
        for method in methods:
            tried, begun = {}, time.process_time()
            for arm, rate in pictures.choose(method):
                show(rows, "chosen by", arm, rate, time.process_time() - begun)
                tried[arm], begun = rate.rate, time.process_time()
            chosen[method] = max(tried, key=lambda arm: tried[arm])
        last = [replace(arm, flipped=noise, seed=FRESH) for noise in noises for arm in chosen.values()]
        kto = [arm for method, arm in chosen.items() if method == "kto"]
        last += [replace(arm, shuffled=True, seed=seed) for arm in kto for seed in CONTROLS]
        for arm in last:
            begun = time.process_time()
            rate = pictures.count(arm, pictures.asked, COUNTING, NOISES[1])
            show(rows, "held out", arm, rate, time.process_time() - begun)
    return rows


def show(rows: list[dict[str, Any]], what: str, arm: Arm, rate: Rate, seconds: float) -> None:
    learning_rate = arm.factor * IMAGE_METHODS.get(arm.method, {}).get("learning_rate", 0.0)
    rows.append({"what": what, **vars(arm), "learning_rate": learning_rate, **rate._asdict(), "cpu_seconds": seconds})
    percent = f"{100 * rate.rate:.1f} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
    told = f"{arm.thumbs} | {learning_rate:.0e}" if learning_rate else " | "
    print(f"| {what} | {arm.method} | {told} | {percent} | {seconds:.0f} |", flush=True)
