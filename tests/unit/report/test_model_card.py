"""The model card: what a hub reads is valid and private names stay here; results carry intervals; nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_report import HOSTILE, config, demo_evaluation, provenance, rate, write_run

from prospect.cli.main import main
from prospect.model_card import BEGIN, END, Card, front_matter, is_hub_name, read_card
from prospect.report.run.model_card import write_model_card
from prospect.results.run import Provenance
from prospect.run_dir import RunDir

KTO = {"loss": {"name": "kto"}}
OF_TRAINING = Card(front_matter(KTO, Provenance()), ours="Trained by Prospect on 2400 examples.").text


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    found = RunDir(write_run(tmp_path / "run", evaluation=demo_evaluation()))
    found.model_path.mkdir()
    return found


def card_of(run: RunDir) -> str:
    path = write_model_card(run.path)
    assert path == run.model_path / "README.md"
    return path.read_text(encoding="utf-8")


def front_of(text: str) -> dict[str, Any]:
    assert text.startswith("---\n")
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def test_the_card_has_results_with_intervals_limits_and_the_recipe(run: RunDir) -> None:
    text = card_of(run)
    assert "# support-desk-1m, aligned with KTO" in text
    assert "| after | 83% | 79% to 87% | 400 |" in text
    assert "| win rate | 70% | 65% to 74% | 400 |" in text
    assert "The intervals cover the choice of prompts and samples, not another seed of training." in text
    assert "| AUROC | 0.500 | 0.849 |" in text
    assert "## Limits" in text and "the licence and the limits of its base, support-desk-1m" in text
    recipe = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert recipe["loss"] == {"name": "kto", "beta": 0.1} and recipe["data"]["train"] == "thumbs.jsonl"


def test_where_there_are_several_evaluations_each_number_says_of_which_it_is(run: RunDir) -> None:
    run.write_evaluation("contest", {"win_rate": {"rate": 0.5, "low": 0.4, "high": 0.6, "n": 90}})
    text = card_of(run)
    assert (
        "| demo: win rate | 70% | 65% to 74% | 400 |" in text
        and "| contest: win rate | 50% | 40% to 60% | 90 |" in text
    )


def test_what_the_page_warns_of_stands_under_limits(tmp_path: Path) -> None:
    run = RunDir(write_run(tmp_path / "run", chosen=-1.2, rejected=-1.8))
    run.model_path.mkdir()
    assert "- The rewards of both classes fall together." in card_of(run)


def test_no_folder_of_this_machine_is_in_the_card(run: RunDir) -> None:
    run.write_config(config("kto") | {"output": str(run.path), "model": {"name_or_path": "C:\\Users\\ann\\model"}})
    run.write_provenance(provenance("kto", 400, policy={"name_or_path": "/home/ann/secret/model", "identity": "ab"}))
    text = card_of(run)
    assert "/data/" not in text and "ann" not in text and "secret" not in text and str(run.path.parent) not in text
    assert "base_model" not in front_of(text) and "datasets" not in front_of(text)


def test_names_of_the_hub_are_in_the_front_matter() -> None:
    data = {"train": ["argilla/kto-mix-15k:train", "/data/own.jsonl", "data/more.jsonl", "argilla/kto-mix-15k"]}
    found = front_matter(
        {"model": {"name_or_path": "Qwen/Qwen3-0.6B", "lora": {"r": 8}}, "data": data, **KTO}, Provenance()
    )
    assert found.to_dict() == {
        "library_name": "peft",
        "base_model": "Qwen/Qwen3-0.6B",
        "datasets": ["argilla/kto-mix-15k"],
        "tags": ["prospect", "kto"],
    }


def test_a_loss_of_ones_own_is_a_tag_without_its_file() -> None:
    found = front_matter({"loss": {"name": "/home/ann/my_losses.py:my_loss"}}, Provenance())
    assert found.tags == ["prospect", "my_loss"]


def test_a_folder_with_the_name_of_a_hub_model_is_no_hub_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("models/mine")
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert not is_hub_name("models/mine")
    assert not is_hub_name("/models/mine") and not is_hub_name("data/train.jsonl") and not is_hub_name("a/b/c")


def test_the_card_of_training_is_replaced(run: RunDir) -> None:
    (run.model_path / "README.md").write_text(OF_TRAINING)
    text = card_of(run)
    assert "Trained by Prospect on" not in text and "base_model" not in front_of(text)


def test_writing_again_changes_nothing(run: RunDir) -> None:
    assert card_of(run) == card_of(run)


def test_what_a_person_wrote_is_kept(run: RunDir) -> None:
    path = run.model_path / "README.md"
    front, _, body = card_of(run).partition("tags:")
    path.write_text(
        f"{front}license: apache-2.0\ntags:{body}\n## Thanks\n\nTo all raters.\n".replace(BEGIN, f"Hi!\n\n{BEGIN}")
    )
    run.write_evaluation("more", {"hard": rate(3, 50)})
    text = card_of(run)
    assert front_of(text)["license"] == "apache-2.0"
    assert text.index("Hi!") < text.index(BEGIN) and text.index(END) < text.index("## Thanks\n\nTo all raters.")
    assert "| more: hard | 6% |" in text, "our part is new"
    assert card_of(run) == text


def test_text_below_the_card_of_training_is_kept(run: RunDir) -> None:
    (run.model_path / "README.md").write_text(f"{OF_TRAINING}\nMy own words.\n")
    assert card_of(run).rstrip().endswith("My own words.")


def test_hubs_read_the_held_out_results_and_those_of_others_stay(run: RunDir) -> None:
    path = run.model_path / "README.md"
    card_of(run)
    old = read_card(path)
    ours = {one.metric_type: one.metric_value for one in old.front.eval_results}
    assert ours["roc_auc"] == 0.8491 and all(one.dataset_name == "held-out feedback" for one in old.front.eval_results)
    theirs = replace(old.front.eval_results[0], dataset_name="GSM8K", dataset_type="gsm8k", metric_value=0.5)
    old.front.eval_results += [theirs]
    path.write_text(old.text)
    text = card_of(run)
    assert [one.dataset_name for one in read_card(path).front.eval_results].count("GSM8K") == 1
    assert card_of(run) == text


@pytest.mark.parametrize("front", ["a: [", "- list", "1: number", "model-index: 3", "x: " + "[" * 3000])
def test_front_matter_that_a_hub_refuses_costs_no_text(run: RunDir, front: str) -> None:
    (run.model_path / "README.md").write_text(f"---\n{front}\n---\n\nMine.\n\n{BEGIN}\n\nold\n\n{END}\n")
    text = card_of(run)
    assert front_of(text)["library_name"] == "transformers" and "Mine." in text and "\nold\n" not in text


def test_a_card_that_somebody_else_wrote_is_left_alone(run: RunDir) -> None:
    path = run.model_path / "README.md"
    path.write_text("# My model\n\nHand-made.\n")
    assert write_model_card(run.path) is None
    assert path.read_text() == "# My model\n\nHand-made.\n"


def test_without_a_model_there_is_no_card(tmp_path: Path) -> None:
    assert write_model_card(write_run(tmp_path / "run")) is None


def test_hostile_names_are_no_markup(run: RunDir) -> None:
    evaluation = demo_evaluation() | {"rules": {f"{HOSTILE}|`a`\n# [b](c)": demo_evaluation()["rules"]["is polite"]}}
    run.write_evaluation("demo", evaluation)
    run.write_provenance(provenance("kto", 400, policy={"name_or_path": f"/models/{HOSTILE}\n---"}))
    text = card_of(run)
    ours = text.partition(BEGIN)[2].partition("```yaml")[0]
    assert "<script>" not in ours and "&lt;script>" in ours
    assert "\\|\\`a\\` # \\[b\\](c)" in ours
    assert front_of(text)["tags"] == ["prospect", "kto"]


def test_a_recipe_with_fences_stays_inside_its_own(run: RunDir) -> None:
    run.write_config(config("kto") | {"note": "```\n<script>"})
    assert "````yaml\n" in card_of(run)


def test_the_command_writes_page_and_card(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run.path)]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(run.report_path)
    assert f"model card: {run.model_path / 'README.md'}" in said.err
    (run.model_path / "README.md").write_text("Hand-made.")
    assert main(["report", str(run.path)]) == 0
    assert "is left as it is" in capsys.readouterr().err
