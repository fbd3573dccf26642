"""The variables that `accelerate launch` sets are the ones that are read."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from prospect.run_dir import RunDir


@pytest.mark.slow
def test_accelerate_launch_starts_a_run_of_two_processes(recipe: Any, tmp_path: Path) -> None:
    values = recipe("dpo", train={"max_steps": 2, "batch_size": 4})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # Without a GPU too this is the kind that starts several processes; which device they take is ours to say.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    rest = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", port]
    train = ["-m", "prospect", "train", str(tmp_path / "recipe.yaml")]
    run = subprocess.run(
        [*launch, *rest, *train],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "HF_HOME": str(tmp_path)},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    directory = RunDir(values["output"])
    assert directory.provenance().finished
    assert [row["step"] for row in directory.metrics()] == [1, 2]
    assert len(list((directory.path / "reference_cache").iterdir())) == 2  # both asked the reference
    assert run.stderr.count("report  ") == 1  # the first process speaks, and alone
