"""The reference cache: what it remembers is right, or it is not remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prospect.data.batch import Batch, Row, collate
from prospect.errors import CheckpointError, ConfigError, ReferenceMismatchError
from prospect.models.reference import CachedReference, NoReference, Reference, build_reference


class Counting(Reference):
    """Gives each row -(its first completion id) - 0.1, and counts how often it was asked, and about what."""

    kind = "counting"

    def __init__(self, identity: str = "model-a", broken: tuple[int, ...] = (), shift: float = 0.1) -> None:
        self.identity, self.broken, self.shift, self.asked = identity, broken, shift, 0
        self.rows: list[list[int]] = []

    def logps(self, batch: Batch) -> torch.Tensor:
        self.asked += 1
        first = [int(row.completion_ids[0]) for row in batch.rows]
        self.rows.append(first)
        return torch.tensor([float("nan") if i in self.broken else -i - self.shift for i in first])


def batch_of(*ids: int) -> Batch:
    return collate([Row(np.array([1], np.int32), np.array([i], np.int32), "p", f"row {i}", True) for i in ids])


def filled(folder: Path, *ids: int) -> CachedReference:
    cache = CachedReference(Counting(), folder)
    cache.logps(batch_of(*ids))
    cache.flush()
    return cache


def reopened(folder: Path, **inner: Any) -> tuple[CachedReference, Counting]:
    counting = Counting(**inner)
    cache = CachedReference(counting, folder)
    cache.policy_moved()
    return cache, counting


def test_it_survives_reopening_to_the_same_float32(tmp_path: Path) -> None:
    fresh = filled(tmp_path, 3, 4, 5).logps(batch_of(3, 4, 5))
    cache, inner = reopened(tmp_path)
    assert torch.equal(cache.logps(batch_of(5, 3, 4)), fresh[[2, 0, 1]])
    assert inner.asked == 0


def test_before_the_policy_has_moved_it_always_asks(tmp_path: Path) -> None:
    cache = filled(tmp_path, 3)
    inner = cache.inner
    assert isinstance(inner, Counting)
    cache.logps(batch_of(3))
    assert inner.asked == 2
    cache.policy_moved()
    cache.logps(batch_of(3))
    assert inner.asked == 2


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_of_a_batch_only_the_new_rows_are_asked_about_and_added(tmp_path: Path) -> None:
    filled(tmp_path, 3, 5)
    cache, inner = reopened(tmp_path)
    assert cache.logps(batch_of(3, 8, 5, 4)).tolist() == pytest.approx([-3.1, -8.1, -5.1, -4.1])
    assert inner.rows == [[8, 4]]
    cache.flush()
    again, inner = reopened(tmp_path)
    again.logps(batch_of(8, 3))
    assert inner.asked == 0


def test_what_was_never_flushed_is_asked_again(tmp_path: Path) -> None:
    CachedReference(Counting(), tmp_path).logps(batch_of(3))
    cache, inner = reopened(tmp_path)
    cache.logps(batch_of(3))
    assert inner.asked == 1
    assert not list(tmp_path.iterdir())


def test_a_row_that_is_in_the_batch_twice_has_one_number(tmp_path: Path) -> None:
    class Drifting(Counting):
        def logps(self, batch: Batch) -> torch.Tensor:
            return super().logps(batch) + torch.arange(len(batch.rows))

    cache = CachedReference(Drifting(), tmp_path)
    cache.policy_moved()
    twice = cache.logps(batch_of(3, 4, 3))
    assert twice.tolist() == pytest.approx([-3.1, -3.1, -3.1])
    assert torch.equal(cache.logps(batch_of(3, 4, 3)), twice)


def test_a_known_row_keeps_its_number(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    cache = CachedReference(Counting(shift=0.2), tmp_path)
    assert cache.logps(batch_of(3, 4)).tolist() == pytest.approx([-3.2, -4.2])
    cache.policy_moved()
    assert cache.logps(batch_of(3, 4)).tolist() == pytest.approx([-3.1, -4.2])


def test_a_torn_file_is_asked_about_again(tmp_path: Path) -> None:
    filled(tmp_path, 3, 4)
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    cache, inner = reopened(tmp_path)
    assert cache.logps(batch_of(3, 4)).tolist() == pytest.approx([-3.1, -4.1])
    assert inner.rows == [[3, 4]]
    cache.flush()
    cache, inner = reopened(tmp_path)
    cache.logps(batch_of(3, 4))
    assert inner.asked == 0


@pytest.mark.parametrize("old", [b"not a cache at all" * 10, b""])
def test_a_file_of_rubbish_is_not_an_answer(tmp_path: Path, old: bytes) -> None:
    filled(tmp_path, 3)
    only_file(tmp_path).write_bytes(old)
    (tmp_path / "model-a.logps").write_bytes(b"\x01" * 48)  # the name that files once had
    cache, inner = reopened(tmp_path)
    assert cache.logps(batch_of(3)).tolist() == pytest.approx([-3.1])
    assert inner.asked == 1


def test_another_identity_never_answers(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    cache, inner = reopened(tmp_path, identity="model-b", shift=0.7)
    assert cache.logps(batch_of(3)).tolist() == pytest.approx([-3.7])
    assert inner.asked == 1
    cache.flush()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model-a.000-00000.logps", "model-b.000-00000.logps"]


def test_a_renamed_file_of_another_model_never_answers(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    only_file(tmp_path).rename(tmp_path / "model-b.000-00000.logps")
    cache, inner = reopened(tmp_path, identity="model-b", shift=0.7)
    assert cache.logps(batch_of(3)).tolist() == pytest.approx([-3.7])
    assert inner.asked == 1


def test_the_cut_between_prompt_and_completion_is_part_of_the_row(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    cache, inner = reopened(tmp_path)
    other = Row(np.array([1, 3], np.int32), np.array([3], np.int32), "p", "x", True)
    cache.logps(collate([other]))
    assert inner.asked == 1


@pytest.mark.parametrize("moved", [False, True])
def test_nan_is_never_stored_and_is_shown_to_the_guard(tmp_path: Path, moved: bool) -> None:
    cache = CachedReference(Counting(broken=(4,)), tmp_path)
    if moved:
        cache.policy_moved()
    values = cache.logps(batch_of(3, 4))
    assert values[0] == pytest.approx(-3.1)
    assert values[1].isnan()
    cache.flush()
    mended, inner = reopened(tmp_path)
    assert mended.logps(batch_of(3, 4)).tolist() == pytest.approx([-3.1, -4.1])
    assert inner.rows == [[4]]


def test_check_accepts_its_own_values_and_unknown_rows(tmp_path: Path) -> None:
    filled(tmp_path, 3, 4)
    cache, inner = reopened(tmp_path)
    cache.check(batch_of(3, 4, 9), inner.logps(batch_of(3, 4, 9)))


def test_check_refuses_what_the_reference_does_not_say(tmp_path: Path) -> None:
    forged = CachedReference(Counting(shift=5.0), tmp_path)
    forged.logps(batch_of(4))
    forged.flush()
    cache, inner = reopened(tmp_path)
    with pytest.raises(
        ReferenceMismatchError,
        match=r"model-a\.\*\.logps: row row 4 is remembered with log-prob -9\.0000 and .*-4\.1000.*delete them",
    ):
        cache.check(batch_of(3, 4), inner.logps(batch_of(3, 4)))


def test_while_it_is_the_policy_that_is_not_asked_twice(tmp_path: Path) -> None:
    inner = Counting()
    cache, said = CachedReference(inner, tmp_path), torch.tensor([-3.25])
    with torch.no_grad():
        assert torch.equal(cache.logps_beside(batch_of(3), said), said)
        assert inner.asked == 0
        cache.policy_moved()
        assert torch.equal(cache.logps_beside(batch_of(3), said - 1), said)  # remembered
        assert cache.logps_beside(batch_of(4), said).item() == pytest.approx(-4.1)


def test_where_it_is_another_model_it_is_asked(tmp_path: Path) -> None:
    cache = CachedReference(Counting(), tmp_path)
    cache.starts_equal = False
    assert cache.logps_beside(batch_of(3), torch.tensor([-3.25])).item() == pytest.approx(-3.1)


def test_a_folder_that_cannot_be_written_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = CachedReference(Counting(), tmp_path / "file" / "cache")
    cache.logps(batch_of(3))
    with pytest.raises(CheckpointError, match=r"model-a\.\*\.logps: the reference cache cannot be written"):
        cache.flush()


def test_a_folder_that_cannot_be_read_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "model-a.000-00000.logps").mkdir()
    with pytest.raises(CheckpointError, match=r"the reference cache cannot be read \(Is a directory\)"):
        CachedReference(Counting(), tmp_path)


def test_ranks_learn_from_one_another_when_told_to_and_keep_their_own_numbers(tmp_path: Path) -> None:
    ranks = [CachedReference(Counting(shift=shift), tmp_path, rank) for rank, shift in enumerate((0.1, 0.2))]
    for rank, rows in zip(ranks, ((3, 4), (4, 5)), strict=True):
        rank.policy_moved()
        rank.logps(batch_of(*rows))
        rank.flush()
    ranks[1].logps(batch_of(3))
    assert ranks[1].inner.rows == [[4, 5], [3]]  # type: ignore[attr-defined]
    for rank in ranks:
        rank.reload()
    said = [rank.logps(batch_of(3, 4, 5)).tolist() for rank in ranks]
    assert said[0] == pytest.approx([-3.1, -4.1, -5.2])
    assert said[1] == pytest.approx([-3.1, -4.2, -5.2])
    # What a resumed run reads is what the running one knew.
    for number, before in enumerate(said):
        resumed = CachedReference(Counting(), tmp_path, number)
        resumed.policy_moved()
        assert resumed.logps(batch_of(3, 4, 5)).tolist() == before


def test_flushing_nothing_writes_nothing(tmp_path: Path) -> None:
    CachedReference(Counting(), tmp_path).flush()
    assert not list(tmp_path.iterdir())


def test_no_reference_answers_zero_and_has_no_identity() -> None:
    reference = NoReference()
    assert reference.logps(batch_of(3, 4)).tolist() == [0.0, 0.0]
    assert reference.identity == ""
    reference.flush()
    reference.reload()
    reference.policy_moved()


def test_adapter_off_without_an_adapter_is_refused() -> None:
    from types import SimpleNamespace

    from prospect.config import ReferenceSettings

    policy: Any = SimpleNamespace(has_adapter=False)
    with pytest.raises(ConfigError, match=r"reference\.kind is adapter_off and there is no adapter"):
        build_reference(ReferenceSettings(kind="adapter_off"), policy, needed=True, run_folder=Path())
    assert isinstance(build_reference(ReferenceSettings(), policy, needed=False, run_folder=Path()), NoReference)


def test_a_change_goes_through_the_cache_to_the_model_within(tmp_path: Path) -> None:
    from conftest import make_model
    from prospect.models.logps import score_hidden
    from prospect.models.policy import Policy
    from prospect.models.reference import FrozenReference

    policy = Policy(make_model(), None, score_hidden, "fp32", "abc", has_adapter=False)
    inner = FrozenReference(policy)
    changed: list[Policy] = []
    CachedReference(inner, tmp_path).change(changed.append)
    inner.change(changed.append)
    assert changed[0] is changed[1]
    assert changed[0].model is not policy.model


def test_the_cache_lies_in_the_run_or_where_the_recipe_says(tmp_path: Path) -> None:
    from conftest import make_model
    from prospect.config import ReferenceSettings
    from prospect.models.logps import score_hidden
    from prospect.models.policy import Policy

    policy = Policy(make_model(), None, score_hidden, "fp32", "abc", has_adapter=False)
    run, shared = tmp_path / "run", tmp_path / "shared"
    for cache, folder in ((True, run / "reference_cache"), (str(shared), shared)):
        reference = build_reference(ReferenceSettings(cache=cache), policy, needed=True, run_folder=run)
        assert isinstance(reference, CachedReference)
        reference.logps(batch_of(3))
        reference.flush()
        assert only_file(folder).name == "abc.000-00000.logps"
    plain = build_reference(ReferenceSettings(cache=False), policy, needed=True, run_folder=run)
    assert (plain.kind, plain.identity) == ("frozen", "abc")
    assert not any(p.requires_grad for p in plain._policy.model.parameters())  # type: ignore[attr-defined]
    assert all(p.requires_grad for p in policy.model.parameters())
