"""The processes of a study end with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import os, time
from prospect.studies.runner import _workers

if __name__ == "__main__":
    with _workers(2, None) as submit:
        print(submit(os.getpid).result(), flush=True)
        submit(time.sleep, 600)
        submit(time.sleep, 600)
        time.sleep(600)
"""


def test_a_study_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as study:
        assert study.stdout is not None
        worker = int(study.stdout.readline())
        os.kill(worker, 0)
        study.kill()
    until = time.monotonic() + 60
    while _lives(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _lives(worker)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")  # one that has ended may wait for whoever adopted it
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
