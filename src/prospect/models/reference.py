"""The frozen model that the policy is compared with: one question, `logps(batch)`, and four answers."""

from __future__ import annotations

import copy
import math
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch

from prospect.config import ReferenceSettings
from prospect.data.batch import Batch
from prospect.errors import CheckpointError, ConfigError, ReferenceMismatchError
from prospect.models.policy import Policy


class Reference:
    """Answers what the frozen model thinks of completions.

    Attributes:
        kind: what recipes call it.
        identity: hash of what decides its answers; empty where there is no reference.
    """

    kind: str
    identity: str

    def logps(self, batch: Batch) -> torch.Tensor:
        """float32 (N,) nats, summed over completion tokens, without gradient."""
        raise TypeError(f"{type(self).__name__} must say how it scores a batch")

    def token_logps(self, batch: Batch) -> torch.Tensor:
        """float32 (N, T) nats, 0 where nothing is scored, without gradient."""
        raise TypeError(f"{type(self).__name__} must say how it scores the tokens of a batch")

    def sync(self, policy: Policy, mix: float) -> None:
        """Moves it towards the policy: reference <- mix * policy + (1 - mix) * reference."""
        raise TypeError(f"{type(self).__name__} cannot follow the policy")

    def state(self) -> dict[str, torch.Tensor]:
        """The weights that following the policy has changed; what a checkpoint keeps."""
        return {}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Puts a checkpoint's weights back."""
        raise TypeError(f"{type(self).__name__} has no weights of its own")

    def flush(self) -> None:
        """Makes what it has learnt so far survive a crash."""

    def policy_moved(self) -> None:
        """Told once the policy is no longer the model that it started as."""


class NoReference(Reference):
    """For losses without a reference: its log-probs are 0, so a log-ratio is the policy's own log-prob."""

    kind = "none"
    identity = ""

    def logps(self, batch: Batch) -> torch.Tensor:
        """Zeros."""
        return torch.zeros(len(batch.rows))

    def token_logps(self, batch: Batch) -> torch.Tensor:
        """Zeros."""
        return torch.zeros(batch.ids.shape)


class FrozenReference(Reference):
    """A second copy of the model that the run starts from."""

    kind = "frozen"

    def __init__(self, policy: Policy) -> None:
        self._policy = copy.copy(policy)
        self._policy.model = copy.deepcopy(policy.model).requires_grad_(False)
        self._policy.value_head = None
        self._synced: set[str] = set()
        self.identity = policy.identity

    @torch.no_grad()
    def logps(self, batch: Batch) -> torch.Tensor:
        """Scores with the copy."""
        return self._policy.logps(batch)

    @torch.no_grad()
    def token_logps(self, batch: Batch) -> torch.Tensor:
        """Scores with the copy."""
        return self._policy.score_tokens(batch).logps

    @torch.no_grad()
    def sync(self, policy: Policy, mix: float) -> None:
        """Mixes the policy's weights into the copy's; an adapter counts as merged into the weights it adapts."""
        own = dict(self._policy.model.named_parameters())
        for name, weight in policy.merged_weights():
            own[name].copy_(torch.lerp(own[name], weight.to(own[name].dtype), mix))
            self._synced.add(name)

    def state(self) -> dict[str, torch.Tensor]:
        """The weights that `sync` has touched."""
        own = dict(self._policy.model.named_parameters())
        return {name: own[name].detach() for name in sorted(self._synced)}

    @torch.no_grad()
    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Puts them back."""
        own = dict(self._policy.model.named_parameters())
        for name, weight in state.items():
            own[name].copy_(weight)
        self._synced |= set(state)


class AdapterOffReference(Reference):
    """The policy without its adapter: no second model in memory."""

    kind = "adapter_off"

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.identity = policy.identity

    @torch.no_grad()
    def logps(self, batch: Batch) -> torch.Tensor:
        """Scores with the adapter switched off."""
        with self._policy.without_adapter():
            return self._policy.logps(batch)

    @torch.no_grad()
    def token_logps(self, batch: Batch) -> torch.Tensor:
        """Scores with the adapter switched off."""
        with self._policy.without_adapter():
            return self._policy.score_tokens(batch).logps


class CachedReference(Reference):
    """Remembers another reference's answers on disk, row by row.

    A row's key is a hash of its tokens and of which are scored; the file's name is the reference's identity.
    So the cache survives a change of learning rate, seed, order, subset and added rows, and can never answer
    for another model. Records are appended and carry a checksum: what a crash leaves half-written is not
    read. Only finite values are kept.
    """

    kind = "cached"
    _RECORD = struct.Struct("<16sfI")  # key, logps, crc32 of both

    def __init__(self, inner: Reference, folder: Path) -> None:
        self.inner = inner
        self.identity = inner.identity
        self.path = folder / f"{inner.identity}.logps"
        self._known = self._read()
        self._unwritten: list[bytes] = []
        self._moved = False

    def logps(self, batch: Batch) -> torch.Tensor:
        """Looks rows up; if any is missing, asks the inner reference about the whole batch and remembers it.

        Until the policy has moved it always asks: policy and reference are one model then, and their
        log-ratio must be exactly 0, which a sum that was rounded in another batch would not give.
        """
        keys = [row.key for row in batch.rows]
        if self._moved and all(key in self._known for key in keys):
            return torch.tensor([self._known[key] for key in keys])
        fresh = self.inner.logps(batch)
        values = fresh.tolist()
        for key, value in zip(keys, values, strict=True):
            if key not in self._known and math.isfinite(value):
                self._known[key] = value
                self._unwritten.append(self._record(key, value))
        if not self._moved or not all(map(math.isfinite, values)):
            return fresh
        # A row that was known keeps its value: a rerun of the same step must find the same numbers.
        return torch.tensor([self._known[key] for key in keys])

    def token_logps(self, batch: Batch) -> torch.Tensor:
        """Asks the inner reference: sums of rows are remembered, single tokens are not."""
        return self.inner.token_logps(batch)

    def policy_moved(self) -> None:
        """From now on what is remembered will do."""
        self._moved = True

    def check(self, batch: Batch) -> None:
        """Compares what is remembered of these rows with fresh answers.

        Raises:
            ReferenceMismatchError: they differ by more than rounding.
        """
        fresh = self.inner.logps(batch).cpu()
        remembered = torch.tensor(
            [self._known.get(row.key, f) for row, f in zip(batch.rows, fresh.tolist(), strict=True)]
        )
        # Padding and batching move a float32 sum in its 6th digit; half precision in its 3rd.
        if not torch.allclose(remembered, fresh, rtol=5e-3, atol=5e-2):
            worst = int((remembered - fresh).abs().argmax())
            raise ReferenceMismatchError(
                f"{self.path}: row {batch.rows[worst].id} is remembered with log-prob "
                f"{remembered[worst]:.4f} and the reference gives {fresh[worst]:.4f}. The file is damaged or "
                "not of this model: delete it."
            )

    def flush(self) -> None:
        """Appends what is new, and waits until it is on disk."""
        if not self._unwritten:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(b"".join(self._unwritten))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise CheckpointError(f"{self.path}: the reference cache cannot be written ({error.strerror}).") from error
        self._unwritten.clear()

    def _read(self) -> dict[bytes, float]:
        if not self.path.exists():
            return {}
        data = self.path.read_bytes()
        known = {}
        good = 0
        for key, value, checksum in self._RECORD.iter_unpack(data[: len(data) - len(data) % self._RECORD.size]):
            if zlib.crc32(struct.pack("<16sf", key, value)) != checksum:
                break  # a torn append shifts all that follows; the rows are computed again
            known[key] = value
            good += self._RECORD.size
        if good < len(data):
            with self.path.open("r+b") as file:
                file.truncate(good)
        return known

    def _record(self, key: bytes, value: float) -> bytes:
        return self._RECORD.pack(key, value, zlib.crc32(struct.pack("<16sf", key, value)))


def build_reference(settings: ReferenceSettings, policy: Policy, needed: bool, run_folder: Path) -> Reference:
    """Makes the reference that a recipe asks for, from the policy as it was loaded.

    Raises:
        ConfigError: adapter_off without an adapter.
    """
    if not needed:
        return NoReference()
    kind = settings.kind
    if kind == "auto":
        kind = "adapter_off" if policy.has_adapter else "frozen"
    if kind == "adapter_off" and not policy.has_adapter:
        raise ConfigError(
            "reference.kind is adapter_off and there is no adapter. Set model.lora, or reference.kind: frozen."
        )
    inner: Reference = AdapterOffReference(policy) if kind == "adapter_off" else FrozenReference(policy)
    if not settings.cache:
        return inner
    folder = run_folder / "reference_cache" if settings.cache is True else Path(settings.cache).expanduser()
    return CachedReference(inner, folder)


def check_identity(policy: Policy, reference: Reference, batch: Batch) -> None:
    """Checks that before the first step every implied reward is exactly 0.

    Raises:
        ReferenceMismatchError: policy and reference differ where they must be one model.
    """
    if isinstance(reference, NoReference):
        return
    inner = reference.inner if isinstance(reference, CachedReference) else reference
    with torch.no_grad():
        log_ratio = policy.logps(batch) - inner.logps(batch)
    # On a GPU the order of a sum may vary from run to run; on a CPU it does not.
    allowed = 0.0 if policy.device.type == "cpu" else 1e-2
    if not bool(log_ratio.isfinite().all()):
        return  # the step's own guard names the rows
    if not bool((log_ratio.abs() <= allowed).all()):
        worst = int(log_ratio.abs().argmax())
        raise ReferenceMismatchError(
            f"before the first step the policy must equal its reference, and row {batch.rows[worst].id} has "
            f"log-ratio {log_ratio[worst]:.6f} nats. Does the model keep dropout or other noise on?"
        )
    if isinstance(reference, CachedReference):
        reference.check(batch)
