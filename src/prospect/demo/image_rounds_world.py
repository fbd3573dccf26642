"""The demo's pictures for rounds: prompts to draw, both rules as a judge, and for spin clean pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prospect.atomic import write_text
from prospect.demo.image_base import IMAGE_BASE, STEPS
from prospect.demo.image_world import Wish, clean, held_out_wishes, passes, training_wishes
from prospect.demo.settings import IMAGE_METHODS
from prospect.feedback.files.write import write_jsonl
from prospect.feedback.images.writing import write_image
from prospect.feedback.records import Demonstration

PICTURES = 4  # of each of the 48 prompts a round: with the demo's 24 one round is enough, and there is nothing to see
HELD_OUT = 8  # of each of the 16 held-out prompts
STEPS_A_ROUND = 12
RULES_JUDGE = f"{Path(__file__)}:keeps_both_rules"


def keeps_both_rules(prompt: str, completion: Any) -> bool:
    """Return whether a picture of Pillow is what its prompt asks for, on a page that is empty elsewhere."""
    import numpy as np

    colour, shape, *place = prompt.split()
    return passes(np.asarray(completion), Wish(colour, shape, " ".join(place)))


def demo_recipe(folder: Path, protocol: str, rounds: int, seed: int = 0) -> dict[str, Any]:
    """Return a recipe of rounds on the embedded pictures, and write its prompts into the folder.

    Args:
        folder: of the rounds.
        protocol: what becomes of samples.
        rounds: how many there are at most.
        seed: of pictures and training.
    """
    write_wishes(folder / "wishes.jsonl", training_wishes())
    write_wishes(folder / "held_out_wishes.jsonl", held_out_wishes())
    method = IMAGE_METHODS[{"online_dpo": "dpo", "spin": "dpo", "rft": "sft"}.get(protocol, "kto")]
    teacher = {"teacher": write_clean(folder / "clean.jsonl", training_wishes())} if protocol == "spin" else {}
    return {
        "rounds": {
            "protocol": protocol,
            "count": rounds,
            "prompts": str(folder / "wishes.jsonl"),
            **teacher,
            "samples_per_prompt": PICTURES,
            "steps": STEPS,
            "sample_batch": 128,
            "label": {"judge": RULES_JUDGE},
            "evaluate": {"prompts": str(folder / "held_out_wishes.jsonl"), "samples_per_prompt": HELD_OUT},
        },
        "model": {"name_or_path": str(IMAGE_BASE)},
        "loss": method["loss"],
        "train": {
            "batch_size": method["batch_size"],
            "max_steps": STEPS_A_ROUND,
            "learning_rate": method["learning_rate"],
            "images_per_micro_batch": 64,
            "seed": seed,
            "save_every": None,
        },
        "output": str(folder),
    }


def write_wishes(path: Path, wishes: Iterable[Wish]) -> None:
    """Write rows of `prompt`."""
    write_text(path, "".join(json.dumps({"prompt": wish.prompt}) + "\n" for wish in wishes))


def write_clean(path: Path, wishes: Iterable[Wish]) -> str:
    """Write rows of `prompt, image` with the picture that each prompt asks for, and return the file's name."""
    rows = [(wish.prompt, write_image(clean(wish), path.parent)) for wish in wishes]
    write_jsonl(
        (Demonstration(prompt=prompt, completion=image, id=prompt, where=prompt) for prompt, image in rows), path
    )
    return str(path)
