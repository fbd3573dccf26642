"""Which of a run's processes this one is, as whatever started it says in environment variables. No torch."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping


def find_place(environment: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Rank, number of processes and rank on this machine, as torchrun and accelerate say it, or Slurm; None if alone.

    Under Slurm, where to meet is filled in too: the first machine of the job step, and a port made of the job's number.
    """
    if "WORLD_SIZE" in environment and "RANK" in environment:
        size = int(environment["WORLD_SIZE"])
        place = int(environment["RANK"]), size, int(environment.get("LOCAL_RANK", environment["RANK"]))
    elif "SLURM_PROCID" in environment and "SLURM_STEP_NODELIST" in environment:
        size = int(environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1")))
        place = int(environment["SLURM_PROCID"]), size, int(environment.get("SLURM_LOCALID", "0"))
        job = environment.get("SLURM_JOB_ID", "0")
        os.environ.setdefault("MASTER_ADDR", first_host(environment["SLURM_STEP_NODELIST"]))
        os.environ.setdefault("MASTER_PORT", str(20000 + zlib.crc32(job.encode()) % 20000))
    else:
        return None
    return place if size > 1 else None


def speaks() -> bool:
    """Whether this process is the one of its run that speaks to people."""
    place = find_place(os.environ)
    return place is None or place[0] == 0


def first_host(nodes: str) -> str:
    """Return the first machine of a Slurm list: `a[03-05,9],b` gives `a03`."""
    name = re.match(r"([^\[,]+)(?:\[([^\],-]+)[^\]]*\]([^,]*))?", nodes)
    assert name is not None
    return "".join(part or "" for part in name.groups())
