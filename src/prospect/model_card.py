"""The model card: `README.md` in a model's folder. Its front matter is what model hubs read.

Prospect writes the text between two marks, and writes it again. A person's text above or below the marks is kept, and
so are entries of the front matter that Prospect does not set. Names of folders and files on this machine are left out.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from prospect.results.run import Provenance

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

FILE = "README.md"
BEGIN = "<!-- Written by Prospect. Edit above or below these two marks: what is between them is written again. -->"
END = "<!-- End of what Prospect writes. -->"
HOW_TO_LOAD = "## How to load it"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".yaml", ".yml", ".txt")
_HELD_OUT_NAME = "held-out feedback"
# Metric in metrics.jsonl -> its name on the card, and the name that hubs know it by.
_HELD_OUT = {
    "eval_loss": ("loss", None),
    "eval_rewards/accuracies": ("accuracy", "accuracy"),
    "eval_rewards/auroc": ("AUROC", "roc_auc"),
    "eval_rewards/margins": ("reward margin", None),
}


class Card(NamedTuple):
    """A card in its parts: front matter, and what is above, between and below the marks.

    A card without marks has all of its text in `above`.
    """

    front: ModelCardData
    above: str = ""
    ours: str = ""
    below: str = ""

    @property
    def text(self) -> str:
        """The file's content. Without text of ours there are no marks."""
        ours = f"{BEGIN}\n\n{self.ours}\n\n{END}" if self.ours else ""
        parts = [f"---\n{self.front.to_yaml()}\n---", self.above, ours, self.below]
        return "\n\n".join(part for part in parts if part) + "\n"


def read_card(path: Path | None) -> Card:
    """Read a card; without a file, an empty one. Front matter that a hub would refuse counts as none."""
    from huggingface_hub import ModelCard, ModelCardData
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    text = path.read_text(encoding="utf-8", errors="replace") if path is not None and path.exists() else ""
    front, body = ModelCardData(), REGEX_YAML_BLOCK.sub("", text, count=1)
    if body != text:
        with contextlib.suppress(yaml.YAMLError, ValueError, TypeError, RecursionError):
            front = ModelCardData(**ModelCard(text, ignore_metadata_errors=True).data.to_dict())
    above, begin, rest = body.partition(BEGIN)
    ours, end, below = rest.partition(END)
    return Card(front, above.strip(), ours.strip(), below.strip()) if begin and end else Card(front, body.strip())


def front_matter(
    config: Mapping[str, Any],
    provenance: Provenance,
    metrics: Iterable[Mapping[str, Any]] = (),
    kept: ModelCardData | None = None,
) -> ModelCardData:
    """Return what model hubs read: library, base model, data sets, tags, results; only names of the hub.

    Args:
        config: the recipe of the run.
        provenance: where the run comes from.
        metrics: what was logged.
        kept: the entries of the card as it is. Those that Prospect does not set stay, and so do its tags and results.
    """
    from huggingface_hub import ModelCardData

    sources = _mapping(config.get("data")).get("train")
    data = [str(source).partition(":")[0] for source in (sources if isinstance(sources, list) else [sources])]
    loads_with = provenance.policy.loads_with or ""
    adapter = "Peft" in loads_with if loads_with else bool(_mapping(config.get("model")).get("lora"))
    images = loads_with.endswith("Pipeline")
    base, loss = base_model(config, provenance), loss_name(config, provenance)
    others = kept.to_dict() if kept is not None else {}
    tags, results = others.pop("tags", []), getattr(kept, "eval_results", None) or []
    for name in ("library_name", "pipeline_tag", "base_model", "datasets", "model-index", "eval_results", "model_name"):
        others.pop(name, None)
    results = [*_results(metrics, loads_with), *(one for one in results if one.dataset_name != _HELD_OUT_NAME)]
    return ModelCardData(
        library_name="diffusers" if images else "peft" if adapter else "transformers",
        pipeline_tag="text-to-image" if images else None,
        base_model=base if is_hub_name(base) else None,
        datasets=[source for source in dict.fromkeys(data) if is_hub_name(source)] or None,
        tags=["prospect", *([loss] if loss else []), *(tags if isinstance(tags, list) else [])],
        model_name=getattr(kept, "model_name", None) or f"{shown_name(base)}-{loss}" if results else None,
        eval_results=results or None,
        **others,
    )


def base_model(config: Mapping[str, Any], provenance: Provenance) -> str:
    """Return what hubs are to know as the base: of an adapter that was trained on, what that sits on."""
    under = provenance.policy.base
    named = provenance.policy.name_or_path or _mapping(config.get("model")).get("name_or_path")
    return str(under) if is_hub_name(under) else str(named or "")


def loss_name(config: Mapping[str, Any], provenance: Provenance) -> str:
    """Return the name of the loss, of one's own without its file."""
    name = provenance.loss.name or _mapping(config.get("loss")).get("name")
    return str(name or "").rpartition(":")[2]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def is_hub_name(name: Any) -> bool:
    """Whether a name is that of a hub (`owner/name`) and of no file or folder here."""
    text = str(name)
    shaped = bool(_HUB_NAME.fullmatch(text)) and not text.lower().endswith(_FILES)
    return shaped and not Path(text).exists()


def shown_name(name: Any) -> str:
    """Return a hub name as it is, of a path the last part alone."""
    text = str(name)
    return text if is_hub_name(text) else text.replace("\\", "/").rstrip("/").rpartition("/")[2]


def plain_markdown(text: str) -> str:
    """Return a line that Markdown shows as it is: no tags, links, tables, code or line breaks."""
    line = re.sub(r"([\\`*\[\]|~])", r"\\\1", " ".join(str(text).split()))
    return line.replace("&", "&amp;").replace("<", "&lt;")


def held_out_table(metrics: Iterable[Mapping[str, Any]]) -> str:
    """Return a table of the held-out measures before and after training; "" where they were taken less than twice."""
    lines = [
        f"| {_HELD_OUT[key][0]} | {values[0]:#.3g} | {values[-1]:#.3g} |"
        for key, values in _held_out(metrics).items()
        if len(values) > 1
    ]
    return "\n".join([f"| on {_HELD_OUT_NAME} | before | after |", "|---|---|---|", *lines]) if lines else ""


def _held_out(metrics: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return each held-out measure's finite values by step; a step logged twice counts as logged last."""
    found: dict[str, dict[float, float]] = {key: {} for key in _HELD_OUT}
    for row in metrics:
        for key, values in found.items():
            value = row.get(key)
            if isinstance(value, int | float) and math.isfinite(value):
                values[row.get("step", 0)] = value
    return {key: [values[step] for step in sorted(values)] for key, values in found.items()}


def _results(metrics: Iterable[Mapping[str, Any]], loads_with: str) -> list[EvalResult]:
    """Return the last held-out measures that hubs have a name for."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="text-to-image"
            if loads_with.endswith("Pipeline")
            else "text-classification"
            if "Classification" in loads_with
            else "text-generation",
            dataset_type="feedback",
            dataset_name=_HELD_OUT_NAME,
            metric_type=str(_HELD_OUT[key][1]),
            metric_name=_HELD_OUT[key][0],
            metric_value=round(values[-1], 4),
        )
        for key, values in _held_out(metrics).items()
        if values and _HELD_OUT[key][1]
    ]


def how_to_load(model_class: str, base: str | None = None) -> str:
    """Return the paragraph on how to load the folder of the card.

    Args:
        model_class: the class of Transformers, PEFT or diffusers that loads it.
        base: of an adapter of diffusers, what it is put on.
    """
    if model_class.endswith("Pipeline"):
        return _how_to_load_images(model_class, base)
    library = "peft" if "Peft" in model_class else "transformers"
    imports = f"from {library} import {model_class}\nfrom transformers import AutoTokenizer"
    if library == "transformers":
        imports = f"from transformers import {model_class}, AutoTokenizer"
    lines = [
        HOW_TO_LOAD,
        "",
        "```python",
        imports,
        "",
        f'model = {model_class}.from_pretrained("path/of/this/folder")',
        'tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")',
        "```",
    ]
    if library == "peft":
        lines += [
            "",
            "It is an adapter: `base_model_name_or_path` in `adapter_config.json` says what it sits on, by its name on "
            "the hub or by a full path. `prospect merge` makes one folder of the two, which needs neither PEFT nor the "
            "base.",
        ]
    return "\n".join(lines)


def _how_to_load_images(model_class: str, base: str | None) -> str:
    place = "path/of/this/folder" if base is None else base if is_hub_name(base) else "path/of/its/base"
    lines = [
        HOW_TO_LOAD,
        "",
        "```python",
        f"from diffusers import {model_class}",
        "",
        f'pipe = {model_class}.from_pretrained("{place}")',
        *(['pipe.load_lora_weights("path/of/this/folder")'] if base is not None else []),
        "```",
    ]
    return "\n".join(lines)
