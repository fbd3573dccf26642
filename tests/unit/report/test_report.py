import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from prospect.errors import CheckpointError
from prospect.report.charts.plots import MAX_POINTS, line_chart, nice_ticks, running_mean, thin, tick_labels, trend
from prospect.report.page.wording import count, differences, duration, number, percent, plain, short_path
from prospect.report.run import summary as summary_page
from prospect.report.run.build import build_report
from prospect.report.run.facts import RunFacts
from prospect.report.run.findings import findings, worst_worries
from prospect.results.before_after import BeforeAfterResult
from prospect.results.benchmarks import BenchmarksResult
from prospect.results.contest import ContestResult
from prospect.results.feedback import FeedbackResult
from prospect.results.run import Provenance, SampleRow
from prospect.run_dir import RunDir
from prospect.statistics.calibration import Bin
from prospect.statistics.rates import proportion

HOSTILE = '<script>alert("x")</script> & <b>"quoted"</b>'

PROMPTS = [
    "From: Ada Lindqvist. Order 48213, desk lamp. It arrived with a broken switch. What now?",
    "From: Tom Okafor. Order 77120, kettle. I was charged twice for it.",
    "From: Mei Tanaka. Order 90034, rain jacket. It is too small. Can I change it for a larger one?",
    "From: Jan Novak. Order 15577, headphones. The parcel is a week late.",
    "From: Sara Haddad. Order 66201, coffee grinder. The lid does not close.",
    "From: Leo Martin. Order 31908, bicycle bell. You sent the wrong colour.",
]
BEFORE = [
    "Hello, your order is on its way. We guarantee that it will arrive tomorrow. Goodbye.",
    "Thank you for your message about order 77121. Please wait.",
    "Dear Mei, thank you for writing. About order 90034: we will send you money and a gift.",
    "That is not our problem.",
    "Dear Sara, we are sorry about the coffee grinder. Please tell us more about the kettle.",
    "Thank you. Thank you. Thank you for order 31908. We will look.",
]
AFTER = [
    "Dear Ada, we are sorry that the desk lamp of order 48213 came with a broken switch. We will replace it.",
    "Dear Tom, thank you for your message about order 77120. We will pay back the second charge.",
    "Dear Mei, thank you for writing. About order 90034: send the jacket back and we will send a larger one.",
    "Dear Jan, we are sorry that order 15577 is late. We have asked the carrier and will write to you today.",
    "Dear Sara, we are sorry about the coffee grinder of order 66201. We will send a new lid.",
    "Dear Leo, thank you for your message about order 31908. We are sorry and will send the right colour.",
]


def rate(successes, n):
    return proportion(successes, n)._asdict()


REFUSED = {"the chat template refuses this conversation": {"rows": 100, "first": ["f.jsonl:3"]}}


def summary(kind="unpaired", rows=2400, desirable=1130, *, cut=0, dropped=0):
    edges = [4.0 * i for i in range(21)]
    middles = np.arange(20) + 0.5
    counts = {
        "desirable": (desirable * np.exp(-((middles - 9) ** 2) / 14)).astype(int).tolist(),
        "undesirable": ((rows - desirable) * np.exp(-((middles - 6) ** 2) / 18)).astype(int).tolist(),
    }
    stats = {"mean": 31.2, "p50": 30, "p90": 47, "max": 78}
    classes = {"desirable": stats, "undesirable": {"mean": 25.4, "p50": 23, "p90": 44, "max": 80}}
    single = kind == "demonstration"
    return {
        "source": f"/data/{'thumbs' if kind == 'unpaired' else kind}.jsonl",
        "sha256": "9f2c" * 16,
        "kind": kind,
        "rows": rows,
        "prompts": rows // 4,
        "desirable": desirable if kind == "unpaired" else None,
        "undesirable": rows - desirable if kind == "unpaired" else None,
        "prompt_tokens": {"mean": 44.0, "p50": 43, "p90": 55, "max": 71},
        "completion_tokens": {"desirable": stats} if single else classes,
        "completion_histogram": {"edges": edges, **({"desirable": counts["desirable"]} if single else counts)},
        "cut": cut,
        "empty_completions": 2,
        "dropped": dropped,
    }


def config(method):
    return {
        "model": {"name_or_path": "/models/support-desk-1m", "dtype": "float32", "lora": None},
        "data": {"train": "/data/thumbs.jsonl", "eval": "/data/held.jsonl", "max_length": 256, "class_weights": "auto"},
        "loss": {"name": method, **({} if method == "sft" else {"beta": 0.1})},
        "reference": {"kind": "frozen", "cache": None},
        "train": {"batch_size": 32, "epochs": 2, "learning_rate": 5e-4, "scheduler": "cosine", "seed": 7},
        "output": "runs/demo",
    }


def provenance(method, steps, **changes):
    kind = {"kto": "unpaired", "dpo": "paired", "sft": "demonstration"}[method]
    weights = {"desirable_weight": 1.12, "undesirable_weight": 1.0} if method == "kto" else {}
    found = {
        "prospect": "0.1.0",
        "python": "3.11.7",
        "versions": {"torch": "2.13.0", "transformers": "5.12.0"},
        "git": "4f1d2c0b" * 5,
        "started": "2026-11-21T07:30:00+00:00",
        "finished": "2026-11-21T07:32:41+00:00",
        "seconds": 161.4,
        "policy": {
            "name_or_path": "/models/support-desk-1m",
            "identity": "sha256:ab12",
            "parameters": 1_245_184,
            "trainable_parameters": 1_245_184,
        },
        "reference": None if method == "sft" else {"kind": "frozen", "identity": "sha256:ab12"},
        "loss": {"name": method, "feedback": kind, "hyperparameters": {"beta": 0.1, **weights}},
        "data": {"train": summary(kind), "eval": summary(kind, 400, 190)},
        "steps": steps,
        "epochs": 2.0,
        **changes,
    }
    return Provenance(**found)


def metrics(method, steps, *, chosen=1.3, rejected=-1.6, auroc=0.86, best_at_end=True, clamped=0.08):
    """A run whose rewards go from 0 to `chosen` and `rejected`, with the noise of real steps."""
    random = np.random.default_rng(0)
    rows = []
    for step in range(0, steps + 1):
        done = step / steps
        learnt = 1 - np.exp(-3.5 * done)
        if step % max(1, steps // 8) == 0:
            rows.append(evaluation_row(method, step, 2 * done, learnt, chosen, rejected, auroc, best_at_end))
        if step == 0:
            continue
        loss = 2.9 - 1.1 * learnt if method == "sft" else 0.5 - 0.16 * learnt
        row = {
            "step": step,
            "epoch": 2 * done,
            "loss": loss + 0.02 * random.normal(),
            "grad_norm": 0.6 + 0.15 * random.gamma(2) + (6 if step == steps // 3 else 0),
            "learning_rate": 5e-4 * min(1, 10 * done) * 0.5 * (1 + np.cos(np.pi * done)),
            "logps/chosen": -61 + 9 * learnt + random.normal(),
            "num_tokens": 2400 * step,
            "tokens_per_second": 9000 + 400 * random.normal(),
            "examples_seen": 32 * step,
            "completion_tokens": 900,
        }
        if method != "sft":
            up, down = chosen * learnt + 0.25 * random.normal(), rejected * learnt + 0.3 * random.normal()
            row |= {"rewards/chosen": up, "rewards/rejected": down, "rewards/margins": up - down}
            row |= {"rewards/accuracies": 0.5 + 0.35 * learnt, "logps/rejected": -60 - 9 * learnt}
        if method == "kto":
            raw = 2.2 * learnt + 0.5 * random.normal() if done > clamped else -abs(0.2 * random.normal())
            row |= {"kl_raw": raw, "kl": max(0.0, raw), "kl_stderr": 0.35 + 0.3 * learnt}
        rows.append({key: float(value) if key != "step" else value for key, value in row.items()})
    return rows


def evaluation_row(method, step, epoch, learnt, chosen, rejected, auroc, best_at_end):
    if method == "sft":
        return {"step": step, "epoch": epoch, "eval_loss": 2.92 - 1.0 * float(learnt)}
    score = 0.5 + (auroc - 0.5) * (learnt if best_at_end else learnt * (2 - epoch) * 2)
    values = {
        "eval_loss": 0.5 - 0.12 * learnt,
        "eval_rewards/chosen": 0.9 * chosen * learnt,
        "eval_rewards/rejected": 0.9 * rejected * learnt,
        "eval_rewards/margins": 0.9 * (chosen - rejected) * learnt,
        "eval_rewards/accuracies": score - 0.04 * learnt,
        "eval_rewards/auroc": score,
        "eval_kl": 2 * learnt,
    }
    return {"step": step, "epoch": epoch, **{key: float(value) for key, value in values.items()}}


def demo_evaluation(before=176, after=333, n=400):
    rules = {
        "names the right order": (211, 372),
        "answers the problem that was asked": (243, 361),
        "is polite": (322, 391),
        "keeps under the word limit": (381, 383),
        "promises nothing it should not": (355, 392),
    }
    return {
        "before": rate(before, n),
        "after": rate(after, n),
        "win_rate": rate((after - before + n) / 2, n),
        "rules": {name: {"before": rate(b, 400), "after": rate(a, 400)} for name, (b, a) in rules.items()},
        "method": "kto",
        "noise": 0.2,
        "mean_words": {"before": 18.1, "after": 20.4},
        "examples": [
            {"prompt": p, "before": b, "after": a, "before_passes": False, "after_passes": True}
            for p, b, a in list(zip(PROMPTS, BEFORE, AFTER, strict=True))[:3]
        ],
    }


def write_metrics(run, rows):
    run.metrics_path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_run(path, method="kto", steps=400, *, evaluation=None, prompt=None, provenance_changes=None, **shape):
    run = RunDir(path)
    run.write_config(config(method))
    run.write_provenance(provenance(method, steps, **(provenance_changes or {})))
    write_metrics(run, metrics(method, steps, **shape))
    for step, completions in ((0, BEFORE), (steps // 2, BEFORE), (steps, AFTER)):
        run.append_samples(
            SampleRow(step=step, prompt=[{"role": "user", "content": prompt}] if prompt else p, completion=c)
            for p, c in zip(PROMPTS, completions, strict=True)
        )
    if evaluation is not None:
        run.write_evaluation("demo", evaluation)
    return path


def page_of(path):
    return build_report(path).read_text(encoding="utf-8")


def titles(path):
    return {finding.title for finding in findings(RunFacts.read(RunDir(path)))}


def worries(path):
    return {finding.title for finding in findings(RunFacts.read(RunDir(path))) if finding.worry}


VOID = {"meta", "link", "br", "img", "hr", "circle", "rect", "line", "polyline", "polygon"}


class Page(HTMLParser):
    """What a browser would make of a page: its tags, attributes, headings and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text += data

    def labels(self):
        return [value for tag, name, value in self.attributes if tag == "svg" and name == "aria-label"]


@pytest.fixture
def full(tmp_path):
    return write_run(tmp_path / "run", evaluation=demo_evaluation())


# -- the page ---------------------------------------------------------------------------------------------


def test_a_full_run_has_every_section(full):
    text = page_of(full)
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [
        *("What was done", "What changed", "How sure we are", "What to worry about"),
        *("Result", "Training", "Held-out feedback", "Feedback", "Samples", "Making it again"),
    ]
    figures = re.findall(r"<h3>(.*?)</h3>", text)
    assert figures == [
        *("Share of completions that pass, rule by rule", "Win rate of the trained model against its start"),
        "Read for yourself",
        *("Loss", "Rewards of both classes", "Reward margin", "Reference point z0"),
        *("Learning rate", "Gradient norm"),
        *("Telling good from bad on held-out feedback", "Held-out rewards of both classes"),
        *("Label balance", "Length of completions"),
    ]


def test_the_summary_says_what_was_done_what_changed_and_how_sure_we_are(full):
    text = Page(page_of(full)).text
    assert "After KTO, 83% of completions pass, up from 44%" in text
    assert "KTO trained support-desk-1m (1.2 million parameters) on 2,400 thumbs, 1,130 up and 1,270 down" in text
    assert "It took 400 steps, 2 passes over the data, in 2 min 41 s." in text
    assert "39–49% before and 79–87% after, over 400 completions each. They do not touch" in text
    assert "The win rate lies in 65–74%, above 50%" in text
    assert "Nothing in the numbers stands out." in text


def test_every_figure_is_named_for_those_who_cannot_see_it(full):
    page = Page(page_of(full))
    roles = [value for tag, name, value in page.attributes if tag == "svg" and name == "role"]
    assert len(page.labels()) == len(roles) == page.tags.count("figcaption") == 12
    assert all(role == "img" for role in roles)
    assert all(re.search(r"\d", label) and len(label) > 40 for label in page.labels())


def test_headings_go_down_one_level_at_a_time(full):
    levels = [int(tag[1]) for tag in Page(page_of(full)).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_page_is_well_formed_and_loads_nothing(full):
    text = page_of(full)
    page = Page(text)
    assert not page.open
    assert "http:" not in text and "https:" not in text and "url(" not in text and "@import" not in text
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert [value for _, name, value in page.attributes if name in ("src", "href")] == ["data:,"]
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


@pytest.mark.parametrize("place", ["prompt", "completion", "evaluation", "config", "provenance", "folder"])
def test_hostile_text_is_shown_and_never_obeyed(tmp_path, place):
    folder = tmp_path / ("<img src=x onerror=alert(1)>" if place == "folder" else "run")
    evaluation = demo_evaluation()
    if place == "evaluation":
        evaluation["rules"] = {HOSTILE: evaluation["rules"]["is polite"]}
        evaluation["examples"][0] |= {"prompt": HOSTILE, "before": HOSTILE, "after": f"{HOSTILE} again"}
    write_run(folder, evaluation=evaluation, prompt=HOSTILE if place == "prompt" else None)
    run = RunDir(folder)
    if place == "completion":
        run.append_samples(SampleRow(step=step, prompt="?", completion=f"{HOSTILE} {step}") for step in (0, 400))
    if place == "config":
        run.write_config(config("kto") | {"note": HOSTILE, "model": {"name_or_path": HOSTILE}})
    if place == "provenance":
        loss = {"name": HOSTILE, "feedback": HOSTILE}
        run.write_provenance(provenance("kto", 400, git=HOSTILE, loss=loss))
    page = Page(page_of(folder))
    assert not {"script", "img", "b>"} & set(page.tags)
    assert not page.open
    if place != "folder":
        assert HOSTILE in page.text or HOSTILE.upper() in page.text or "alert(" in "".join(page.labels())


def test_a_run_of_ten_thousand_steps_stays_small(tmp_path):
    path = build_report(write_run(tmp_path / "run", steps=10_000))
    assert path.stat().st_size < 200_000
    points = [len(points.split()) for points in re.findall(r'points="([^"]*)"', path.read_text())]
    assert max(points) <= 2 * MAX_POINTS and sum(points) < 12_000


def test_the_rows_of_a_long_run_are_gone_through_once(full):
    class Rows(list):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__()

    facts = RunFacts.read(RunDir(full))
    rows = Rows(facts.metrics)
    facts = replace(facts, metrics=rows)
    assert facts.curve("loss") and facts.curve("kl") and not facts.curve("absent")
    assert rows.passes == 1


def test_a_flood_of_evaluations_stays_below_two_megabytes(full):
    run = RunDir(full)
    run.write_evaluation("flood", {f"task {i} {HOSTILE}": rate(3, 9) | {"note": "x" * 5000} for i in range(3000)})
    run.write_evaluation("contest", contest())
    assert build_report(full).stat().st_size < 2_000_000


def test_long_and_many_samples_are_cut(tmp_path):
    run = RunDir(write_run(tmp_path / "run"))
    for step in (0, 400):
        run.append_samples(
            SampleRow(step=step, prompt=f"p{i} " * 9000, completion=f"w{i}{step} " * 9000) for i in range(300)
        )
    page = build_report(run.path)
    assert page.stat().st_size < 2_000_000
    assert "more characters)" in page.read_text()


def test_the_report_is_written_at_once_and_again(full):
    first = build_report(full)
    assert first == full / "report.html"
    page = first.read_text(encoding="utf-8")
    assert build_report(str(full)) == first and first.read_text(encoding="utf-8") == page
    assert not list(full.glob(".tmp*"))


def test_torch_is_not_imported(full):
    code = (
        "import sys; from prospect.report import build_report; build_report(sys.argv[1]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(full)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- missing pieces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "gone", "stays"),
    [
        ("config.yaml", "Settings (config.yaml)", "Provenance"),
        ("provenance.json", "Length of completions", "Rewards of both classes"),
        ("metrics.jsonl", "Rewards of both classes", "Label balance"),
        ("samples.jsonl", "<h2>Samples", "Rewards of both classes"),
        ("evaluation/demo.json", "<h2>Result", "Rewards of both classes"),
    ],
)
def test_a_missing_file_leaves_its_section_out(full, missing, gone, stays):
    assert gone in page_of(full)
    (full / missing).unlink()
    assert gone not in page_of(full)
    assert stays in page_of(full)


@pytest.mark.parametrize("kept", ["config.yaml", "provenance.json", "metrics.jsonl", "evaluation/demo.json"])
def test_any_one_file_alone_gives_a_page(full, kept):
    for path in full.rglob("*.*"):
        if path.is_file() and path != full / kept:
            path.unlink()
    assert "<h1>" in page_of(full)


@pytest.mark.parametrize("path", [("data",), ("data", "train"), ("loss",), ("policy",), ("epochs",), ("started",)])
def test_a_missing_key_of_the_provenance_leaves_a_page(full, path):
    file = RunDir(full).provenance_path
    at = tree = json.loads(file.read_text())
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    file.write_text(json.dumps(tree))
    assert "<h1>" in page_of(full)


def test_a_torn_last_line_is_ignored(full):
    whole = page_of(full)
    with (full / "metrics.jsonl").open("a") as file:
        file.write('{"step": 401, "loss": 0.1, "rewar')
    assert page_of(full) == whole


def test_a_run_in_progress_says_so(tmp_path):
    run = RunDir(write_run(tmp_path / "run", provenance_changes={"finished": None, "seconds": None}))
    rows = metrics("kto", 400)[:60]
    write_metrics(run, rows)
    run.samples_path.unlink()
    run.append_samples([SampleRow(step=0, prompt="Hello?", completion="Good day.")])
    text = Page(page_of(run.path)).text
    assert "Training has not finished: 58 of 400 steps so far." in text
    assert "Good day." in text


def test_a_run_that_has_just_begun_has_a_page(tmp_path):
    run = RunDir(tmp_path / "run")
    run.write_config(config("kto"))
    run.write_provenance(provenance("kto", 400, finished=None))
    run.append_metrics({"step": 1, "loss": 0.5, "kl": 0.0, "kl_raw": 0.0, "rewards/chosen": 0.0, "grad_norm": 1.0})
    assert "1 of 400 steps so far" in page_of(run.path)


def test_a_value_that_is_not_finite_is_not_drawn(full):
    before = RunFacts.read(RunDir(full)).curve("loss")
    with (full / "metrics.jsonl").open("a") as file:
        file.write('{"step": 401, "loss": NaN}\n{"step": 402, "loss": 1e999}\n')
    assert RunFacts.read(RunDir(full)).curve("loss").steps.tolist() == before.steps.tolist()
    assert "nan" not in page_of(full).partition("<h3>Loss</h3>")[2].partition("</svg>")[0]


def test_what_is_no_run_directory_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such run directory"):
        build_report(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CheckpointError, match="not a run directory: expected"):
        build_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


# -- methods ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "changes", "present", "absent"),
    [
        (
            "dpo",
            {},
            ["DPO trained support-desk-1m (1.2 million parameters) on 2,400 preference pairs", "chosen"],
            ["undesirable</span>", "Label balance", "Reference point z0"],
        ),
        (
            "sft",
            {},
            ["Log-probability of the completions", "The loss on held-out data went from 2.92 to 1.95."],
            ["Rewards"],
        ),
        (
            "kto",
            {"data": {"train": summary("paired"), "eval": None}},
            ["on 2,400 preference pairs, each read as one thumb up and one thumb down", "desirable 2,400 (50%)"],
            [],
        ),
    ],
    ids=["pairs", "demonstrations", "pairs read as thumbs"],
)
def test_a_page_speaks_of_the_feedback_of_its_method(tmp_path, method, changes, present, absent):
    text = page_of(write_run(tmp_path / "run", method, provenance_changes=changes))
    assert [part for part in present if part not in text] == []
    assert [part for part in absent if part in text] == []


def test_other_evaluations_are_listed_by_name(full):
    RunDir(full).write_evaluation("own_check", {"hard": rate(30, 200), "deep": {"er": rate(5, 9), "note": "x"}})
    page = Page(page_of(full))
    assert "Own check" in page.text and "demo.json" not in page.text
    assert any("hard: 15% (10–21%); deep · er: 56% (21–86%)" in label for label in page.labels())
    assert "deep.note" in page.text, "what is no number is listed"


def estimate(value, half, n=400):
    return {"value": value, "low": value - half, "high": value + half, "n": n, "prompts": n, "level": 0.95}


def texts(words, looping):
    lengths = {"words": estimate(words, 2), "characters": estimate(6 * words, 9)}
    return {name: {key: value for key, value in one.items() if key != "level"} for name, one in lengths.items()} | {
        "looping": rate(looping, 400),
        "empty": 0,
        "repetition": None,
        "distinct_1": 0.4,
        "distinct_2": 0.8,
        "n": 400,
    }


CALLS = {"questions": 800, "cached": 0, "calls": 800, "prompt_tokens": 0, "completion_tokens": 0, "cost": None}


def contest(**changes):
    result = {
        **{"format": "prospect.contest/1", "evaluation": "contest", "level": 0.95, "samples": []},
        **{"model": {"name": "runs/kto", "kind": "run"}, "against": None, "data": {"source": "f.jsonl", "left_out": 0}},
        "generation": {"samples_per_prompt": 1, "max_new_tokens": 9, "temperature": 0.8, "top_p": 0.9, "seed": 0},
        **{"ours": "kto", "theirs": "the reference", "judge": "verifier", "orders": 2, "n": 400, "prompts": 400},
        **{"wins": 230, "losses": 130, "ties": 40, "unparsed": 0, "position_flips": 0, "identical": 0, "not_judged": 0},
        **{"win_rate": rate(250, 400), "win_rate_90": rate(250, 400), "win_rate_by_rows": None},
        "comparison": {**rate(250, 400), "p": 0.001, "p_holm": 0.001, "verdict": "better"},
        "length_controlled": length_controlled(240),
        "shown_first": rate(205, 400),
        "our_texts": texts(28, 4),
        "their_texts": texts(26, 4),
        "plan": {"n": 400, "half_width": 0.05, "detectable": 0.57, "level": 0.95, "power": 0.8, "comparisons": 1},
        **{"planned_calls": {**CALLS, "estimated": True}, "calls": {**CALLS, "estimated": False}},
        "entries": [
            {"prompt_id": "p", "verdict": "win", "flipped": False, "identical": False}
            | {"said": [{"verdict": "win", "ours_first": True, "note": HOSTILE}]}
        ]
        * 400,
    }
    return ContestResult.parse(result | changes, "contest.json")


def length_controlled(wins):
    return {**rate(wins, 400), "raw": 0.62, "length_effect": 0.1, "length_difference": 2.0, "note": ""}


def measured_feedback(**changes):
    bins = [
        {"start": i / 4, "end": (i + 1) / 4, "predicted": i / 4 + 0.1, "observed": rate(10 * i + 5, 40)}
        for i in range(4)
    ]
    data = {"source": "f.jsonl", "sha256": "ab", "kind": "unpaired", "rows": 400, "prompts": 400, "desirable": 200}
    result = {
        **{"format": "prospect.feedback/1", "evaluation": "feedback", "level": 0.95, "reference": None},
        "model": {"name": "runs/kto", "kind": "run", "identity": "ab", "loss": "kto"},
        "data": {**data, "undesirable": 200, "cut": 0, "dropped": 0, "unrenderable": {}},
        "score": {"what": "beta * log-ratio", "beta": 0.1},
        "threshold": {"kind": "z0", "value": 0.1},
        "rewards": {"desirable": estimate(1.2, 0.1), "undesirable": estimate(-1.4, 0.1)},
        "accuracy": {**rate(330, 400), "level": 0.95},
        **{"auroc": estimate(0.88, 0.03), "auroc_delong": None, "label_log_loss": None, "log_loss": None},
        "margin": estimate(2.6, 0.2),
        "calibration": {"ece": 0.04, "by_chance": 0.03, "brier": 0.1, "n": 160, "bins": bins},
        "drift": drift(6.0),
        "notes": ["3 rows were cut by max_length"],
    }
    return FeedbackResult.parse(result | changes, "feedback.json")


def drift(kl):
    kl = {**estimate(kl, 1.0, 64), "tokens": 31.0, "max_new_tokens": 64, "cut": 0, "left_out": 0}
    return {"log_ratio": {}, "kl": kl}


def benchmarks(verdict="better"):
    score = {"stderr": 0.03, "n": 200, "level": 0.95}
    change = {"value": 0.08, "low": 0.03, "high": 0.13, "n": 200, "prompts": 200, "p": 0.01, "p_holm": 0.02}
    entry = {
        "ours": {**score, "value": 0.42, "low": 0.36, "high": 0.48},
        "reference": {**score, "value": 0.34, "low": 0.28, "high": 0.4},
        "higher_is_better": True,
        "change": {**change, "verdict": verdict, "level": 0.95, "paired": True},
    }
    task = {"version": 3, "num_fewshot": 0, "n": 200, "part_of": [], "metrics": {"exact_match": entry}}
    result = {
        **{"format": "prospect.benchmarks/1", "evaluation": "benchmarks", "limit": None, "chat_template": False},
        **{"model": {"name": "m", "kind": "run"}, "reference": {"name": "r", "kind": "model"}, "level": 0.95},
        **{"harness": {"name": "lm-evaluation-harness", "version": "0.4"}, "tasks": {"gsm8k": task}},
    }
    return BenchmarksResult.parse(result, "tasks.json")


def test_every_kind_of_evaluation_has_a_section_of_its_own(full):
    run = RunDir(full)
    run.write_evaluation("feedback", measured_feedback())
    run.write_evaluation("contest", contest())
    run.write_evaluation("tasks", benchmarks())
    text = page_of(full)
    page = Page(text)
    assert {"Held-out feedback, measured", "Contest", "Benchmarks"} <= set(re.findall(r"<h2>(.*?)</h2>", text))
    figures = re.findall(r"<h3>(.*?)</h3>", text)
    assert {"Telling good from bad", "Rewards by class", "Calibration", "How the comparisons ended", "Tasks"} <= set(
        figures
    )
    assert "Shown to be better: gsm8k · exact_match · change." in page.text
    assert "kto wins 230, loses 130 and ties 40 of 400 comparisons" in page.text
    assert "3 rows were cut by max_length." in page.text
    assert "0.880" in page.text and "0.850 to 0.910" in page.text, "AUROC is no percentage"
    assert "script" not in page.tags and not page.open
    assert worries(full) == set()


def test_a_file_of_0_1_has_no_format_and_is_known_by_its_fields(full):
    run, found = RunDir(full), contest()
    tree = {key: value for key, value in found.as_dict().items() if key != "format"}
    run.write_evaluation("contest", tree)
    run.write_evaluation("torn", {key: value for key, value in tree.items() if key != "plan"})
    assert run.evaluations()["contest"] == found
    assert isinstance(run.evaluations()["demo"], BeforeAfterResult)
    assert isinstance(run.evaluations()["torn"], dict), "what lacks a field is shown as any other file"
    assert "From evaluation/torn.json" in page_of(full)


def test_a_run_with_a_contest_alone_says_what_it_showed(tmp_path):
    run = RunDir(write_run(tmp_path / "run"))
    run.write_evaluation("contest", contest(prompts=200))
    page = page_of(run.path)
    text = Page(page).text
    assert re.search(r"<h1>(.*?)</h1>", page)[1] == "After KTO, it wins 62% against the reference"
    assert "Against the reference it wins 62% of comparisons (58–67%): it is better." in text
    assert "The contest rests on 400 comparisons of 200 prompts, as verifier judged them." in text
    run.write_evaluation("contest", contest(comparison=contest().comparison._replace(verdict="no difference shown")))
    assert "62% against the reference: no clear difference" in page_of(run.path)


def test_measured_feedback_and_benchmarks_are_in_the_summary(tmp_path):
    run = RunDir(write_run(tmp_path / "run"))
    run.write_evaluation("feedback", measured_feedback())
    run.write_evaluation("tasks", benchmarks())
    text = Page(page_of(run.path)).text
    assert "tells good from bad with accuracy 82% (78–86%) and AUROC 0.88 (0.85 to 0.91; 0.50 is a coin toss)." in text
    assert "Of 1 benchmark result against the reference, 1 better." in text
    assert "Held-out feedback was measured on 400 rows." in text
    run.write_evaluation("tasks", benchmarks("different"))
    assert "Of 1 benchmark result against the reference, 1 different." in Page(page_of(run.path)).text


def test_calibration_has_a_linear_axis_from_0_to_1_however_small_the_first_prediction(full):
    found = measured_feedback()
    points = ((0.001, 0), (0.4, 3), (0.62, 39))
    bins = tuple(Bin(0, 1, predicted, proportion(k, 40)) for predicted, k in points)
    found.calibration = found.calibration._replace(bins=bins)
    RunDir(full).write_evaluation("feedback", found)
    figure = re.search(r"<h3>Calibration</h3>.*?</figure>", page_of(full), re.DOTALL)[0]
    assert re.findall(r">(0\.\d|1\.0)</text>", figure) == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]


@pytest.mark.parametrize(
    "result",
    [
        [],
        {"rate": "x", "low": None, "high": None},
        {"a": {"value": 1, "low": None, "high": None, "n": None}},
        {"wins": 0, "losses": 0, "ties": 0},
        {"evaluation": "feedback"},
        {"evaluation": "feedback", "calibration": {"bins": [None, {"predicted": "x"}]}, "notes": [1], "rewards": 4},
        {"evaluation": "benchmarks", "tasks": {"a": {"metrics": {"b": None, "c": {"ours": {"value": 0.5}}}}}},
        {"examples": [3, {"prompt": [], "before": None, "after": 4}, {"completion": {}}]},
    ],
)
def test_an_odd_evaluation_file_never_breaks_the_page(full, result):
    RunDir(full).write_evaluation("odd", result)
    assert not Page(page_of(full)).open


def test_samples_of_an_evaluation_are_read_side_by_side(full):
    example = {"prompt": "Why?", "reference": "The sky is red.", "policy": "The sky is blue.", "score": 1}
    RunDir(full).write_evaluation("reading", {"hard": rate(3, 4), "examples": [example]})
    assert "The sky is <del>red.</del>" in page_of(full) and "The sky is <ins>blue.</ins>" in page_of(full)


@pytest.mark.parametrize(
    ("name", "result", "title"),
    [
        ("contest", contest(our_texts=texts(28, 60)), "15% of the completions repeat themselves"),
        ("contest", contest(our_texts=texts(50, 4)), "Completions are much longer than the reference's"),
        (
            "contest",
            contest(length_controlled=length_controlled(205)),
            "That it wins may be a matter of length",
        ),
        ("contest", contest(unparsed=40), "40 verdicts of 400 could not be read"),
        (
            "contest",
            contest(shown_first=rate(300, 400), orders=1),
            "The judge chose the completion shown first in 75% of its verdicts",
        ),
        (
            "feedback",
            measured_feedback(drift=drift(22.0)),
            "The policy writes what its reference hardly would",
        ),
    ],
)
def test_what_should_worry_in_an_evaluation_does(full, name, result, title):
    RunDir(full).write_evaluation(name, result)
    assert worries(full) == {title}


# -- no claim without an interval -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "n", "said"),
    [
        (176, 333, 400, "up from 44%"),
        (333, 176, 400, "down from 83%"),
        (20, 24, 60, "no clear change"),
        (24, 20, 60, "no clear change"),
        (30, 30, 60, "no clear change"),
    ],
)
def test_a_change_is_claimed_only_where_the_intervals_do_not_touch(tmp_path, before, after, n, said):
    text = page_of(write_run(tmp_path / "run", evaluation=demo_evaluation(before, after, n)))
    assert said in re.search(r"<h1>(.*?)</h1>", text)[1]
    assert ("They do not touch" in text) == ("from" in said)


def test_a_rule_that_got_worse_is_told(tmp_path):
    evaluation = demo_evaluation()
    evaluation["rules"]["is polite"] = {"before": rate(380, 400), "after": rate(200, 400)}
    text = Page(page_of(write_run(tmp_path / "run", evaluation=evaluation))).text
    assert "The largest loss is in “is polite”, from 95% to 50%." in text


def test_a_run_without_an_evaluation_claims_nothing(tmp_path):
    run = RunDir(write_run(tmp_path / "run"))
    rows = [row for row in run.metrics() if "eval_loss" not in row]
    write_metrics(run, rows)
    text = Page(page_of(run.path)).text
    assert "whether the model got better is not known" in text
    assert "Nothing was held out" in text


# -- what to worry about ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["kto", "dpo", "sft"])
def test_a_healthy_run_raises_nothing(tmp_path, method):
    assert titles(write_run(tmp_path / "run", method)) == set()


SHORT = {"mean": 2.5, "p50": 2, "p90": 3, "max": 4}
SHORT = {"completion_tokens": {"desirable": SHORT, "undesirable": SHORT}}
DATA = {"eval": summary(rows=400, desirable=190)}


@pytest.mark.parametrize(
    ("title", "changes"),
    [
        ("The rewards of both classes fall together", {"chosen": -1.2, "rejected": -1.8}),
        ("The two classes were not told apart", {"chosen": 0.3, "rejected": 0.6}),
        ("Held-out AUROC did not improve", {"auroc": 0.5}),
        ("Held-out AUROC was better earlier", {"best_at_end": False}),
        (
            "Completions became much longer",
            {"evaluation": demo_evaluation() | {"mean_words": {"before": 18, "after": 60}}},
        ),
        ("The evaluation counts only 60 rows", {"evaluation": demo_evaluation(10, 50, 60)}),
        (
            "The policy has drifted far from its reference",
            {"provenance_changes": {"data": DATA | {"train": summary() | SHORT}}},
        ),
        (
            "12% of the completions were cut at 256 tokens",
            {"provenance_changes": {"data": DATA | {"train": summary(cut=300)}}},
        ),
        ("10% of the records were dropped", {"provenance_changes": {"data": DATA | {"train": summary(dropped=267)}}}),
        (
            "11% of the records were dropped",
            {"provenance_changes": {"data": DATA | {"train": summary(dropped=200) | {"unrenderable": REFUSED}}}},
        ),
        (
            "Only 7% of the thumbs are desirable",
            {"provenance_changes": {"data": DATA | {"train": summary(desirable=160)}}},
        ),
    ],
)
def test_what_should_worry_does(tmp_path, title, changes):
    assert title in worries(write_run(tmp_path / "run", **changes))


@pytest.mark.parametrize(
    ("title", "changes"),
    [
        ("The reference point z0 was clamped to 0 on 60% of the steps", {"clamped": 0.6}),
        ("Most desirable and undesirable completions are saturated", {"chosen": 7.0, "rejected": -7.0}),
        ("Most pairs are saturated", {"method": "dpo", "chosen": 4.0, "rejected": -4.0}),
        ("The data was seen 6 times", {"provenance_changes": {"epochs": 6.0}}),
        ("Chosen and rejected both became less likely", {"method": "dpo", "chosen": -0.4, "rejected": -2.4}),
    ],
)
def test_what_is_only_worth_knowing_does_not_worry(tmp_path, title, changes):
    run = write_run(tmp_path / "run", **changes)
    assert title in titles(run)
    assert worries(run) == set() and worst_worries(RunDir(run)) == []


def test_class_weights_that_make_up_for_a_rare_class_calm_the_worry(tmp_path):
    changes = {"data": DATA | {"train": summary(desirable=160)}}
    loss = {"name": "kto", "feedback": "unpaired", "hyperparameters": {"desirable_weight": 14.0}}
    run = write_run(tmp_path / "run", provenance_changes=changes | {"loss": loss})
    assert "Only 7% of the thumbs are desirable" in titles(run) - worries(run)


def test_a_held_out_loss_of_demonstrations_that_turns_is_a_worry(tmp_path):
    run = RunDir(write_run(tmp_path / "run", "sft"))
    run.append_metrics({"step": 500, "eval_loss": 2.4})
    assert "The held-out loss rises" in worries(run.path)


def test_a_handful_of_steps_warns_of_no_trend(tmp_path):
    assert "The rewards of both classes fall together" not in titles(
        write_run(tmp_path / "run", steps=12, chosen=-1.2, rejected=-1.8)
    )


@pytest.mark.parametrize(
    ("z0", "beta", "worries_about_it"), [(160.0, 0.1, True), (40.0, 0.1, False), (40.0, 0.3, True)]
)
def test_a_z0_beyond_which_the_loss_is_flat_is_the_worst_worry_of_the_longest_and_the_shortest_run(
    tmp_path, z0, beta, worries_about_it
):
    loss = {"loss": {"name": "kto", "feedback": "unpaired", "hyperparameters": {"beta": beta}}}
    for name, steps in (("long", 400), ("short", 3)):
        run = RunDir(write_run(tmp_path / name, steps=steps, auroc=0.5, provenance_changes=loss))
        rows = [{**row, **({"kl": z0, "kl_raw": z0} if "kl" in row else {})} for row in run.metrics()]
        write_metrics(run, rows)
        said = [worry.title for worry in worst_worries(run)]
        assert said[0].endswith("nats, out of the loss's reach") is worries_about_it
        assert "Held-out AUROC did not improve" in said


def test_no_more_than_two_worries_are_told_and_the_worst_of_them(tmp_path):
    changes = {"provenance_changes": {"data": DATA | {"train": summary(desirable=160, cut=300)}}}
    run = RunDir(write_run(tmp_path / "run", chosen=-1.2, rejected=-1.8, auroc=0.5, **changes))
    said = [worry.title for worry in worst_worries(run)]
    assert said == ["The rewards of both classes fall together", "Held-out AUROC did not improve"]


@pytest.mark.parametrize(
    ("desirable", "undesirable", "auroc", "told"),
    # Standard errors of AUROC under chance: sqrt(41 / 4800) = 0.092 and sqrt(401 / 480000) = 0.029.
    [(20, 20, 0.67, True), (20, 20, 0.70, False), (200, 200, 0.55, True), (200, 200, 0.57, False)],
)
def test_a_held_out_score_that_chance_would_give_too_is_told(tmp_path, desirable, undesirable, auroc, told):
    held = summary(rows=desirable + undesirable, desirable=desirable)
    run = write_run(tmp_path / "run", auroc=auroc, provenance_changes={"data": {"train": summary(), "eval": held}})
    assert ("Held-out AUROC is no better than chance, as far as can be told" in worries(run)) is told


def test_worries_come_first(tmp_path):
    run = write_run(tmp_path / "run", auroc=0.5, clamped=0.6)
    kinds = [finding.worry for finding in findings(RunFacts.read(RunDir(run)))]
    assert kinds == sorted(kinds, reverse=True) and len(set(kinds)) == 2


# -- figures and words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 7.9), (0, 5e-6), (0, 10_000), (0.331, 0.338), (-1e-9, 2e-9)])
def test_ticks_are_round_few_and_inside(low, high):
    ticks = nice_ticks(low, high)
    assert 3 <= len(ticks) <= 7
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)
    assert len(set(tick_labels(ticks))) == len(ticks)


@pytest.mark.parametrize("n", [1, 2, 299, 300, 301, 10_000])
def test_thinning_keeps_ends_mean_and_range(n):
    x, y = np.arange(n, dtype=float), np.random.default_rng(0).normal(size=n)
    centres, means, low, high = thin(x, y)
    assert len(centres) <= MAX_POINTS
    assert (centres[0], centres[-1]) == (x[0], x[-1])
    assert (low.min(), high.max()) == (y.min(), y.max())
    assert np.all((low <= means + 1e-12) & (means <= high + 1e-12))


@pytest.mark.parametrize("n", [1, 2, 19, 400])
def test_a_running_mean_leaves_a_constant_alone(n):
    assert running_mean(np.full(n, 2.5)) == pytest.approx(np.full(n, 2.5))


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [1e-12, 1e-12], [5.0, 5.0], [-1e6, 1e6], [1e-30, 2e-30]])
def test_a_chart_of_any_values_has_finite_coordinates(values):
    x, y = np.arange(len(values), dtype=float), np.array(values)
    figure = line_chart([trend("a", "main", x, y)], title="T", reading="R", y_label="nats")
    assert "nan" not in figure.svg and "inf" not in figure.svg


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (1234, "1,234"),
        (12.345, "12.3"),
        (-0.042, "−0.0420"),
        (5e-6, "5e−6"),
        (12345.6, "12,346"),
    ],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0%"), (1, "100%"), (0.444, "44%"), (0.996, "99.6%"), (0.004, "0.4%")])
def test_a_percentage_near_an_end_never_claims_the_end(share, text):
    assert percent(share) == text


def test_words_and_paths_are_short():
    assert [count(1, "step"), count(2400, "thumb")] == ["1 step", "2,400 thumbs"]
    assert [duration(41), duration(161.4), duration(11_100)] == ["41 s", "2 min 41 s", "3 h 5 min"]
    assert [short_path("/a/b/c.jsonl"), short_path("Qwen/Qwen3-0.6B")] == ["c.jsonl", "Qwen/Qwen3-0.6B"]
    assert plain([{"role": "user", "content": "Hi"}], 99) == "user: Hi"
    assert [plain(" Hi.\n", 99), plain("", 99), plain("abcdef", 4)] == ["Hi.", "(empty)", "abcd … (2 more characters)"]


def test_differences_are_marked_word_by_word():
    before, after = differences("the red  cat\nsat", "the blue  cat\nsat <down>")
    assert before == "the <del>red</del>  cat\nsat"
    assert after == "the <ins>blue</ins>  cat\nsat <ins>&lt;down&gt;</ins>"
    assert differences("", "") == ("", "")


def test_a_run_that_makes_images_speaks_of_images(tmp_path):
    images = {"target": "epsilon", "resolution": 512, "numbers": 16384}
    write_run(tmp_path, evaluation=demo_evaluation(), provenance_changes={"images": images})
    run = RunDir(tmp_path)
    facts = RunFacts.read(run)
    said = " ".join(text for part in (summary_page.what_changed(facts), summary_page.how_sure(facts)) for text in part)
    assert "images that pass" in said and "completion" not in said
    assert "images pass" in summary_page.headline(facts)
    page = page_of(tmp_path)
    assert "images/s" in page and "tokens/s" not in page and "at 0 an image is as likely" in page
