"""What MODEL may be on the command line, and how it is loaded to be looked at: nothing here trains."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prospect import progress
from prospect.config import Config, ModelSettings, load_config
from prospect.errors import CheckpointError, UsageError
from prospect.training.run_dir import RunDir

if TYPE_CHECKING:
    from prospect.losses.base import Loss
    from prospect.models.policy import Policy

SubjectKind = Literal["run", "model", "adapter", "endpoint", "completions"]

ENDPOINT = "endpoint:"
_COMPLETIONS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Subject:
    """A model to evaluate, or what it wrote.

    Attributes:
        name: as the user wrote it.
        kind: a run directory, a whole model, a PEFT adapter, a server, or a file of completions.
        weights: the folder or hub name that is loaded; empty for a server and a file.
        run: the run directory, for a run.
    """

    name: str
    kind: SubjectKind
    weights: str = ""
    run: RunDir | None = None

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
        return self.config.model.model_copy(update={"name_or_path": self.weights, "lora": None})

    @property
    def base(self) -> str | None:
        """The model that an adapter sits on."""
        return adapter_base(self.weights) if self.weights else None

    @property
    def is_reward_model(self) -> bool:
        """Whether the weights are a sequence classifier's, which scores and does not write."""
        config = Path(self.weights).expanduser() / "config.json"
        if not self.weights or not config.is_file():
            return False
        architectures = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
        return any(name.endswith("ForSequenceClassification") for name in architectures)

    @property
    def fingerprint(self) -> str:
        """Changes when the weights on disk do; of a hub name and a server, the name."""
        digest = hashlib.blake2b(f"{self.kind} {self.weights or self.name}".encode(), digest_size=16)
        for name in (self.weights, self.base):
            folder = Path(name).expanduser() if name else None
            if folder is not None and folder.is_dir():
                files = sorted((path.name, path.stat()) for path in folder.iterdir() if path.is_file())
                digest.update(repr([(file, stat.st_size, stat.st_mtime_ns) for file, stat in files]).encode())
        return digest.hexdigest()


def find_subject(name: str | Path) -> Subject:
    """Return what a name stands for: endpoint:URL#MODEL, a run, a model or adapter folder, a file, a hub name.

    Raises:
        UsageError: a file of another type.
        CheckpointError: a run directory without a finished model.
    """
    name = str(name)
    if name.startswith(ENDPOINT):
        return Subject(name, "endpoint")
    path = Path(name).expanduser()
    if path.is_file() or path.suffix.lower() in _COMPLETIONS:
        if path.suffix.lower() not in _COMPLETIONS:
            raise UsageError(
                f"{name}: a file; expected a model's folder, or completions in a {' '.join(_COMPLETIONS)} file."
            )
        return Subject(name, "completions")
    run = RunDir(path)
    if run.exists():
        if not run.model_path.is_dir():
            raise CheckpointError(f"{name}: the run has no model/ yet. Let it finish: prospect train ... --resume")
        return Subject(name, "run", str(run.model_path), run)
    return Subject(name, "adapter" if adapter_base(name) else "model", name)


def adapter_base(name: str) -> str | None:
    """Return the model that a folder's PEFT adapter sits on; None where there is no adapter."""
    file = Path(name).expanduser() / "adapter_config.json"
    return json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"] if file.is_file() else None


def load_for_scoring(settings: ModelSettings, precision: str = "auto", tokenizer: Any = None) -> Policy:
    """Load a whole model, or an adapter on its base, to score completions with.

    Args:
        settings: which, and how its weights are held.
        precision: arithmetic: fp32, bf16, or auto as in training.
        tokenizer: the tokenizer of the model that it is compared with; None loads its own.

    Returns:
        A policy in evaluation mode; its identity is of the weights without the adapter.

    Raises:
        ModelError: there is none, or weights are missing.
    """
    from prospect.models.loading import (
        default_device,
        fit_embeddings,
        load_causal_lm,
        load_tokenizer,
        quiet_peft,
        resolve_precision,
        weights_identity,
    )
    from prospect.models.logps import choose_scorer
    from prospect.models.policy import Policy

    device = default_device()
    precision = resolve_precision(precision, device)
    tokenizer = tokenizer if tokenizer is not None else load_tokenizer(settings)
    base = adapter_base(settings.name_or_path)
    model = load_causal_lm(settings.model_copy(update={"name_or_path": base}) if base else settings)
    fit_embeddings(model, tokenizer)
    identity = weights_identity(model, precision)
    if base:
        from peft import PeftModel

        with quiet_peft():
            model = PeftModel.from_pretrained(model, str(Path(settings.name_or_path).expanduser()))
    model = model.to(device).eval()
    return Policy(model, tokenizer, choose_scorer(model), precision, identity, base is not None)


def load_for_generating(subject: Subject) -> tuple[Any, Any]:
    """Load the model and tokenizer of a run, a model folder, an adapter or a hub name, to sample from.

    Raises:
        UsageError: a reward model, which writes nothing.
        ModelError: there is none, or weights are missing.
    """
    if subject.is_reward_model:
        raise UsageError(f"{subject.name}: a reward model scores completions and writes none. Name a language model.")
    with progress.phase(f"loading {subject.name}"):
        policy = load_for_scoring(subject.settings)
    return policy.model, policy.tokenizer
