"""glibc is told once, as a program starts; nobody's own setting is touched."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from prospect.cli import main
from prospect.training.memory.allocator import _has_glibc, caches_small_blocks, restart_without_small_caches

PROGRAM = """
import os, sys
from prospect.training.memory.allocator import caches_small_blocks, restart_without_small_caches
print("started", flush=True)
restart_without_small_caches()
print(os.environ["GLIBC_TUNABLES"], caches_small_blocks(), sys.argv[1:], os.getpid(), sys.stdin.read())
"""


@pytest.mark.skipif(not _has_glibc(), reason="another C library")
@pytest.mark.parametrize("told", ["", "glibc.malloc.perturb=0"])
def test_a_program_starts_anew_once_as_the_same_process(told: str) -> None:
    environment = {**os.environ, "GLIBC_TUNABLES": told}
    command = [sys.executable, "-c", PROGRAM, "--set", "a b"]
    with subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True) as process:
        said = process.communicate("from before")[0].splitlines()
    assert process.returncode == 0
    assert said[:2] == ["started"] * 2
    tunables = f"{told}:" * bool(told) + "glibc.malloc.tcache_count=0"
    assert said[2:] == [f"{tunables} False ['--set', 'a b'] {process.pid} from before"]


def test_who_chose_a_size_of_the_caches_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execv", lambda *arguments: pytest.fail("it was started anew"))
    for chosen, cached in (("3", True), ("0", False)):
        monkeypatch.setenv("GLIBC_TUNABLES", f"glibc.malloc.tcache_count={chosen}")
        restart_without_small_caches()
        assert caches_small_blocks() is cached


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(os, "execv", lambda *arguments: pytest.fail("it was started anew"))
    monkeypatch.setattr(os, "confstr", lambda name: None)
    restart_without_small_caches()
    assert "GLIBC_TUNABLES" not in os.environ


@pytest.mark.parametrize(("verb", "trains"), [("train", True), ("demo", True), ("compare", True), ("losses", False)])
def test_commands_that_train_start_anew(verb: str, trains: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(sys, "argv", ["prospect", verb, "--help"])
    monkeypatch.setattr(main, "restart_without_small_caches", lambda: called.append("anew"))
    monkeypatch.setattr(main, "main", lambda: called.append("main") or 0)
    assert main.start() == 0
    assert called == ["anew"] * trains + ["main"]
