"""A write is whole or it is not there."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from prospect import atomic
from prospect.atomic import TEMPORARY_PREFIX, atomic_directory, write_json, write_text


class Interrupted(Exception):
    """Stands in for the crash."""


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(f"{TEMPORARY_PREFIX}*")]


def test_a_directory_appears_whole_and_at_once(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "step-1"
    with atomic_directory(target) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "weights").write_text("w")
        (temporary / "state").write_text("s")
        assert not target.exists()
        assert temporary.parent == target.parent  # a rename never crosses a file system
    assert {p.relative_to(target).as_posix() for p in target.rglob("*")} == {"inner", "inner/weights", "state"}
    assert not leftovers(tmp_path)


def test_a_directory_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "step-1"
    with pytest.raises(Interrupted), atomic_directory(target) as temporary:
        (temporary / "weights").write_text("half")
        raise Interrupted
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_fails_half_way_leaves_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_directory(target) as temporary:
        (temporary / "weights").write_text("old")
    with pytest.raises(Interrupted), atomic_directory(target) as temporary:
        (temporary / "weights").write_text("new")
        raise Interrupted
    assert (target / "weights").read_text() == "old"
    assert not leftovers(tmp_path)


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in ("a", "b"):
        with atomic_directory(target) as temporary:
            (temporary / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["b"]
    assert not leftovers(tmp_path)


def test_what_a_crash_moved_aside_is_not_in_the_way(tmp_path: Path) -> None:
    aside = tmp_path / f"{TEMPORARY_PREFIX}old-model"
    aside.mkdir()
    (aside / "x").write_text("x")
    for _ in range(2):
        with atomic_directory(tmp_path / "model") as temporary:
            (temporary / "weights").write_text("new")
    assert not leftovers(tmp_path)


def test_everything_is_on_disk_before_the_name_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    target = tmp_path / "step-1"
    real = atomic.sync

    def watched(path: Path) -> None:
        real(path)
        synced.append("folder" if path == tmp_path else path.name)
        assert target.exists() == (path == tmp_path)

    monkeypatch.setattr(atomic, "sync", watched)
    with atomic_directory(target) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a").write_text("a")
        (temporary / "b").write_text("b")
    assert set(synced[:-1]) >= {"a", "b"}
    assert synced[-1] == "folder"


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "step-1"):
        pass
    write_text(tmp_path / "file", "x")
    assert stat.S_IMODE((tmp_path / "step-1").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_text_is_utf8_with_plain_line_ends_and_makes_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_text(path, "größe\n漢字\r\n")
    assert path.read_bytes() == "größe\n漢字\r\n".encode()


def test_text_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half a character: \ud83d")
    assert path.read_text() == "before"
    assert not leftovers(tmp_path)


def test_a_crash_before_the_rename_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_text(path, "before")

    def dying(handle: int) -> None:
        raise Interrupted

    monkeypatch.setattr(atomic.os, "fsync", dying)
    with pytest.raises(Interrupted):
        write_text(path, "after")
    assert path.read_text() == "before"
    assert not leftovers(tmp_path)


def test_json_is_readable_by_people_and_never_holds_nan(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"größe": [1, 2.5, None]})
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert "größe" in text
    assert json.loads(text) == {"größe": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"x": float("nan")})
    assert path.read_text(encoding="utf-8") == text
