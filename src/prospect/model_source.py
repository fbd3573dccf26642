"""What a model's name stands for: a folder, a run, an adapter, a GGUF file, or a name on the hub. No weights are read.

A name is resolved here and nowhere else, so that it means the same wherever a model can be named.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from prospect.errors import CheckpointError, ConfigError, ModelError
from prospect.json_text import read_object

ModelKind = Literal["model", "adapter", "gguf", "pipeline"]

MODEL_CONFIG, ADAPTER_CONFIG, ADAPTER_WEIGHTS = "config.json", "adapter_config.json", "adapter_model.safetensors"
MODEL_INDEX, LORA_WEIGHTS = "model_index.json", "pytorch_lora_weights.safetensors"  # diffusers' names
RUN_CONFIG, RUN_MODEL, RUN_PROVENANCE = "config.yaml", "model", "provenance.json"
EMBEDDED = ("demo", "demo-images")  # what `prospect rounds --model` takes for the embedded examples
_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json")
# An adapter on an adapter on ...: more than this is a circle.
_MOST_ADAPTERS = 8


@dataclass(frozen=True)
class ModelSource:
    """Where the weights lie that a name stands for.

    Attributes:
        name: as the user wrote it.
        kind: a whole model in Transformers' layout, a PEFT adapter, quantised weights in one GGUF file, or a
            pipeline in diffusers' layout, which makes images.
        place: the folder, or the name on the hub.
        gguf: the GGUF file in `place`; empty for the other kinds.
        base: what an adapter sits on.
        run: the run directory, where the name is that of one.
    """

    name: str
    kind: ModelKind
    place: str
    gguf: str = ""
    base: ModelSource | None = None
    run: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether the files are on this machine, and not on the hub."""
        return Path(self.place).is_dir()

    @property
    def chain(self) -> Iterator[ModelSource]:
        """Itself, what it sits on, what that sits on, ..., down to whole weights."""
        source: ModelSource | None = self
        while source is not None:
            yield source
            source = source.base

    @property
    def root(self) -> ModelSource:
        """The whole weights at the bottom."""
        return [*self.chain][-1]

    @property
    def tokenizer(self) -> ModelSource:
        """The first of the chain that has a tokenizer of its own; the root where none says so."""
        for source in self.chain:
            if source.gguf or any(find_file(source.place, file) for file in _TOKENIZER_FILES):
                return source
        return self.root

    @property
    def loadable(self) -> str | None:
        """What Transformers loads exactly these weights from, in any directory; None where there is no such thing."""
        if self.kind != "model":
            return None
        return str(Path(self.place).resolve()) if self.is_local else self.place

    @property
    def context(self) -> int | None:
        """How many positions the model has; None where no configuration that can be read says it."""
        root = self.root
        try:
            config = root.read(MODEL_CONFIG)
        except ModelError:
            return None
        text = config.get("text_config", config)
        length = text.get("max_position_embeddings") if isinstance(text, dict) else None
        length = _gguf_context(Path(root.place) / root.gguf) if root.gguf else length
        return length if type(length) is int and length > 1 else None

    def read(self, file: str) -> dict[str, Any]:
        """Return what a JSON file of it holds; empty where there is no such file, as beside GGUF.

        Raises:
            ModelError: it cannot be read.
        """
        path = None if self.gguf else find_file(self.place, file)
        return {} if path is None else read_json(path)

    def __str__(self) -> str:
        """For people: the kind, the place, and what is below."""
        if self.kind == "gguf":
            return f"{self.name}, dequantised from GGUF"
        whole = f"run {self.name}" if self.run is not None else self.name
        return f"{whole}, an adapter on {self.base}" if self.base is not None else whole


def find_model(name: str | Path) -> ModelSource:
    """Return what a name stands for.

    Args:
        name: a folder in Transformers' or PEFT's layout, a run directory, a .gguf file, a folder that holds one, or a
            name on the hub.

    Raises:
        ModelError: there is no such folder, the file is no model, or an adapter is broken or its base not there.
        CheckpointError: a run directory without a finished model.
    """
    return _find_model(str(name), _MOST_ADAPTERS)


def find_adapter_of_images(name: str | Path) -> tuple[ModelSource, Path] | None:
    """Return the pipeline and the adapter's folder, of a run that trained an adapter of a pipeline; else None.

    Raises:
        ModelError: the run does not say what it started from, or that is not there.
    """
    run = Path(name).expanduser()
    adapter = run / RUN_MODEL
    if not (is_run(run) and (adapter / LORA_WEIGHTS).is_file()):
        return None
    policy = read_json(run / RUN_PROVENANCE).get("policy")
    base = policy.get("base") if isinstance(policy, dict) else None
    if not isinstance(base, str):
        raise ModelError(f"{run / RUN_PROVENANCE}: policy.base is {base!r}; expected the pipeline that was trained.")
    return find_model(base), adapter


def _find_model(name: str, depth: int) -> ModelSource:
    path = Path(name).expanduser()
    if path.is_dir():
        return _of_folder(name, path, depth)
    if path.suffix.lower() == ".gguf" and path.is_file():
        return ModelSource(name, "gguf", str(path.parent), path.name)
    if is_path(name) and not path.is_file():
        # A mistyped path would be looked up on the hub, with a puzzling answer.
        what = "no such GGUF file" if path.suffix.lower() == ".gguf" else "no such model folder"
        raise ModelError(f"{name}: there is {what}.")
    if name in EMBEDDED:  # on the hub nothing has these names, and without a network that takes minutes to learn
        raise ModelError(
            f"{name}: the embedded example, which prospect demo and prospect rounds take. Name a model's folder, a run "
            "directory, a .gguf file or a hub name."
        )
    if path.is_file():
        raise ModelError(f"{name}: a file; expected a model's folder, a run directory, a .gguf file or a hub name.")
    if find_file(name, ADAPTER_CONFIG):
        return _adapter(name, name, depth)
    return ModelSource(name, "pipeline" if find_file(name, MODEL_INDEX) else "model", name)


def is_path(name: str) -> bool:
    """Return whether a name is that of a file or folder, there or not, and not one on the hub."""
    path = Path(name).expanduser()
    written_as_one = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    return written_as_one or path.suffix.lower() == ".gguf" or path.exists()


def require_context(max_length: int | None, context: int | None) -> None:
    """Refuse rows that are longer than what the model reads.

    Raises:
        ConfigError: naming both.
    """
    if max_length is not None and context is not None and max_length > context:
        raise ConfigError(
            f"data.max_length is {max_length} and the model reads {context} tokens at most. Lower it to {context}."
        )


def _of_folder(name: str, folder: Path, depth: int) -> ModelSource:
    if (folder / ADAPTER_CONFIG).is_file():
        return _adapter(name, str(folder), depth)
    if is_run(folder):
        if not (folder / RUN_MODEL).is_dir():
            raise CheckpointError(
                f"{name}: the run has no model/ yet. Let it finish (prospect train ... --resume), and name it then."
            )
        return replace(_of_folder(name, folder / RUN_MODEL, depth), run=folder)
    if (folder / MODEL_INDEX).is_file():
        return ModelSource(name, "pipeline", str(folder))
    if (folder / LORA_WEIGHTS).is_file():
        raise ModelError(
            f"{name}: an adapter of diffusers, which does not say what it sits on. Name the pipeline that it was "
            "trained from; pipeline.load_lora_weights puts it on there. prospect generate, contest and evaluate "
            "draw with it, where it is a run's: name the run."
        )
    files = sorted(file.name for file in folder.glob("*.gguf"))
    if not files or any(folder.glob("*.safetensors")):
        return ModelSource(name, "model", str(folder))
    if len(files) > 1:
        raise ModelError(f"{name}: holds {len(files)} GGUF files ({', '.join(files[:4])}). Name one of them.")
    return ModelSource(name, "gguf", str(folder), files[0])


def is_run(folder: Path) -> bool:
    """Whether a run has been in a folder."""
    return (folder / RUN_CONFIG).is_file() and not (folder / MODEL_CONFIG).is_file()


def _adapter(name: str, place: str, depth: int) -> ModelSource:
    """Return an adapter and what it sits on; refuse one whose weights could run code, or whose base is not there."""
    if depth == 0:
        raise ModelError(f"{name}: adapters sit on one another in a circle. Repair base_model_name_or_path in one.")
    base = ModelSource(name, "adapter", place).read(ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"{name}: {ADAPTER_CONFIG} names no base model. Write its path or hub name there, as "
            "base_model_name_or_path."
        )
    if find_file(place, ADAPTER_WEIGHTS) is None:
        raise ModelError(
            f"{name}: an adapter without {ADAPTER_WEIGHTS}. Weights in a .bin file are pickle, which can run code, and "
            "are not read: where you trust them, load the adapter with PEFT and save it again, as safetensors."
        )
    return ModelSource(name, "adapter", place, base=_base_of(name, Path(place), base, depth))


def _base_of(name: str, folder: Path, base: str, depth: int) -> ModelSource:
    """Return what an adapter's base stands for; its path may be relative to another directory."""
    asked = Path(base).expanduser()
    if folder.is_dir():
        # As it was saved; beside the adapter, whose run may have been moved; wherever it may have been relative to.
        beside = [folder.resolve().parent / asked.name] if asked.is_absolute() else []
        around = [folder.resolve(), Path.cwd(), *folder.resolve().parents]
        places = [asked, *beside] if asked.is_absolute() else [parent / asked for parent in around]
        for place in places:
            if place.is_file() or _holds_model(place):
                return _find_model(str(place), depth - 1)
        if asked.is_absolute() or base.startswith((".", "~")) or base.count("/") > 1:
            looked = ", ".join(str(place) for place in places[:3])
            raise ModelError(
                f"{name}: its base model {base} is not there (looked at {looked}). Put it there, or write where it is "
                f"into {folder / ADAPTER_CONFIG}, as base_model_name_or_path."
            )
    return _find_model(base, depth - 1)


def _holds_model(folder: Path) -> bool:
    known = (MODEL_CONFIG, ADAPTER_CONFIG, RUN_CONFIG)
    return folder.is_dir() and (any((folder / file).is_file() for file in known) or any(folder.glob("*.gguf")))


def find_file(place: str | Path, file: str) -> Path | None:
    """Return the file of a local folder, or of a model on the hub: from its cache, else fetched unless offline."""
    folder = Path(place).expanduser()
    if folder.is_dir():
        return folder / file if (folder / file).is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(hf_hub_download(str(place), file))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError):
        return None


def _gguf_context(path: Path) -> int | None:
    """Return the positions that a GGUF file states; None where it does not, or cannot be read here."""
    try:
        fields = importlib.import_module("gguf").GGUFReader(path).fields
        return int(fields[f"{fields['general.architecture'].contents()}.context_length"].contents())
    except (ImportError, OSError, ValueError, KeyError, IndexError):
        return None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file of a model.

    Raises:
        ModelError: it cannot be read, or holds something else.
    """
    return read_object(path, ModelError, "Fetch or save the model again.")
