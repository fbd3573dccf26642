"""What MODEL may be on the command line, and how it is loaded to be looked at: nothing here trains."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prospect import progress
from prospect.config import Config, ModelSettings, load_config
from prospect.errors import UsageError
from prospect.model_source import ADAPTER_CONFIG, MODEL_CONFIG, ModelSource, find_adapter_of_images, find_model
from prospect.run_dir import RunDir

if TYPE_CHECKING:
    from prospect.losses.base import Loss

SubjectKind = Literal["run", "model", "adapter", "gguf", "pipeline", "endpoint", "completions"]

ENDPOINT = "endpoint:"
_COMPLETIONS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Subject:
    """A model to evaluate, or what it wrote.

    Attributes:
        name: as the user wrote it.
        kind: a run directory, a whole model, a PEFT adapter, a GGUF file, a pipeline, a server, or a file of
            completions.
        source: what is loaded; None for a server and a file. Of a run that trained an adapter of a pipeline, the
            pipeline.
        run: the run directory, for a run.
        lora: the folder of the weights that are put on the pipeline, of such a run.
    """

    name: str
    kind: SubjectKind
    source: ModelSource | None = None
    run: RunDir | None = None
    lora: Path | None = None

    @property
    def makes_images(self) -> bool:
        """Whether it is a pipeline, which makes images."""
        return self.source is not None and self.source.kind == "pipeline"

    @property
    def weights(self) -> str:
        """What is loaded, by name; empty for a server and a file."""
        if self.source is None:
            return ""
        return self.source.place if self.run is not None else self.name

    @cached_property
    def config(self) -> Config | None:
        """The recipe of a run."""
        return load_config(self.run.config(), where=str(self.run.config_path)) if self.run is not None else None

    @cached_property
    def loss(self) -> Loss | None:
        """The loss of a run; None where it is a user's own and its file is not here."""
        from prospect.errors import ProspectError
        from prospect.losses import get_loss

        try:
            return get_loss(self.config.loss.name) if self.config is not None else None
        except ProspectError:
            return None

    @property
    def settings(self) -> ModelSettings:
        """How its weights are loaded: as in the run, without the settings of the adapter that was trained."""
        if self.config is None:
            return ModelSettings(name_or_path=self.weights)
        return self.config.model.model_copy(update={"name_or_path": self.weights, "lora": None, "adapter": None})

    @property
    def precision(self) -> str:
        """The arithmetic in which it is asked: that of the run, as its recipe has it."""
        return self.config.train.precision if self.config is not None else "auto"

    @property
    def base(self) -> ModelSource | None:
        """The model that an adapter sits on."""
        return self.source.base if self.source is not None else None

    @property
    def is_reward_model(self) -> bool:
        """Whether the weights are a sequence classifier's, which scores and does not write."""
        if self.source is None:
            return False
        if self.source.base is not None:
            return self.source.read(ADAPTER_CONFIG).get("task_type") == "SEQ_CLS"
        architectures = self.source.read(MODEL_CONFIG).get("architectures") or []
        return any(name.endswith("ForSequenceClassification") for name in architectures)

    @property
    def fingerprint(self) -> str:
        """Changes when the weights on disk do; of a hub name and a server, the name."""
        digest = hashlib.blake2b(f"{self.kind} {self.weights or self.name}".encode(), digest_size=16)
        for source in self.source.chain if self.source is not None else ():
            if source.is_local:
                files = sorted((path.name, path.stat()) for path in Path(source.place).iterdir() if path.is_file())
                digest.update(repr([(file, stat.st_size, stat.st_mtime_ns) for file, stat in files]).encode())
        return digest.hexdigest()


def find_subject(name: str | Path, *, images: bool = False) -> Subject:
    """Return what a name stands for: endpoint:URL#MODEL, a file of completions, or a model (see `find_model`).

    Args:
        name: as the user wrote it.
        images: whether it may be a model that makes images.

    Raises:
        UsageError: a file of another type, or a model that makes images where one that writes text is needed.
        ModelError: a model that is not there, or an adapter that is broken.
        CheckpointError: a run directory without a finished model.
    """
    name = str(name)
    if name.startswith(ENDPOINT):
        return Subject(name, "endpoint")
    path = Path(name).expanduser()
    suffix = path.suffix.lower()
    if suffix in _COMPLETIONS and not path.is_dir():
        return Subject(name, "completions")
    if path.is_file() and suffix != ".gguf":
        raise UsageError(
            f"{name}: a file; expected a model's folder, a .gguf file, or completions in a {' '.join(_COMPLETIONS)} "
            "file."
        )
    drawing = find_adapter_of_images(name)
    source = drawing[0] if drawing else find_model(name)
    if source.kind == "pipeline" and not images:
        raise UsageError(
            f"{name}: a model that makes images; expected one that writes text. Images are made, compared and scored "
            "by prospect generate, contest and evaluate."
        )
    if drawing is not None:
        return Subject(name, "run", source, RunDir(path), lora=drawing[1])
    if source.run is not None:
        return Subject(name, "run", source, RunDir(source.run))
    return Subject(name, source.kind, source)


def load_for_generating(subject: Subject, precision: str | None = None) -> tuple[Any, Any]:
    """Load a model and its tokenizer to sample from.

    Args:
        subject: the model.
        precision: arithmetic, see `load_for_scoring`; by default fp32 for a run whose recipe says so, else auto: a
            run in bf16 may be asked on a processor that does not multiply it.

    Raises:
        UsageError: a reward model, which writes nothing.
        ModelError: there is none, or weights are missing.
    """
    from prospect.models.policy import load_for_scoring

    if subject.is_reward_model:
        raise UsageError(f"{subject.name}: a reward model scores completions and writes none. Name a language model.")
    with progress.phase(f"loading {subject.name}"):
        own = "fp32" if subject.precision == "fp32" else "auto"
        policy = load_for_scoring(subject.settings, precision or own)
    return policy.model, policy.tokenizer
