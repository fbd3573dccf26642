"""What lies in a model's folder: safetensors, a tokenizer, no pickle."""

from __future__ import annotations

from pathlib import Path

from prospect.model_source import MODEL_CONFIG, ModelSource, read_json
from prospect.results.model_check import ModelFinding

INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


def check_files(source: ModelSource) -> ModelFinding:
    """Look at the files of a whole model or an adapter; what an adapter sits on is looked at by loading it."""
    folder = Path(source.place)
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _PICKLES)
    if pickles:
        return _wrong(
            f"{', '.join(pickles)}: pickle, which can run code where it is loaded",
            "Remove it; weights belong into safetensors (save_pretrained writes them).",
        )
    if source.kind == "model" and (missing := _missing_weights(folder)):
        return _wrong(f"{missing} is not there", "Copy the whole folder again.")
    wanted = "tokenizer.json", "tokenizer_config.json"
    home = Path(source.tokenizer.place)
    lacking = [name for name in wanted if home.is_dir() and not (home / name).is_file()]
    if lacking:
        return _wrong(
            f"{' and '.join(lacking)} not in {home}", "Save the tokenizer there: tokenizer.save_pretrained(folder)."
        )
    where = f" on {source.base.place}" if source.base is not None else ""
    tokenizer = "" if home == folder else f", the tokenizer in {home}"
    return ModelFinding(name="files", state="ok", found=f"safetensors{where}{tokenizer}, no pickle")


def _missing_weights(folder: Path) -> str:
    """Return the first file that Transformers would not find; empty where all are there."""
    if not (folder / MODEL_CONFIG).is_file():
        return MODEL_CONFIG
    if not (folder / INDEX).is_file():
        return "" if (folder / "model.safetensors").is_file() else "model.safetensors"
    named = read_json(folder / INDEX).get("weight_map")
    shards = sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []
    return next((name for name in shards if not (folder / name).is_file()), "" if shards else INDEX)


def _wrong(found: str, do: str) -> ModelFinding:
    return ModelFinding(name="files", state="wrong", found=found, do=do)
