"""The pages in a real browser, headless: nothing on the console, nothing wider than a phone, text one can read.

All pages stand in frames of several widths on one page, whose script measures them and writes down what it found.
"""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from made_results import rounds_as_json, study_as_json
from prospect.feedback.doctor.inspect import inspect_feedback
from prospect.report.comparison.page import render_comparison_page
from prospect.report.data.page import render_data_page
from prospect.report.rounds.page import render_rounds_page
from prospect.report.run.build import build_report
from prospect.results.rounds import LEDGER, Ledger
from prospect.results.run import LossOrigin, Provenance, SampleRow
from prospect.results.study import StudyResult
from prospect.run_dir import RunDir

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; a page needs one to be looked at")

WIDTHS = (1280, 800, 390)
LEAST_CONTRAST = 4.5  # WCAG 2.2, level AA, for text
QUIET = "--headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-sync"
QUIET += " --disable-background-networking --disable-component-update --enable-logging=stderr --v=0"

# Runs in the outer page: sizes, contrast of every text with what is behind it, and what the keyboard does not reach.
MEASURE = """
const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
function behind(element, view) {
  for (let e = element; e; e = e.parentElement) {
    const c = parse(view.getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c;
  }
  return [255, 255, 255];
}
function measure(frame) {
  const page = frame.contentDocument, view = frame.contentWindow, low = [], deaf = [];
  page.querySelectorAll('details').forEach(d => d.open = true);
  for (const e of page.body.querySelectorAll('*')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    const style = view.getComputedStyle(e);
    if (own && e.tagName !== 'STYLE') {
      const text = parse(e.ownerSVGElement ? style.fill : style.color), back = behind(e, view);
      const [a, b] = [light(text), light(back)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) low.push([e.textContent.slice(0, 40), ratio]);
    }
    const scrolls = ['auto', 'scroll'].includes(style.overflowX) && e.scrollWidth > e.clientWidth + 1;
    if (scrolls && e.tabIndex < 0) deaf.push(e.className || e.tagName);
  }
  return {wide: page.documentElement.scrollWidth - frame.clientWidth, low, deaf,
          scripts: page.scripts.length, dark: view.matchMedia('(prefers-color-scheme: dark)').matches,
          background: view.getComputedStyle(page.body).backgroundColor,
          words: page.body.innerText.length};
}
addEventListener('load', () => {
  const found = {};
  for (const frame of document.querySelectorAll('iframe')) found[frame.title] = measure(frame);
  document.body.textContent = JSON.stringify(found);
});
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    made = {"run": run_page(folder / "run"), "data": data_page(folder / "thumbs.jsonl")}
    return {**made, "study": study_page(), "rounds": rounds_page()}


def run_page(path: Path) -> str:
    """A run with curves, held-out feedback, an evaluation and samples."""
    run = RunDir(path)
    path.mkdir()
    run.write_config({"model": {"name_or_path": "a/" + "very-long-name-" * 12}, "loss": {"name": "kto", "beta": 0.1}})
    run.write_provenance(Provenance(started="2026-01-01T10:00:00", loss=LossOrigin(name="kto", feedback="unpaired")))
    for step in range(1, 41):
        up = 1 - math.exp(-step / 10)
        curves = {"loss": 0.5 - 0.1 * up, "grad_norm": 1.0 + step % 3, "learning_rate": 1e-6 * step}
        rewards = {
            "rewards/chosen": up,
            "rewards/rejected": -up,
            "rewards/margins": 2 * up,
            "kl": up,
            "kl_raw": up - 0.1,
        }
        run.append_metrics({"step": step, **curves, **rewards})
        if step % 10 == 0:
            run.append_metrics({"step": step, "eval_loss": 0.5 - 0.1 * up, "eval_rewards/auroc": 0.5 + up / 3})
    for step, text in ((0, "no spaces" * 60), (40, "A short answer. " * 20)):
        run.append_samples([SampleRow(step=step, prompt="Why is the sky blue? " * 5, completion=text)])
    rate = {"rate": 0.7, "low": 0.6, "high": 0.8, "n": 90}
    rules = {"a rule with a name that is rather long for one line": {"before": rate, "after": rate}}
    run.write_evaluation("demo", {"before": rate, "after": rate, "win_rate": rate, "rules": rules})
    run.write_evaluation("tasks", {"gsm8k": rate, "a-task-with-a-name-that-goes-on-and-on-without-a-space": rate})
    return build_report(path).read_text(encoding="utf-8")


def data_page(path: Path) -> str:
    rows = [
        {"prompt": f"q {i % 30}", "completion": "word " * (i % 9 + 1), "label": i % 3 == 0}
        | {"rater": f"rater-{i % 5}", "time": f"2025-01-{i % 28 + 1:02d}T10:00:00Z", "source": "a-long-source-" * 8}
        for i in range(200)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "{broken\n")
    return render_data_page(inspect_feedback(path).as_dict())


def study_page() -> str:
    found = study_as_json([f"method-{i}" for i in range(8)], (0.0, 0.1, 0.2, 0.4))
    return render_comparison_page(StudyResult.parse(found, "result.json"))


def rounds_page() -> str:
    return render_rounds_page(Ledger.parse(rounds_as_json(), LEDGER), {})


def browse(pages: dict[str, str], folder: Path, *, dark: bool) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What the script measured of each page at each width, and what stood on the console."""
    frames = [
        f'<iframe title="{name} {width}" style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(text)}">'
        "</iframe>"
        for name, text in pages.items()
        for width in WIDTHS
    ]
    outer = folder / "outer.html"
    outer.write_text(f"<!doctype html><meta charset=utf-8><script>{MEASURE}</script><body>{''.join(frames)}</body>")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [str(CHROMIUM), *QUIET.split(), scheme, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run([*command, outer.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    body = re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)
    assert body is not None, done.stderr
    return json.loads(html.unescape(body[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_are_readable_at_every_width(pages: dict[str, str], tmp_path: Path, dark: bool) -> None:
    found, console = browse(pages, tmp_path, dark=dark)
    assert console == []
    assert len(found) == len(pages) * len(WIDTHS)
    assert len({one["background"] for one in found.values()}) == 1
    for name, one in found.items():
        assert one["words"] > 500, name
        assert one["dark"] == dark, name
        assert one["wide"] <= 0, f"{name}: {one['wide']} pixels wider than its window"
        assert one["low"] == [], f"{name}: text of too little contrast"
        assert one["deaf"] == [], f"{name}: scrolls, and no key reaches it"
        assert one["scripts"] == 0, name


def test_a_text_of_too_little_contrast_and_a_wide_page_would_be_seen(tmp_path: Path) -> None:
    page = "<body style='background:#fff'><p style='color:#999'>pale</p><div style='width:2000px'>wide</div></body>"
    found, _ = browse({"bad": page}, tmp_path, dark=False)
    assert found["bad 390"]["low"][0][0] == "pale" and found["bad 390"]["low"][0][1] < LEAST_CONTRAST
    assert found["bad 390"]["wide"] > 1000
