"""The frozen model that the policy is compared with: one question, `logps(batch)`, and four answers."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from prospect import progress
from prospect.config import ReferenceSettings
from prospect.data.batch import Batch, collate
from prospect.errors import CheckpointError, ConfigError, ReferenceMismatchError
from prospect.models.logps_store import LogpsStore
from prospect.models.spreading import spread
from prospect.models.trained import TrainedModel
from prospect.progress import timing

FIRST_TOLD = 10.0  # seconds that the cached reference may have taken before its speed is printed


class Reference:
    """Answers what the frozen model thinks of completions.

    Attributes:
        kind: what recipes call it.
        identity: hash of what decides its answers; empty where there is no reference.
        starts_equal: whether it is the model that the policy starts from: then rewards are 0 before the first step.
        name: of a model of its own, as the recipe has it; None where it comes from the policy.
    """

    kind: str
    identity: str
    starts_equal: bool = True
    name: str | None = None

    def logps(self, batch: Any) -> torch.Tensor:
        """float32 (N,) nats, summed over completion tokens, without gradient."""
        raise TypeError(f"{type(self).__name__} must say how it scores a batch")

    def token_logps(self, batch: Batch) -> torch.Tensor:
        """float32 (N, T) nats, 0 where nothing is scored, without gradient."""
        raise TypeError(f"{type(self).__name__} must say how it scores the tokens of a batch")

    def logps_beside(self, batch: Any, policy_logps: torch.Tensor) -> torch.Tensor:
        """Return `logps` of a batch that the policy has been asked about, with what that said; it drew no dropout."""
        return self.logps(batch)

    def is_policy(self) -> bool:
        """Whether it is known to be the policy still: then log-ratios are 0, and none need be computed."""
        return False

    def sync(self, policy: TrainedModel, mix: float) -> None:
        """Move it towards the policy: reference <- mix * policy + (1 - mix) * reference."""
        raise TypeError(f"{type(self).__name__} cannot follow the policy")

    def weights(self) -> dict[str, torch.Tensor]:
        """All weights of a model of its own, by name."""
        return {}

    def change(self, change: Callable[[TrainedModel], None]) -> None:
        """Apply a change to its own model, if it has one: compile it, or shard it over processes."""

    def state(self) -> dict[str, torch.Tensor]:
        """Return the weights that following the policy has changed; what a checkpoint keeps."""
        return {}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put a checkpoint's weights back."""
        raise TypeError(f"{type(self).__name__} has no weights of its own")

    def flush(self) -> None:
        """Make what it has learnt so far survive a crash."""

    def reload(self) -> None:
        """Learn what the references of other ranks have made survive."""

    def policy_moved(self) -> None:
        """Receive the notice, once, that the policy may differ from this reference, though it started as it."""


class NoReference(Reference):
    """For losses without a reference: its log-probs are 0, so a log-ratio is the policy's own log-prob."""

    kind = "none"
    identity = ""

    def logps(self, batch: Any) -> torch.Tensor:
        """Zeros."""
        return torch.zeros(len(batch.rows))

    def token_logps(self, batch: Batch) -> torch.Tensor:
        """Zeros."""
        return torch.zeros(batch.ids.shape)


class FrozenReference(Reference):
    """A second copy of the model that the run starts from."""

    kind = "frozen"

    def __init__(self, policy: TrainedModel, *, follows: bool = False) -> None:
        self._policy = copy.copy(policy)
        self._policy.model = copy.deepcopy(policy.model).requires_grad_(False)
        self._policy.value_head = None
        if policy.working is not None:
            self._policy.use_copies(keep_frozen=follows)
        self._synced: set[str] = set()
        self.identity = policy.identity

    @torch.no_grad()
    def logps(self, batch: Any) -> torch.Tensor:
        """Score with the copy."""
        return self._policy.logps(batch)

    @torch.no_grad()
    def token_logps(self, batch: Batch) -> torch.Tensor:
        """Score with the copy."""
        return self._policy.score_tokens(batch).logps

    @torch.no_grad()
    def sync(self, policy: TrainedModel, mix: float) -> None:
        """Mix the policy's weights into the copy's; an adapter counts as merged into the weights it adapts."""
        own = dict(self._policy.model.named_parameters())
        for name, weight in policy.merged_weights():
            own[name].copy_(torch.lerp(own[name], weight.to(own[name].dtype), mix))
            self._synced.add(name)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the copy's log-probs."""
        return {name: p.detach() for name, p in self._policy.model.named_parameters()}

    def change(self, change: Callable[[TrainedModel], None]) -> None:
        """Change the copy."""
        change(self._policy)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the weights that `sync` has touched."""
        own = self.weights()
        return {name: own[name] for name in sorted(self._synced)}

    @torch.no_grad()
    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        own = dict(self._policy.model.named_parameters())
        for name, weight in state.items():
            own[name].copy_(weight)
        self._synced |= set(state)


class NamedReference(FrozenReference):
    """Another model."""

    kind = "named"
    starts_equal = False

    def __init__(self, own: TrainedModel, name: str) -> None:
        self._policy = own
        self._policy.model.requires_grad_(False)
        self._synced = set()
        self.identity = own.identity
        self.name = name

    def sync(self, policy: TrainedModel, mix: float) -> None:
        """Refuse: another model is another point to start from."""
        raise TypeError("NamedReference cannot follow the policy")


class AdapterOffReference(Reference):
    """The policy without its adapter: no second model in memory.

    Where the adapter was there before, that is not the model that the policy starts from.
    """

    kind = "adapter_off"

    def __init__(self, policy: TrainedModel) -> None:
        self._policy = policy
        self.identity = policy.base_identity or policy.identity
        self.starts_equal = policy.base_identity is None

    @torch.no_grad()
    def logps(self, batch: Any) -> torch.Tensor:
        """Score with the adapter switched off."""
        with self._policy.without_adapter():
            return self._policy.logps(batch)

    @torch.no_grad()
    def token_logps(self, batch: Batch) -> torch.Tensor:
        """Score with the adapter switched off."""
        with self._policy.without_adapter():
            return self._policy.score_tokens(batch).logps


class AdapterAsLoadedReference(Reference):
    """The policy with its adapter as it was loaded: no second model in memory, only the adapter.

    Its weights take the places of the policy's while it is asked.
    """

    kind = "adapter_as_loaded"

    def __init__(self, policy: TrainedModel) -> None:
        self._policy = policy
        self.identity = policy.identity
        self._weights = {name: p.detach().clone() for name, p in self._trained().items()}
        self._synced = False

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        return {name: p for name, p in self._policy.model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def logps(self, batch: Any) -> torch.Tensor:
        """Score with the adapter as it was."""
        with self._policy.with_weights(self._weights):
            return self._policy.logps(batch)

    @torch.no_grad()
    def token_logps(self, batch: Batch) -> torch.Tensor:
        """Score with the adapter as it was."""
        with self._policy.with_weights(self._weights):
            return self._policy.score_tokens(batch).logps

    def sync(self, policy: TrainedModel, mix: float) -> None:
        """Take the policy's adapter; a mixture of two adapters is none."""
        assert mix == 1.0
        self.load({name: p.detach() for name, p in self._trained().items()})

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the adapter's log-probs."""
        return dict(self._weights)

    def change(self, change: Callable[[TrainedModel], None]) -> None:
        """Follow a policy that has been updated already; its adapter is sharded as the policy's is."""
        for name, parameter in self._trained().items():
            if type(parameter.data) is not type(self._weights[name]):
                self._weights[name] = spread(self._weights[name], parameter.data)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the adapter, once it has followed the policy."""
        return self.weights() if self._synced else {}

    @torch.no_grad()
    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put it back."""
        for name, weight in state.items():
            self._weights[name].copy_(weight)
        self._synced = True


class CachedReference(Reference):
    """Remember another reference's answers on disk, row by row.

    A row's key is a hash of its tokens and of which are scored; the name of a file, and what is in it, is of the
    reference's identity. So the cache survives a change of learning rate, seed, order, subset and added rows, and
    can never answer for another model. Only finite values are kept, in a `LogpsStore`.

    A resumed run finds the numbers that it had, to the last bit, though a row's last bit depends on the rows that
    are asked together with it:

    - Once the policy has moved a row's number is the first that was computed, for good. So what a batch is answered
      depends only on which of its rows were known, and with what numbers.
    - A checkpoint is written after a flush. If what was on disk then is what the resumed run finds, it knows the
      same rows, asks about the same others, in the same company, and gets the same numbers: rows that the killed
      run has learnt since, and lost, were unknown at that moment too.
    - If one more flush came through before the run died, all of its rows are there, because a flush is one block
      that counts whole or not at all; and each has the number that the resumed run would compute.
    - Where several ranks write, each must have read the others' files when the checkpoint is written, as a resumed
      run has: flush, wait for all, `reload`. A row that two ranks have computed since the last checkpoint has two
      numbers, and each rank goes on with its own.

    What this does not cover: another run that writes into the same folder between death and resume, and a death
    between the flushes of two ranks. Then numbers may differ in the last bit, as between two batch sizes.
    """

    kind = "cached"

    def __init__(
        self, inner: Reference, folder: Path, rank: int = 0, agree: Callable[[bool], bool] | None = None
    ) -> None:
        self.inner = inner
        self.identity, self.starts_equal, self.name = inner.identity, inner.starts_equal, inner.name
        # Where weights are sharded a forward pass is made by all processes or by none: who knows its rows asks too.
        self._agree = agree or (lambda flag: flag)
        try:
            self._store = LogpsStore(folder, inner.identity, rank)
        except OSError as error:
            raise self._broken("read", folder, error) from error
        self._moved = False
        self._rows, self._seconds, self._told = 0, 0.0, FIRST_TOLD

    def logps(self, batch: Batch) -> torch.Tensor:
        """Look rows up, asks the inner reference about those that are missing, and remembers them.

        Until the policy has moved it asks about the whole batch: policy and reference are one model then, and their
        log-ratio must be exactly 0, which a sum that was rounded in another batch would not give.
        """
        keys = [row.key for row in batch.rows]
        if not self._moved:
            with self._timed(len(keys)):
                return self._remembered(batch, self.inner.logps(batch))
        known = torch.from_numpy(self._store.find(keys))
        missing = known.isnan()
        if self._agree(bool(missing.any())):
            rows = [row for row, unknown in zip(batch.rows, missing.tolist(), strict=True) if unknown]
            if not rows:
                self.inner.logps(collate(batch.rows[:1]).to(batch.ids.device))
                return known
            # The step has laid the whole batch out already.
            asked = batch if missing.all() else collate(rows).to(batch.ids.device)
            with self._timed(len(rows)):
                fresh = self.inner.logps(asked).float().cpu()
            self._store.add([row.key for row in rows], fresh.numpy())
            # Read back: of a row that is there twice the first number counts, as it will in a rerun. What is not
            # finite was not kept; it is shown as it is, and the step's guard names the row.
            kept = torch.from_numpy(self._store.find([row.key for row in rows]))
            known[missing] = torch.where(kept.isnan(), fresh, kept)
        return known

    def logps_beside(self, batch: Batch, policy_logps: torch.Tensor) -> torch.Tensor:
        """Take the policy's answers for its own until the policy moves: one model need not be asked twice."""
        return self._remembered(batch, policy_logps) if self.is_policy() else self.logps(batch)

    def is_policy(self) -> bool:
        """Until the policy moves, where it starts as this reference."""
        return self.starts_equal and not self._moved

    def _remembered(self, batch: Batch, fresh: torch.Tensor) -> torch.Tensor:
        self._store.add([row.key for row in batch.rows], fresh.cpu().numpy())
        return fresh

    @contextmanager
    def _timed(self, rows: int) -> Iterator[None]:
        """Tell how fast it fills where that takes long: first after some seconds, then whenever they have doubled."""
        begun = time.perf_counter()
        with timing.part(timing.REFERENCE):
            yield
        self._rows, self._seconds = self._rows + rows, self._seconds + time.perf_counter() - begun
        if self._seconds >= self._told:
            self._told *= 2
            rate = self._rows / self._seconds
            progress.note(
                f"reference: {self._rows:,} rows scored in {progress.span(self._seconds)}, {rate:.3g} a second"
            )

    def token_logps(self, batch: Batch) -> torch.Tensor:
        """Ask the inner reference: sums of rows are remembered, single tokens are not."""
        return self.inner.token_logps(batch)

    def change(self, change: Callable[[TrainedModel], None]) -> None:
        """Change the inner reference."""
        self.inner.change(change)

    def policy_moved(self) -> None:
        """From now on what is remembered will do."""
        self._moved = True

    def check(self, batch: Batch, fresh: torch.Tensor) -> None:
        """Compare what is remembered of these rows with fresh answers of the inner reference, (N,) nats.

        Raises:
            ReferenceMismatchError: they differ by more than rounding.
        """
        fresh = fresh.float().cpu()
        kept = torch.from_numpy(self._store.find([row.key for row in batch.rows]))
        remembered = torch.where(kept.isnan(), fresh, kept)
        # Padding and batching move a float32 sum in its 6th digit; half precision in its 3rd.
        if not torch.allclose(remembered, fresh, rtol=5e-3, atol=5e-2):
            worst = int((remembered - fresh).abs().argmax())
            raise ReferenceMismatchError(
                f"{self._store.pattern}: row {batch.rows[worst].id} is remembered with log-prob "
                f"{remembered[worst]:.4f} and the reference gives {fresh[worst]:.4f}. The files are damaged or "
                "not of this model: delete them."
            )

    def flush(self) -> None:
        """Append what is new, and wait until it is on disk."""
        try:
            self._store.flush()
        except OSError as error:
            raise self._broken("written", self._store.pattern, error) from error

    def reload(self) -> None:
        """Read what other processes have written; where several ranks train, after each flush of all of them."""
        try:
            self._store.reload()
        except OSError as error:
            raise self._broken("read", self._store.pattern, error) from error

    def _broken(self, what: str, path: Path, error: OSError) -> CheckpointError:
        return CheckpointError(f"{path}: the reference cache cannot be {what} ({error.strerror}).")


def build_reference(
    settings: ReferenceSettings,
    policy: TrainedModel,
    needed: bool,
    run_folder: Path,
    *,
    rank: int = 0,
    agree: Callable[[bool], bool] | None = None,
    named: Callable[[], TrainedModel] | None = None,
) -> Reference:
    """Make the reference that a recipe asks for, from the policy as it was loaded.

    Args:
        settings: the recipe's.
        policy: as it was loaded.
        needed: whether the loss has a reference.
        run_folder: the default place of the cache.
        rank: of this process, whose answers go into a file of its own.
        agree: returns whether a flag is true in any process; for sharded weights.
        named: loads the model that the recipe names.

    Raises:
        ConfigError: adapter_off without an adapter.
    """
    if not needed:
        return NoReference()
    inner = _reference_of(settings, policy, named)
    if not settings.cache:
        return inner
    folder = run_folder / "reference_cache" if settings.cache is True else Path(settings.cache).expanduser()
    return CachedReference(inner, folder, rank, agree)


def kind_of_reference(settings: ReferenceSettings, *, has_adapter: bool, was_there: bool) -> str:
    """Return the `kind` of the reference that a recipe asks for; no model need be loaded.

    Args:
        settings: the recipe's.
        has_adapter: whether an adapter is trained.
        was_there: whether the run starts from a model that had it.
    """
    if settings.name_or_path is not None:
        return NamedReference.kind
    if settings.kind == "frozen" or not has_adapter:
        return FrozenReference.kind
    return AdapterAsLoadedReference.kind if was_there and settings.kind == "auto" else AdapterOffReference.kind


def _reference_of(
    settings: ReferenceSettings, policy: TrainedModel, named: Callable[[], TrainedModel] | None
) -> Reference:
    if settings.kind == "adapter_off" and not policy.has_adapter:
        raise ConfigError(
            "reference.kind is adapter_off and there is no adapter. Set model.lora, or reference.kind: frozen."
        )
    kind = kind_of_reference(settings, has_adapter=policy.has_adapter, was_there=policy.base_identity is not None)
    if kind == NamedReference.kind:
        assert named is not None
        return NamedReference(named(), str(settings.name_or_path))
    if kind == FrozenReference.kind:
        return FrozenReference(policy, follows=settings.follows)
    return AdapterAsLoadedReference(policy) if kind == AdapterAsLoadedReference.kind else AdapterOffReference(policy)


def check_identity(
    policy: TrainedModel, reference: Reference, batch: Batch, *, compiled: bool = False
) -> torch.Tensor | None:
    """Check that before the first step every implied reward is exactly 0, where reference and policy start equal.

    Args:
        policy: as it is before the first step.
        reference: what it is compared with.
        batch: rows to ask both about.
        compiled: whether layers are compiled; then a pass with gradient rounds otherwise than one without.

    Returns:
        log-ratios of the rows, float32 (N,) nats; None without a reference.

    Raises:
        ReferenceMismatchError: policy and reference differ where they must be one model.
    """
    if isinstance(reference, NoReference):
        return None
    inner = reference.inner if isinstance(reference, CachedReference) else reference
    with torch.no_grad():
        fresh = inner.logps(batch)
        log_ratio = policy.logps(batch) - fresh.to(policy.device)
    # On a GPU the order of a sum may vary from run to run; on a CPU it does not.
    allowed = 0.0 if policy.device.type == "cpu" and not compiled else 1e-2
    if not bool(log_ratio.isfinite().all()):
        reference.policy_moved()  # the first step asks both, and its guard names the rows
        return log_ratio
    if reference.starts_equal and not bool((log_ratio.abs() <= allowed).all()):
        worst = int(log_ratio.abs().argmax())
        raise ReferenceMismatchError(
            f"before the first step the policy must equal its reference, and row {batch.rows[worst].id} has "
            f"log-ratio {log_ratio[worst]:.6f} nats. Does the model keep dropout or other noise on?"
        )
    if isinstance(reference, CachedReference):
        reference.check(batch, fresh)
    return log_ratio
