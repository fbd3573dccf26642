"""What `make test-kernels` sets reaches PyTorch, in processes that tests start as well."""

from __future__ import annotations

import json
import os
import subprocess
import sys

SCRIPT = """
import json, torch
half_precision = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
print(json.dumps([torch.backends.cpu.get_cpu_capability().lower(), torch.get_num_threads(), half_precision]))
"""


def test_the_kernels_that_compute_are_those_that_were_asked_for() -> None:
    said = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
    kernels, threads, half_precision = json.loads(said)
    assert kernels == os.environ.get("ATEN_CPU_CAPABILITY", kernels)
    assert threads == int(os.environ["OMP_NUM_THREADS"])
    assert not (half_precision and os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2")  # its products need AVX-512 here
