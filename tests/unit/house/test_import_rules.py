"""Imports go one way, and what needs no torch starts without it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY

pytest.importorskip("importlinter", reason="import-linter is not installed: pip install -e .[dev]")

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(source: Path) -> subprocess.CompletedProcess[str]:
    """Runs the contracts of `.importlinter` over the package under `source`."""
    return subprocess.run(
        [sys.executable, "-c", LINT, "--config", str(REPOSITORY / ".importlinter"), "--no-cache"],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_every_import_goes_the_way_of_the_design() -> None:
    done = lint(REPOSITORY / "src")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("data/batch.py", "from prospect.training import step", "Each stage knows only the stages before it"),
        ("losses/paired.py", "import prospect.models.logps", "Each stage knows only the stages before it"),
        ("errors.py", "import prospect.config", "Each stage knows only the stages before it"),
        ("losses/base.py", "import prospect.config", "Losses are pure functions"),
        ("losses/unpaired.py", "    import numpy", "Losses are pure functions"),
        ("feedback/records.py", "import torch", "start without torch"),
        ("report/charts/plots.py", "from prospect.training.metrics import Tally", "start without torch"),
        ("newcomer.py", "", "Each stage knows only the stages before it"),
    ],
)
def test_an_import_the_other_way_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    """The contracts are no ornament: each of these breaks one."""
    source = Path(shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__")))
    with (source / "prospect" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n\ndef _late():\n{line}\n" if line.startswith(" ") else f"\n{line}\n")
    done = lint(source)
    assert done.returncode != 0
    assert contract in done.stdout + done.stderr


WITHOUT_TORCH = """
import sys
from importlib.machinery import ModuleSpec

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "peft", "safetensors"}:
            return ModuleSpec(name, self)  # to look whether it is installed is no import

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is not to be imported here")

    exec_module = create_module

sys.meta_path.insert(0, Refuse())
folder = sys.argv[1]

import importlib, pkgutil
import prospect, prospect.feedback, prospect.report, prospect.cli.main

for package in (prospect.feedback, prospect.report):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)

rows = prospect.load_feedback(f"{folder}/thumbs.jsonl")
assert len(rows) == 2

from prospect.config import load_config
config = load_config({"model": {"name_or_path": "m"}, "data": {"train": "x"}, "output": folder + "/run"})

from prospect.results.run import SampleRow

run = prospect.RunDir(config.output)
run.write_config(config.as_dict())
run.append_metrics({"step": 1, "loss": 0.5, "rewards/chosen": 0.0, "rewards/rejected": 0.0, "kl": 0.0})
run.append_metrics({"step": 2, "loss": 0.4, "rewards/chosen": 0.1, "rewards/rejected": -0.1, "kl": 0.0})
run.append_samples(SampleRow(step=s, prompt="hello", completion="thank you") for s in (0, 2))
page = prospect.build_report(run)
assert "<html" in page.read_text(encoding="utf-8")

from prospect.cli.main import main
for arguments in (["--help"], ["--version"], ["report", "--help"]):
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    assert code == 0, arguments
assert main(["report", config.output]) == 0
assert not {"torch", "transformers", "peft"} & sys.modules.keys()
"""


def test_feedback_report_and_help_work_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "thumbs.jsonl").write_text(
        '{"prompt": "a", "completion": "b", "label": true}\n{"prompt": "a", "completion": "c", "label": false}\n'
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "usage: prospect" in done.stdout


def test_the_block_on_torch_is_a_block() -> None:
    script = WITHOUT_TORCH.split("folder = ")[0] + "import prospect.training.train"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not to be imported here" in done.stderr


def test_every_public_name_is_there() -> None:
    import prospect

    for name in prospect.__all__:
        assert getattr(prospect, name) is not None
    assert dir(prospect) == sorted(prospect.__all__)
    stub = ast.parse(Path(prospect.__file__).with_suffix(".pyi").read_text())
    imported = {name.name for one in stub.body if isinstance(one, ast.ImportFrom) for name in one.names}
    assert imported == set(prospect.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="module 'prospect' has no attribute 'trian'"):
        prospect.trian  # noqa: B018


def test_a_server_starts_without_what_only_some_of_its_pages_need() -> None:
    code = (
        "import sys, prospect.collect.app, prospect.collect.store, prospect.collect.upstream, prospect.cli.serve\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'jinja2', 'psycopg', 'alembic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
