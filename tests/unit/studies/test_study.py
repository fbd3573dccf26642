"""A study's file, the pooling of its runs, the rules of its claim, and the result that is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from scipy.stats import beta, norm, t, ttest_1samp

from conftest import REPOSITORY
from prospect.config import load_config
from prospect.errors import ConfigError, DataError, UsageError
from prospect.losses import get_loss
from prospect.results.study import StudyResult
from prospect.results.study_cells import SeenExample
from prospect.results.study_entries import RunCounts
from prospect.statistics.rates import proportion
from prospect.studies.contents import with_contents
from prospect.studies.findings import find
from prospect.studies.markdown import as_markdown
from prospect.studies.names import slug
from prospect.studies.outcome import Measure, make_world
from prospect.studies.plan import Cell, choose, make_cells
from prospect.studies.pooling import pool
from prospect.studies.reading import check_study, load_study
from prospect.studies.study import Study
from prospect.studies.table import check_measures, make_result

OWN_LOSS = f"{REPOSITORY / 'examples/kahneman_tversky.py'}:kahneman_tversky"
STUDIES = sorted(path.name for path in (REPOSITORY / "studies").glob("*.yaml"))


class PaperWorld:
    """A world of scores alone: nothing is trained."""

    says = "Scores on paper."
    contest = "points"
    held_out = 40
    measures: ClassVar = {
        "score": Measure("passes", "share", "higher", "rate", (0.0, 1.0)),
        "points": Measure("points", "of 5", "higher", "value", (0.0, 5.0)),
        "words": Measure("words", "words", None, "value"),
        "repetition": Measure("repetition", "share", "lower", "value", (0.0, 1.0)),
    }

    def __init__(self, settings: Any) -> None:
        pass

    def held_out_keys(self) -> set[str]:
        return set()

    def recipe(self) -> dict[str, Any]:
        return {"model": {"name_or_path": "my/model"}}


def study(**changes: Any) -> Study:
    values: dict[str, Any] = {
        "name": "small",
        "world": {"kind": "paper"},
        "methods": {"kto": {"loss": "kto"}, "dpo": {"loss": {"name": "dpo", "beta": 0.3}}},
        "conditions": {"clean": {}, "noisy": {"flip": 0.2}},
        "seeds": [0, 1, 2],
        "baseline": {"method": "dpo"},
    }
    return check_study(values | changes)


def scores(rate: float, words: float = 10.0, seed: int = 0) -> dict[str, list[float]]:
    """Forty prompts of which a share passes; which ones depends on the seed."""
    passed = np.zeros(40)
    passed[: round(40 * rate)] = 1
    passed = np.roll(passed, 7 * seed)
    jitter = np.random.default_rng(seed).normal(0, 0.5, 40)
    return {
        "score": passed.tolist(),
        "points": (3 + passed).tolist(),
        "words": (words + jitter).tolist(),
        "repetition": [0.0] * 40,
    }


def write(cells: list[Cell], rates: dict[tuple[str, str], float], words: dict[str, float] | None = None) -> None:
    for cell in cells:
        rate = rates.get((cell.method, cell.condition))
        if rate is None:
            continue
        found = {
            **{"digest": cell.digest, "method": cell.method, "condition": cell.condition, "seed": cell.seed},
            "scores": scores(rate, (words or {}).get(cell.method, 10.0), cell.seed),
            "examples": [{"prompt": "p", "completion": "c", "score": 1.0}],
            "data": {"desirable": 5, "undesirable": 3},
            "steps": 7,
            "tokens": 900,
            "z0_clamped": None,
            "reward_magnitude": 0.8,
            "seconds": 2.0,
        }
        cell.folder.mkdir(parents=True, exist_ok=True)
        cell.outcome_path.write_text(json.dumps(found))
    for shared in {cell.shared: cell.seed for cell in cells}.items():
        shared[0].mkdir(parents=True, exist_ok=True)
        start = {"digest": "", "scores": scores(0.4, 10.0, shared[1]), "examples": [{"prompt": "p", "completion": "s"}]}
        (shared[0] / "start.json").write_text(json.dumps(start))


def result_of(one: Study, folder: Path, rates: dict[tuple[str, str], float], **more: Any) -> StudyResult:
    world = PaperWorld({})
    cells = make_cells(one, world, folder)
    write(cells, rates, **more)
    return make_result(one, world, cells, "small.yaml")


ALL = {(m, c): 0.5 for m in ("kto", "dpo") for c in ("clean", "noisy")}


# -- the file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_a_committed_study_can_be_run(name: str, tmp_path: Path) -> None:
    one = load_study(REPOSITORY / "studies" / name)
    assert one.name == Path(name).stem
    assert len(one.seeds) >= 3
    assert one.claim is not None
    world = make_world(one.world)
    check_measures(one, world)
    cells = make_cells(one, world, tmp_path)
    for cell in cells:
        config = load_config(cell.recipe)
        get_loss(config.loss.name).check(config.loss.hyperparameters)
    result = make_result(one, world, cells, name)
    assert result.claim.agrees == "cannot tell"
    assert all(rule.found == "not run" for rule in result.claim.rules)
    assert "/work" not in (REPOSITORY / "studies" / name).read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sedes": [0]}, 'unknown key sedes; did you mean "seeds"'),
        ({"methods": {"kto": {"los": "kto"}}}, 'unknown key methods.kto.los; did you mean "loss"'),
        ({"methods": {"kto": {}}}, "methods.kto.loss is missing"),
        ({"conditions": {"a": {"flip": 1.5}}}, "conditions.a.flip is 1.5; input should be less than or equal to 1"),
        ({"seeds": [1, 1]}, r"seeds are \[1, 1\]; expected different whole numbers"),
        ({"methods": {"start": {"loss": "kto"}}}, 'a method is called "start"'),
        ({"methods": {"kto": {"loss": "kto", "after": "sftt"}, "sft": {"loss": "sft"}}}, 'did you mean "sft"'),
        ({"methods": {"a": {"loss": "kto", "after": "a"}}}, "after goes round in a circle"),
        ({"methods": {"kto": {"loss": "kto", "conditions": ["noisi"]}}}, 'did you mean "noisy"'),
        ({"baseline": {"method": "dqo"}}, 'did you mean "dpo"'),
        ({"baseline": "begin"}, "baseline"),
        ({"axes": [{"label": "x", "points": {"noizy": 1}}]}, 'did you mean "noisy"'),
        ({"methods": {"kto 1": {"loss": "kto"}, "kto-1": {"loss": "kto"}}}, "differ in signs only"),
        ({"name": "../up"}, "name is '../up'"),
        (
            {"claim": {"text": "t", "source": "s", "rules": [{"left": "kto", "right": "start", "must_be": "best"}]}},
            "must_be is 'best'",
        ),
        (
            {
                "claim": {
                    "text": "t",
                    "source": "s",
                    "rules": [{"left": "kto", "right": "dpo", "must_be": "higher", "by": 1}],
                }
            },
            "has no use for it",
        ),
        (
            {
                "methods": {
                    "sft": {"loss": "sft", "conditions": ["clean"]},
                    "then": {"loss": "kto", "after": "sft"},
                },
                "baseline": "start",
            },
            'comes after sft, which is not run under "noisy"',
        ),
    ],
)
def test_what_is_wrong_in_a_study_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(**changes)


def test_a_path_is_an_environment_variable_or_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORIES", "/somewhere")
    one = study(world={"kind": "paper", "model": "$STORIES/model", "data": ["${STORIES}/a", "b"]})
    assert one.world["model"] == "/somewhere/model"
    monkeypatch.delenv("STORIES")
    with pytest.raises(ConfigError, match=r"world.model is \$STORIES/model, and the environment variable STORIES"):
        study(world={"kind": "paper", "model": "$STORIES/model"})


def test_what_is_set_on_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"world": {"kind": "demo"}, "methods": {"kto": {"loss": "kto"}}}))
    assert load_study(path).seeds == [0, 1, 2]
    one = load_study(path, ["seeds=[5]", "world.prompts=3"])
    assert (one.name, one.seeds, one.world["prompts"]) == ("mine", [5], 3)
    with pytest.raises(ConfigError, match="expected key=value"):
        load_study(path, ["seeds"])
    with pytest.raises(ConfigError, match=r"not valid YAML: .* Put quotes around it"):
        load_study(path, ["title=a: b: c"])
    with pytest.raises(ConfigError, match="there is no such study"):
        load_study(tmp_path / "other.yaml")


def test_words_about_a_study_do_not_change_its_digest() -> None:
    assert study().digest() == study(title="Another", axes=[{"label": "x", "points": {"noisy": 1}}]).digest()
    assert study().digest() != study(seeds=[0, 1]).digest()


@pytest.mark.parametrize(("name", "folder"), [("5 % kept", "5-percent-kept"), ("KTO λ", "kto"), ("lr 1e-4", "lr-1e-4")])
def test_a_name_becomes_a_folder(name: str, folder: str) -> None:
    assert slug(name) == folder


# -- the runs ------------------------------------------------------------------------------------------------------


def test_a_run_starts_from_the_model_of_the_one_before_it(tmp_path: Path) -> None:
    methods = {"then": {"loss": "kto", "after": "sft"}, "sft": {"loss": "sft", "train": {"epochs": 2}}}
    one = study(methods=methods, baseline="start", recipe={"train": {"batch_size": 4}})
    cells = make_cells(one, PaperWorld({}), tmp_path)
    assert len(cells) == 12
    first, then = cells[0], cells[1]
    assert (first.method, then.method, then.after) == ("sft", "then", first)
    assert then.recipe["model"]["name_or_path"] == str(first.model_path)
    assert first.recipe["model"]["name_or_path"] == "my/model"
    assert first.recipe["train"] == {"samples": 0, "batch_size": 4, "epochs": 2, "seed": 0}
    assert first.keeps_model
    assert not then.keeps_model


def test_only_some_methods_bring_along_what_they_start_from(tmp_path: Path) -> None:
    methods = {"sft": {"loss": "sft"}, "dpo": {"loss": "dpo"}, "then": {"loss": "kto", "after": "sft"}}
    one = study(methods=methods, baseline="start")
    cells = make_cells(one, PaperWorld({}), tmp_path)
    chosen = choose(one, cells, ["then", "noisy"])
    assert [(cell.method, cell.condition) for cell in chosen] == [("sft", "noisy"), ("then", "noisy")] * 3
    assert choose(one, cells, []) == cells
    with pytest.raises(ConfigError, match='"thenn"; did you mean "then"'):
        choose(one, cells, ["thenn"])


@pytest.mark.parametrize("method", [{"data": {"train": "x"}}, {"train": {"seed": 1}}, {"model": {"name_or_path": "x"}}])
def test_a_method_may_not_set_what_the_study_decides(method: dict[str, Any], tmp_path: Path) -> None:
    one = study(methods={"kto": {"loss": "kto", **method}}, baseline="start")
    with pytest.raises(ConfigError, match="which the study decides"):
        make_cells(one, PaperWorld({}), tmp_path)


def test_a_wrong_recipe_is_refused_before_anything_runs(tmp_path: Path) -> None:
    one = study(methods={"kto": {"loss": "kto", "train": {"lr": 1}}}, baseline="start")
    with pytest.raises(ConfigError, match=r"methods.kto: unknown key train.lr; here it is train.learning_rate"):
        make_cells(one, PaperWorld({}), tmp_path)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("ktoo", r'methods.kto: unknown loss "ktoo"; did you mean "kto"'),
        ({"name": "kto", "bta": 1}, r'methods.kto: loss kto has no hyperparameter "bta"; did you mean "beta"'),
        ("no.py:mine", r"methods.kto: loss no.py:mine: there is no file"),
        ({"name": OWN_LOSS, "alfa": 1}, r'methods.kto: loss kahneman_tversky has no hyperparameter "alfa"'),
        ({"beta": 0.1}, r"methods.kto.loss is {'beta': 0.1}, without a name"),
    ],
)
def test_a_wrong_loss_is_refused_before_anything_runs(loss: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        make_cells(study(methods={"kto": {"loss": loss}}, baseline="start"), PaperWorld({}), tmp_path)


def test_a_file_of_a_loss_that_was_changed_is_another_study(tmp_path: Path) -> None:
    file = tmp_path / "own_loss_of_a_study.py"
    text = """
import torch, prospect
@prospect.loss("unpaired")
def loss_of_a_study(log_ratio, desirable, *, beta=0.1):
    return torch.sigmoid(-beta * torch.where(desirable, log_ratio, -log_ratio))
"""
    methods = {"kto": {"loss": "kto"}, "mine": {"loss": f"{file}:loss_of_a_study"}}

    def hashes() -> list[str]:
        one = study(methods=methods, baseline="start")
        cells = {cell.method: cell.digest for cell in make_cells(one, PaperWorld({}), tmp_path)}
        return [cells["kto"], cells["mine"], one.digest(), one.protocol()]

    file.write_text(text)
    before = hashes()
    file.write_text(text + "# another loss")
    after = hashes()
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, False, False]


def test_numbers_of_other_settings_are_refused(tmp_path: Path) -> None:
    result_of(study(), tmp_path, ALL)
    changed = study(conditions={"clean": {}, "noisy": {"flip": 0.3}})
    with pytest.raises(UsageError, match="kto · noisy · seed 0 was run with other settings"):
        make_result(changed, PaperWorld({}), make_cells(changed, PaperWorld({}), tmp_path), "small.yaml")


def test_a_file_of_the_world_that_was_changed_is_another_study(tmp_path: Path) -> None:
    data, model = tmp_path / "rows.jsonl", tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    data.write_text("a")
    world = {"kind": f"{tmp_path / 'own.py'}:Mine", "data": [str(data)], "model": str(model), "held_out": 20}

    def digests() -> tuple[str, str]:
        one = study(world=world)
        return one.digest(), make_cells(one, PaperWorld({}), tmp_path)[0].digest

    assert with_contents({"kind": "demo", "model": "a/hub-name"}) == {"kind": "demo", "model": "a/hub-name"}
    seen = [digests()]
    assert digests() == seen[0]
    for path in (data, model / "config.json", tmp_path / "own.py"):
        path.write_text("b")
        assert all(new not in old for old in seen for new in digests())
        seen.append(digests())


def test_an_unknown_world_is_refused_and_one_of_ones_own_is_found(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='no world "dem"; did you mean "demo"'):
        make_world({"kind": "dem"})
    path = tmp_path / "own.py"
    path.write_text("class Mine:\n    def __init__(self, settings):\n        self.says = settings['words']\n")
    assert make_world({"kind": f"{path}:Mine", "words": "hello"}).says == "hello"
    with pytest.raises(ConfigError, match="has no Yours"):
        make_world({"kind": f"{path}:Yours"})
    with pytest.raises(ConfigError, match="there is no file"):
        make_world({"kind": "nowhere.py:Mine"})
    with pytest.raises(ConfigError, match=r"unknown key world.promts. Known here: kind, prompts"):
        make_world({"kind": "demo", "promts": 3})


# -- pooling -------------------------------------------------------------------------------------------------------


def test_one_seed_is_a_t_test_over_prompts() -> None:
    values = np.random.default_rng(0).normal(1, 2, 30)
    found = pool([values.tolist()])
    expected = ttest_1samp(values, 0.5).confidence_interval(0.95)
    assert found.interval() == pytest.approx((expected.low, expected.high))
    assert found.p_differs(0.5) == pytest.approx(ttest_1samp(values, 0.5).pvalue)


def test_equal_prompts_leave_a_t_test_over_seeds() -> None:
    seeds = [1.0, 2.0, 4.0]
    found = pool([[value] * 50 for value in seeds])
    expected = ttest_1samp(seeds, 0).confidence_interval(0.95)
    assert found.interval() == pytest.approx((expected.low, expected.high))
    assert (found.n, found.prompts, found.seeds) == (150, 50, 3)
    assert found.p_differs(0.0) == pytest.approx(ttest_1samp(seeds, 0).pvalue)


def test_the_interval_and_the_p_value_say_the_same() -> None:
    rng = np.random.default_rng(1)
    for shift in np.linspace(0, 0.4, 9):
        found = pool(((rng.random((3, 60)) < 0.5 + shift).astype(float)).tolist())
        for level in (0.8, 0.95, 0.999):
            low, high = found.rate_interval(level)
            assert (found.p_rate_differs(0.5) < 1 - level) == (not low <= 0.5 <= high)
            low, high = found.interval(level)
            assert (found.p_differs(0.5) < 1 - level) == (not low <= 0.5 <= high)


def test_a_share_without_any_spread_has_the_exact_interval_over_prompts() -> None:
    found = pool([[1.0] * 40] * 3)
    assert found.rate_interval() == pytest.approx(proportion(40, 40)[1:3])
    for level in (0.5, 0.95):
        assert found.interval(level, bounds=(0, 1)) == pytest.approx(proportion(40, 40, level)[1:3])
    assert found.p_differs(0.5, bounds=(0, 1)) == pytest.approx(2 * 0.5**40)
    assert found.p_rate_differs(0.5) == pytest.approx(2 * 0.5**40)
    assert found.p_differs(0.5) == 1.0  # of scores without bounds nothing is known
    alike = pool([[0.0] * 200] * 5)
    assert alike.interval(bounds=(-1, 1)) == pytest.approx((-proportion(0, 200).high, proportion(0, 200).high))
    assert alike.p_differs(0.0, bounds=(-1, 1)) == 1.0
    for null in (-0.1, 0.01, 0.02, 1.0):
        for level in (0.5, 0.95):
            low, high = alike.interval(level, bounds=(-1, 1))
            assert (alike.p_differs(null, bounds=(-1, 1)) < 1 - level) == (not low <= null <= high)


def test_the_interval_of_a_share_is_exact_over_as_many_trials_as_its_error_is_worth() -> None:
    table = (np.random.default_rng(4).random((3, 60)) < 0.7).astype(float)
    found = pool(table.tolist())
    critical = sum(part * t.ppf(0.975, df) for part, df in found.parts) / found.error**2
    worth = min(180, found.value * (1 - found.value) / found.error**2) * (norm.ppf(0.975) / critical) ** 2
    k = found.value * worth
    assert found.rate_interval() == pytest.approx(
        (beta.ppf(0.025, k, worth - k + 1), beta.ppf(0.975, k + 1, worth - k)), rel=1e-9
    )


def test_scores_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(DataError, match="different numbers of prompts"):
        pool([[1.0, 2.0], [1.0]])
    with pytest.raises(DataError, match="two or more"):
        pool([[1.0]])
    with pytest.raises(DataError, match="not finite"):
        pool([[1.0, float("nan")]])


@pytest.mark.parametrize(("base", "spread"), [(0.5, 0.0), (0.5, 0.5), (0.9, 0.3)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(base: float, spread: float) -> None:
    """Prompts and seeds both shift the log-odds; with three seeds an interval by prompts alone would fail this."""
    rng, hits, by_prompts_alone, rounds = np.random.default_rng(2), 0, 0, 400
    logit = np.log(base / (1 - base))
    many = rng.normal(0, 1.0, 200_000) + rng.normal(0, spread, 200_000)
    truth = float((1 / (1 + np.exp(-(logit + many)))).mean())
    for _ in range(rounds):
        odds = logit + rng.normal(0, 1.0, 80) + rng.normal(0, spread, (3, 1))
        table = (rng.random((3, 80)) < 1 / (1 + np.exp(-odds))).astype(float)
        low, high = pool(table.tolist()).rate_interval()
        hits += low <= truth <= high
        low, high = pool([table.mean(0).tolist()]).interval()
        by_prompts_alone += low <= truth <= high
    assert hits / rounds > 0.915
    if spread >= 0.5:
        assert by_prompts_alone / rounds < 0.85


def test_the_critical_value_is_cochrans() -> None:
    table = np.random.default_rng(3).normal(size=(3, 20)) + np.array([[0.0], [1.0], [3.0]])
    parts = table.mean(0).var(ddof=1) / 20, table.mean(1).var(ddof=1) / 3
    found = pool(table.tolist())
    assert found.error == pytest.approx(sum(parts) ** 0.5)
    for alpha in (0.05, 0.001):
        critical = (parts[0] * t.isf(alpha / 2, 19) + parts[1] * t.isf(alpha / 2, 2)) / sum(parts)
        assert found.interval(1 - alpha)[1] == pytest.approx(found.value + critical * found.error)
        assert found.p_differs(found.value - critical * found.error) == pytest.approx(alpha)


def test_far_from_every_doubt_the_p_value_is_small_and_no_error() -> None:
    rng = np.random.default_rng(5)
    assert pool((5 + rng.normal(size=(9, 400)) / 10).tolist()).p_differs(0.0) <= 1e-9
    assert pool([[0.5, 0.5], [0.5, 0.5]]).p_rate_differs(0.5) == 1.0
    assert pool([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]).p_rate_differs(0.5) == 1.0  # exactly half, with a spread


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 9, 0.05 / 30])
def test_seeds_that_agree_by_chance_do_not_make_small_p_values(alpha: float) -> None:
    """Equal methods, three seeds: Satterthwaite's degrees of freedom give 3 % and 2 % at the two smaller levels."""
    rng, rounds, found = np.random.default_rng(6), 1500, 0
    for _ in range(rounds):
        hard = rng.normal(0, 1.2, 200)
        first, second = (
            rng.random((3, 200)) < 1 / (1 + np.exp(-(hard + rng.normal(0, 0.7, (3, 1))))) for _ in range(2)
        )
        found += pool((first.astype(float) - second).tolist()).p_differs(0.0) < alpha
    assert found / rounds < 1.4 * alpha + 0.004


# -- the result ----------------------------------------------------------------------------------------------------


def test_a_result_says_what_is_better_after_correction(tmp_path: Path) -> None:
    rates = {("kto", "clean"): 0.9, ("dpo", "clean"): 0.5, ("kto", "noisy"): 0.6, ("dpo", "noisy"): 0.6}
    found = result_of(study(), tmp_path, rates)
    assert (found.complete, found.runs) == (True, RunCounts(wanted=12, done=12, failed=0))
    verdicts = {(one.method, one.condition): one.verdict for one in found.comparisons}
    assert verdicts == {("kto", "clean"): "better", ("kto", "noisy"): "no difference shown"}
    first = found.comparisons[0]
    assert first.value == pytest.approx(0.4)
    assert first.low < 0.4 < first.high
    assert first.p_holm == pytest.approx(min(1, 2 * first.p))
    cell = found.cells[0]
    assert cell.estimates["score"].mean == pytest.approx(0.9)
    assert cell.wins.verdict == "better"
    assert cell.runs[0].examples[0] == SeenExample(prompt="p", completion="c", score=1.0, start="s")
    assert cell.runs[0].folder == "cells/kto/clean/seed-0"
    found.write(tmp_path / "result.json")
    assert StudyResult.read(tmp_path / "result.json") == found


def test_a_score_of_which_less_is_better_is_read_that_way_round(tmp_path: Path) -> None:
    one = study(primary="repetition", baseline="start")
    found = result_of(one, tmp_path, ALL)
    assert {c.verdict for c in found.comparisons} == {"no difference shown"}
    cells = make_cells(one, PaperWorld({}), tmp_path)
    for cell in cells:
        values = json.loads(cell.outcome_path.read_text())
        values["scores"]["repetition"] = [0.3 + 0.01 * i for i in range(40)]
        cell.outcome_path.write_text(json.dumps(values))
    found = make_result(one, PaperWorld({}), cells, "small.yaml")
    assert {c.verdict for c in found.comparisons} == {"worse"}
    with pytest.raises(ConfigError, match="neither more nor less is better"):
        check_measures(study(primary="words"), PaperWorld({}))


def test_what_failed_or_was_not_run_is_said(tmp_path: Path) -> None:
    one = study()
    cells = make_cells(one, PaperWorld({}), tmp_path)
    write(cells, {key: rate for key, rate in ALL.items() if key != ("dpo", "noisy")})
    broken = next(cell for cell in cells if (cell.method, cell.condition, cell.seed) == ("dpo", "noisy", 1))
    broken.folder.mkdir(parents=True)
    broken.failure("DataError: no row is left").write(broken.failure_path)
    found = make_result(one, PaperWorld({}), cells, "small.yaml")
    assert found.runs == RunCounts(wanted=12, done=9, failed=1)
    assert not found.complete
    worries = [finding.text for finding in found.findings if finding.kind == "worry"]
    assert "dpo (noisy) could not be run with seed 1: DataError: no row is left" in worries
    assert any(text.startswith("2 of 12 runs are not done yet") for text in worries)
    last = found.cells[-1]
    assert [run.status for run in last.runs] == ["missing", "failed", "missing"]
    assert last.estimates == {}
    assert "| dpo | noisy |" in as_markdown(found)


def test_texts_that_grow_or_repeat_are_a_worry(tmp_path: Path) -> None:
    found = result_of(study(), tmp_path, ALL, words={"dpo": 25.0})
    worries = [finding.text for finding in found.findings if finding.kind == "worry"]
    assert any("dpo (clean) writes longer completions: 25." in text for text in worries)
    assert not any(text.startswith("kto") for text in worries)
    found.start["words"].value, found.cells[0].estimates["repetition"].low = 100.0, 0.5
    texts = [finding.text for finding in find(found)]
    assert any("kto (clean) writes shorter" in text for text in texts)
    assert any("kto (clean) repeats itself" in text for text in texts)


def test_the_best_of_a_measure_that_should_be_low_is_its_lowest(tmp_path: Path) -> None:
    found = result_of(study(), tmp_path, {**ALL, ("dpo", "noisy"): 0.9})
    assert any(finding.text.startswith('Highest in "passes" is dpo (noisy)') for finding in find(found))
    found.measures["score"].better = "lower"
    texts = [finding.text for finding in find(found)]
    assert any(text.startswith('Lowest in "passes" is ') and "highest dpo (noisy)" in text for text in texts)


def test_what_too_short_a_run_cannot_tell_about_is_said(tmp_path: Path) -> None:
    one, cells = study(claim=claim(HIGHER)), make_cells(study(), PaperWorld({}), tmp_path)
    assert not any("not " in finding.text[:40] for finding in result_of(one, tmp_path, ALL).findings[3:])
    trained = {"kto": {"z0_clamped": 0.9, "reward_magnitude": 0.2}, "dpo": {"z0_clamped": 0.5}}
    for cell in cells:
        values = json.loads(cell.outcome_path.read_text()) | trained[cell.method]
        cell.outcome_path.write_text(json.dumps(values))
    found = make_result(one, PaperWorld({}), cells, "small.yaml")
    assert found.cells[0].training.not_tested == ["value function not exercised", "z0 not tested"]
    assert found.cells[-1].training.not_tested == []
    worries = [finding.text for finding in found.findings if finding.kind == "worry"]
    assert worries[-2].endswith("abs(beta log-ratio) was 0.20, below 0.5: kto (clean), kto (noisy).")
    assert "held at 0 in 90 % of the steps" in worries[-1] and worries[-1].endswith("kto (clean), kto (noisy).")
    assert "| 0.20 | 90 % | value function not exercised, z0 not tested |" in as_markdown(found)
    assert found.claim.rules[0].not_tested == ["value function not exercised", "z0 not tested"]
    assert "cannot tell (value function not exercised, z0 not tested) |" in as_markdown(found)


def test_a_start_or_a_cell_at_the_best_end_is_a_ceiling(tmp_path: Path) -> None:
    found = result_of(study(), tmp_path, {**ALL, ("kto", "clean"): 0.975, ("dpo", "noisy"): 0.0})
    (text,) = (finding.text for finding in found.findings if finding.text.startswith("Ceiling"))
    assert text == (
        'Ceiling: so near 100.0 in "passes" that differences from there on cannot show: kto (clean) (97.5).'
    )
    found.measures["score"].better = "lower"
    (text,) = (finding.text for finding in find(found) if finding.text.startswith("Ceiling"))
    assert "so near 0.0" in text and text.endswith("dpo (noisy) (0.0).")


def test_measures_of_one_value_have_no_column_and_are_named(tmp_path: Path) -> None:
    found = result_of(study(), tmp_path, dict.fromkeys(ALL, 0.4))
    assert found.varied() == ["score"]  # words differ by seed, and so by nothing
    text = as_markdown(found)
    assert "left out: points (3.40), words (9.99)" in text and "repetition (0.0), mean abs(beta r) (0.80)" in text
    assert "steps (7), tokens (900). Trained on" in text
    found.start, found.cells = {}, found.cells[:1]  # such as the KL, which the start has not
    assert found.varied() == ["score", "points", "words", "repetition"]


def test_the_smallest_difference_is_shown_as_often_as_is_said() -> None:
    """Over 5 seeds and 60 prompts, both of which shift the difference, and at Holm's first level among four."""
    rng, shown, rounds, alpha = np.random.default_rng(8), 0, 600, 0.05 / 4

    def differences(shift: float) -> list[list[float]]:
        seeds, prompts = rng.normal(0, 0.1, (5, 1)), rng.normal(0, 0.5, 60)
        return (shift + seeds + prompts + rng.normal(0, 0.5, (5, 60))).tolist()

    least = float(np.mean([pool(differences(0.0)).detectable(alpha) for _ in range(50)]))
    for _ in range(rounds):
        shown += pool(differences(least)).p_differs(0.0) < alpha
    assert 0.7 < shown / rounds < 0.9
    assert pool([[1.0, 1.0]]).detectable(alpha) is None


def test_what_loses_to_the_start_is_a_worry_and_long_lists_are_cut(tmp_path: Path) -> None:
    found = result_of(study(), tmp_path, {**ALL, ("dpo", "noisy"): 0.0})
    worries = [finding.text for finding in found.findings if finding.kind == "worry"]
    assert "Worse than the start, which nothing was done to: dpo (noisy)." in worries
    found.cells = [found.cells[-1].model_copy(update={"condition": str(i)}) for i in range(9)]
    (text,) = (finding.text for finding in find(found) if finding.text.startswith("Worse than the start"))
    assert text.endswith("dpo (4), dpo (5) and 3 more.")


def test_the_table_has_a_row_for_each_cell_and_every_number_its_interval(tmp_path: Path) -> None:
    text = as_markdown(result_of(study(title="Small"), tmp_path, ALL))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == (
        "| method | condition | passes, % | less dpo | wins against the start, % | points, of 5 | trained on |"
    )
    assert len(rows) == 6
    assert rows[1].startswith("| start |  | 40.0 (")
    assert "no difference shown" in rows[2]
    assert rows[2].endswith("| 3.50 (3.40 to 3.60) | 5 desirable, 3 undesirable |")
    assert text.startswith("**Small**")


def test_a_result_is_a_table_of_a_row_for_each_cell_and_measure(tmp_path: Path) -> None:
    methods = {
        "kto": {"loss": {"name": "kto", "beta": 1}, "train": {"learning_rate": 1e-4}},
        "dpo": {"loss": {"name": "dpo", "beta": 0.3}, "train": {"learning_rate": 1e-4}},
    }
    found = result_of(study(methods=methods), tmp_path, {**ALL, ("kto", "clean"): 0.9})
    frame = found.to_frame()
    assert frame.height == 4 * (1 + 4) and len(set(frame.columns)) == frame.width
    (row,) = frame.filter(method="kto", condition="clean", measure="score").to_dicts()
    assert (row["loss.name"], row["loss.beta"], row["verdict"], row["steps"]) == ("kto", 1.0, "better", 7.0)
    assert "train.learning_rate" not in frame.columns
    assert row["p"] == found.comparisons[0].p
    assert row["difference"] == pytest.approx(0.4) and row["detectable"] == found.comparisons[0].detectable
    assert frame.filter(method="start")["condition"].null_count() == 4
    assert frame.filter(measure="words")["difference"].null_count() == 5


# -- the claim -----------------------------------------------------------------------------------------------------


def claim(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"text": "KTO is best", "source": "a paper", "rules": list(rules)}


def test_a_difference_of_changes_is_not_cut_at_one(tmp_path: Path) -> None:
    rates = {("kto", "clean"): 0.0, ("dpo", "clean"): 1.0, ("kto", "noisy"): 1.0, ("dpo", "noisy"): 0.0}
    rule = {"left": "kto", "right": "dpo", "must_be": "higher", "under": "noisy", "since": "clean"}
    (found,) = result_of(study(claim=claim(rule)), tmp_path, rates).claim.rules
    assert found.agrees == "yes" and found.low <= found.value == 2 <= found.high


HIGHER = {"left": "kto", "right": "dpo", "must_be": "higher", "under": "clean"}


@pytest.mark.parametrize(
    ("rule", "kto", "dpo", "agrees"),
    [
        (HIGHER, 0.9, 0.5, "yes"),
        (HIGHER, 0.5, 0.9, "no"),
        (HIGHER, 0.525, 0.5, "cannot tell"),
        (HIGHER, 0.5, 0.5, "cannot tell"),
        ({**HIGHER, "must_be": "lower"}, 0.5, 0.9, "yes"),
        ({**HIGHER, "must_be": "lower"}, 0.9, 0.5, "no"),
        ({**HIGHER, "must_be": "not lower", "by": 0.3}, 0.55, 0.5, "yes"),
        ({**HIGHER, "must_be": "not lower", "by": 0.1}, 0.2, 0.9, "no"),
        ({**HIGHER, "must_be": "not lower", "by": 0.001}, 0.5, 0.525, "cannot tell"),
        ({**HIGHER, "must_be": "not higher", "by": 0.3}, 0.5, 0.55, "yes"),
        ({**HIGHER, "must_be": "not higher", "by": 0.1}, 0.9, 0.2, "no"),
        ({**HIGHER, "right": "start"}, 0.9, 0.5, "yes"),
        ({**HIGHER, "measure": "words"}, 0.9, 0.5, "cannot tell"),
        ({**HIGHER, "by": 0.0, "under": "noisy", "since": "clean"}, 0.5, 0.5, "cannot tell"),
        ({**HIGHER, "under": None, "left_under": "clean", "right_under": "noisy"}, 0.9, 0.5, "yes"),
    ],
)
def test_the_claim_is_judged_by_the_interval_of_its_rule(
    rule: dict[str, Any], kto: float, dpo: float, agrees: str, tmp_path: Path
) -> None:
    rates = {("kto", "clean"): kto, ("dpo", "clean"): dpo, ("kto", "noisy"): kto, ("dpo", "noisy"): dpo}
    found = result_of(study(claim=claim(rule)), tmp_path, rates).claim
    assert found.agrees == agrees
    assert [one.agrees for one in found.rules] == [agrees]
    assert found.why


def test_a_claim_holds_where_all_rules_do_and_falls_with_one(tmp_path: Path) -> None:
    rates = {("kto", "clean"): 0.9, ("dpo", "clean"): 0.5, ("kto", "noisy"): 0.2, ("dpo", "noisy"): 0.7}
    both = {"left": "kto", "right": "dpo", "must_be": "higher"}
    found = result_of(study(claim=claim(both)), tmp_path, rates).claim
    assert [rule.agrees for rule in found.rules] == ["yes", "no"]
    assert found.agrees == "no"
    assert found.why.startswith('1 of 2 rules broken: passes: kto is higher than dpo under "noisy": -50.0 points (')
    fewer = {key: rate for key, rate in rates.items() if key[1] == "clean"}
    found = result_of(study(claim=claim(both)), tmp_path / "other", fewer).claim
    assert [rule.agrees for rule in found.rules] == ["yes", "cannot tell"]
    assert found.agrees == "cannot tell"
    open_rule = 'passes: kto is higher than dpo under "noisy": not run'
    assert found.why == f"1 of 2 rules hold, and what was found decides no other: {open_rule}."


def test_a_rule_about_change_takes_levels_out(tmp_path: Path) -> None:
    """KTO is lower everywhere, and loses less."""
    rates = {("kto", "clean"): 0.6, ("dpo", "clean"): 0.9, ("kto", "noisy"): 0.5, ("dpo", "noisy"): 0.4}
    rule = {"left": "kto", "right": "dpo", "must_be": "higher", "since": "clean"}
    found = result_of(study(claim=claim(rule)), tmp_path, rates).claim
    (one,) = found.rules
    assert one.value == pytest.approx((0.5 - 0.6) - (0.4 - 0.9))
    assert one.agrees == "yes"
    assert 'change of passes since "clean"' in one.text


def test_a_rule_about_what_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='no measure "lenght"'):
        result_of(study(claim=claim({**HIGHER, "measure": "lenght"})), tmp_path, ALL)
    methods = {"kto": {"loss": "kto"}, "dpo": {"loss": "dpo", "conditions": ["clean"]}}
    with pytest.raises(ConfigError, match='dpo is not run under "noisy"'):
        result_of(study(methods=methods, claim=claim({**HIGHER, "under": "noisy"})), tmp_path, ALL)
