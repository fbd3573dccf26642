"""`prospect --print-completion`: scripts that shells take, and what bash offers with one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prospect.cli.main import VERBS, main


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "prospect.sh"
    command = [sys.executable, "-m", "prospect", "--print-completion", "bash"]
    path.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tr"], {"train"}),
        ([""], set(VERBS)),
        (["train", "--dry"], {"--dry-run"}),
        (["train", "--l"], {"--lora", "--loss", "--learning-rate"}),
        (["train", "--precision", "b"], {"bf16"}),
        (["translate", "--from", "ll"], {"llama-factory"}),
        (["data", "pur"], {"purge"}),
        (["data", "export", "--to", "tr"], {"trl"}),
        (["losses", "--plot", "a_fi"], {"a_figure.svg"}),
    ],
)
def test_bash_completes_verbs_flags_choices_and_files(
    script: Path, words: list[str], offered: set[str], tmp_path: Path
) -> None:
    (tmp_path / "a_figure.svg").touch()
    typed = " ".join(f"'{word}'" for word in ["prospect", *words])
    show = "_shtab_prospect; printf '%s\\n' \"${COMPREPLY[@]}\""
    ask = f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; {show}"
    done = subprocess.run(["bash", "-c", ask], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert offered <= set(done.stdout.split())


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script_of_every_verb(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", shell])
    out = capsys.readouterr().out
    assert end.value.code == 0 and "dry-run" in out and "losses" in out


def test_another_shell_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", "cmd"])
    assert end.value.code == 2 and "invalid choice: 'cmd'" in capsys.readouterr().err
