#!/usr/bin/env bash
# All that is measured on a GPU, as one script of less than eight minutes: the tests of tests/gpu, then speed and memory
# beside TRL at the shape of Llama 3.2 1B in bfloat16, full and LoRA, with and without Liger.
#
#   benchmarks/gpu.sh OUT           on a machine with a CUDA device
#   benchmarks/gpu.sh OUT --try     the same path on this machine's CPU, in its smallest setting
#
# OUT gets gpu-tests.txt, throughput.json and throughput.txt. Where a folder `wheels` lies in the repository, a virtual
# environment is made of it alone, for a machine without a network. It is filled where there is one (liger-kernel is
# for `:liger` only):
#
#   pip download -d wheels -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cu126 \
#       '.[dev,bench]' hatchling liger-kernel
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: benchmarks/gpu.sh OUT [--try]}
mkdir -p "$out"
out=$(realpath "$out")
python=.venv/bin/python
if [ -d wheels ] && [ ! -x "$python" ]; then
    python3 -m venv .venv
    "$python" -m pip install --quiet --no-index --find-links wheels --no-build-isolation -e '.[dev,bench]'
fi
[ -x "$python" ] || python=python3
export HF_HUB_OFFLINE=1 PYTHONPATH=src

# Each part has its own limit, and what a part has printed stays if it is cut.
if [ "${2:-}" = --try ]; then
    timeout 120 "$python" -m pytest -q tests/gpu | tee "$out/gpu-tests.txt"
    timeout 300 "$python" benchmarks/throughput.py --quick --steps 1 --precision bf16 --json "$out/throughput.json" \
        2>&1 | tee "$out/throughput.txt"
    exit
fi
timeout 90 "$python" -m pytest -q tests/gpu 2>&1 | tee "$out/gpu-tests.txt" || true
cases="kto:32 kto:32:lora dpo:16"
if "$python" -c 'import liger_kernel' 2>/dev/null; then cases="$cases kto:32:liger"; fi
# shellcheck disable=SC2086  # a list of words
timeout 380 "$python" benchmarks/throughput.py --device cuda --repeats 1 --steps 5 --cases $cases \
    --json "$out/throughput.json" 2>&1 | tee "$out/throughput.txt"
