"""How fast the page of a long run is written and opened, and how large it is.

    python benchmarks/pages.py [--steps 10000] [--json FILE]

A run directory with made-up metrics of that many steps, an evaluation every hundred, and eight samples at each. Opened
in headless Chromium, where one is installed: from handing over the text until it has been read and laid out.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from prospect.report.run.build import build_report
from prospect.results.run import LossOrigin, Provenance, SampleRow
from prospect.run_dir import RunDir

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
REPEATS = 5
PROMPT = "Order 1603: I paid two times for one mixer. What now?"
REPLY = "Thank you for writing to us. You get a refund of one payment. Kind regards, your support desk. "

# The outer page hands the report to a frame, and when it has loaded asks for its height, which lays everything out.
OPEN = """
const frame = document.querySelector('iframe'), begun = performance.now();
frame.addEventListener('load', () => {
  const height = frame.contentDocument.documentElement.scrollHeight;
  document.body.textContent = 'took ' + (performance.now() - begun) + ' ms for ' + height + ' pixels';
});
frame.srcdoc = JSON.parse(document.querySelector('#page').textContent);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder) / "run", options.steps)
        begun = time.monotonic()
        page = build_report(run)
        result = {"steps": options.steps, "bytes": page.stat().st_size, "build_seconds": time.monotonic() - begun}
        opened = [open_page(page) for _ in range(REPEATS)]
    result["open_seconds"] = statistics.median(opened) if all(opened) else None
    took = "no Chromium is installed" if result["open_seconds"] is None else f"{result['open_seconds']:.2f} s"
    print("| steps | page, kB | written in | opened in |\n|---|---|---|---|")
    print(f"| {options.steps:,} | {result['bytes'] / 1000:.0f} | {result['build_seconds']:.2f} s | {took} |")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def write_run(path: Path, steps: int) -> Path:
    """What a KTO run would leave behind."""
    path.mkdir()
    run = RunDir(path)
    run.write_config({"model": {"name_or_path": "a/model"}, "loss": {"name": "kto", "beta": 0.1}})
    run.write_provenance(Provenance(started="2026-01-01T10:00:00", loss=LossOrigin(name="kto", feedback="unpaired")))
    with run.metrics_path.open("w", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            up, noise = 1 - math.exp(-3 * step / steps), math.sin(12.9898 * step) / 5
            row = {"step": step, "loss": 0.5 - up / 10 + noise / 5, "grad_norm": 1 + noise, "learning_rate": 1e-6}
            row |= {"rewards/chosen": up + noise, "rewards/rejected": noise - up, "rewards/margins": 2 * up}
            row |= {
                "kl": max(up + noise, 0),
                "kl_raw": up + noise,
                "logps/chosen": -30 + up,
                "logps/rejected": -30 - up,
            }
            file.write(json.dumps(row) + "\n")
            if step % 100 == 0:
                file.write(json.dumps({"step": step, "eval_loss": 0.5 - up / 10, "eval_rewards/auroc": 0.5 + up / 3}))
                file.write("\n")
    for step in range(0, steps + 1, 100):
        texts = [REPLY * (1 + i % 3) for i in range(8)]
        run.append_samples(SampleRow(step=step, prompt=f"{i}. {PROMPT}", completion=t) for i, t in enumerate(texts))
    return path


def open_page(page: Path) -> float | None:
    """Seconds; None without a browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return None
    text = html.escape(json.dumps(page.read_text(encoding="utf-8")), quote=False)
    outer = page.with_name("outer.html")
    frame = '<iframe style="width:1280px;height:900px;border:0"></iframe>'
    outer.write_text(f"<!doctype html><body>{frame}<div id=page hidden>{text}</div><script>{OPEN}</script>")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--timeout=20000", "--dump-dom", str(outer)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    took = re.search(r"took ([\d.]+) ms for (\d+) pixels", found.stdout)
    if took is None or int(took[2]) < 1000:
        raise SystemExit(f"{browser} did not open the page:\n{found.stderr[-2000:]}")
    return float(took[1]) / 1000


if __name__ == "__main__":
    main()
