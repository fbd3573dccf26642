"""What a model's name stands for, found without weights and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prospect.errors import CheckpointError, ModelError
from prospect.model_source import find_model


def make(folder: Path, **files: Any) -> Path:
    """A folder with files of these names, `__` for a dot: JSON where a value is given, else empty."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text("" if content is None else json.dumps(content))
    return folder


def make_model(folder: Path, context: int = 64) -> Path:
    return make(folder, config__json={"max_position_embeddings": context}, model__safetensors=None)


def make_adapter(folder: Path, base: str | Path) -> Path:
    config = {"base_model_name_or_path": str(base), "peft_type": "LORA"}
    return make(folder, adapter_config__json=config, adapter_model__safetensors=None)


def make_run(folder: Path, adapter_on: Path | None = None) -> Path:
    make(folder, config__yaml={})
    if adapter_on is not None:
        make_adapter(folder / "model", adapter_on)
    else:
        make_model(folder / "model")
    return folder


# -- kinds --


def test_folders_runs_adapters_and_gguf_are_told_apart(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base)
    run, lora_run = make_run(tmp_path / "run"), make_run(tmp_path / "lora", base)
    file = make(tmp_path / "gguf", m__gguf=None) / "m.gguf"
    found = {path.name: find_model(path) for path in (base, adapter, run, lora_run, file, file.parent)}
    assert {name: source.kind for name, source in found.items()} == {
        "base": "model",
        "adapter": "adapter",
        "run": "model",
        "lora": "adapter",
        "m.gguf": "gguf",
        "gguf": "gguf",
    }
    assert [found[name].run for name in ("base", "run", "lora")] == [None, run, lora_run]
    assert found["lora"].place == str(lora_run / "model")
    assert found["gguf"].gguf == found["m.gguf"].gguf == "m.gguf"
    for name in ("adapter", "lora"):
        assert found[name].root.place == str(base)
    assert found["base"].loadable == str(base)
    assert found["adapter"].loadable is found["gguf"].loadable is None
    assert str(found["lora"]) == f"run {lora_run}, an adapter on {base}"
    assert str(found["m.gguf"]) == f"{file}, dequantised from GGUF"


def test_safetensors_win_over_gguf_files_beside_them(tmp_path: Path) -> None:
    folder = make(make_model(tmp_path / "m"), a__gguf=None, b__gguf=None)
    assert find_model(folder).kind == "model"
    assert find_model(folder / "a.gguf").kind == "gguf"


def test_a_hub_name_stays_one_and_may_be_that_of_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_model("owner/model").loadable == "owner/model"
    base = make_model(tmp_path / "base")
    snapshot = tmp_path / "hub" / "models--owner--lora" / "snapshots" / "abc"
    make_adapter(snapshot, base)
    refs = tmp_path / "hub" / "models--owner--lora" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    found = find_model("owner/lora")
    assert (found.kind, found.place, found.root.place) == ("adapter", "owner/lora", str(base))


# -- where an adapter's base is --


@pytest.mark.parametrize("cwd", ["project", "elsewhere"])
def test_a_relative_base_is_found_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cwd: str) -> None:
    """It was relative to the directory that the adapter was trained in, or to the adapter."""
    base = make_model(tmp_path / "project" / "models" / "base")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / cwd)
    for number, path in enumerate(("models/base", "./models/base", "../../../models/base")):
        adapter = make_adapter(tmp_path / "project" / "runs" / f"sft{number}" / "model", path)
        assert Path(find_model(adapter).root.place).resolve() == base


def test_a_base_beside_the_adapter_is_found_after_both_were_moved(tmp_path: Path) -> None:
    base = make_model(tmp_path / "now" / "base")
    adapter = make_adapter(tmp_path / "now" / "model", "/then/base")
    assert find_model(adapter).root.place == str(base)


def test_a_base_may_be_a_run_or_an_adapter_itself(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base")
    run = make_run(tmp_path / "run", base)
    top = find_model(make_adapter(tmp_path / "top", run))
    assert [source.kind for source in top.chain] == ["adapter", "adapter", "model"]


def test_a_base_that_is_not_there_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "a", "/no/such/base")
    with pytest.raises(
        ModelError, match=r"its base model /no/such/base is not there \(looked at /no/such/base, .*/base\)"
    ):
        find_model(adapter)
    assert find_model(make_adapter(tmp_path / "b", "owner/base")).root.place == "owner/base"  # a name of the hub


def test_a_circle_of_adapters_ends(tmp_path: Path) -> None:
    make_adapter(tmp_path / "a", tmp_path / "b")
    make_adapter(tmp_path / "b", tmp_path / "a")
    with pytest.raises(ModelError, match="in a circle"):
        find_model(tmp_path / "a")


# -- what is refused --


def test_a_run_without_a_finished_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the run has no model/ yet\. Let it finish \(prospect train"):
        find_model(make(tmp_path / "run", config__yaml={}))


def test_several_gguf_files_are_a_choice_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds 2 GGUF files \(a\.gguf, b\.gguf\)\. Name one of them"):
        find_model(make(tmp_path / "m", a__gguf=None, b__gguf=None))


@pytest.mark.parametrize("name", ["none.gguf", "./none/model.gguf"])
def test_a_gguf_file_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"^{name}: there is no such GGUF file"):
        find_model(name)


def test_another_file_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"^weights: a file; expected a model's folder"):
        find_model("weights")


def test_an_adapter_in_pickle_is_refused(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "a", make_model(tmp_path / "base"))
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"without adapter_model\.safetensors\. Weights in a \.bin file are pickle"):
        find_model(adapter)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "cannot be read as JSON"), ("[]", "holds list; expected an object"), ("{}", "names no base model")],
)
def test_a_broken_adapter_config_is_refused(tmp_path: Path, content: str, message: str) -> None:
    adapter = make_adapter(tmp_path / "a", "x/y")
    (adapter / "adapter_config.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        find_model(adapter)


# -- what else is known without weights --


def test_the_context_is_read_from_the_root_and_from_text_configurations(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", context=77)
    assert find_model(make_adapter(tmp_path / "a", base)).context == 77
    assert find_model(make(tmp_path / "t", config__json={"text_config": {"max_position_embeddings": 5}})).context == 5
    assert find_model(make(tmp_path / "n", config__json={})).context is None
    (tmp_path / "n" / "config.json").write_text("{")
    assert find_model(tmp_path / "n").context is None


def test_the_tokenizer_is_the_adapters_own_or_else_its_bases(tmp_path: Path) -> None:
    base = make(make_model(tmp_path / "base"), tokenizer__json={})
    adapter = make_adapter(tmp_path / "a", base)
    assert find_model(adapter).tokenizer.place == str(base)
    make(adapter, tokenizer_config__json={})
    assert find_model(adapter).tokenizer.place == str(adapter)


def test_finding_a_model_starts_without_torch(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "a", make_model(tmp_path / "base"))
    look = f"from prospect.model_source import find_model; find_model({str(adapter)!r}).context"
    code = f"import sys; {look}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_a_pipeline_makes_images_and_an_adapter_of_diffusers_names_no_base(tmp_path: Path) -> None:
    pipeline = make(tmp_path / "pipeline", model_index__json={"_class_name": "StableDiffusionPipeline"})
    assert find_model(pipeline).kind == "pipeline"
    run = make(tmp_path / "run", config__yaml={})
    make(run / "model", model_index__json={})
    assert (find_model(run).kind, find_model(run).run) == ("pipeline", run)
    adapter = make(tmp_path / "adapter", pytorch_lora_weights__safetensors=None)
    with pytest.raises(ModelError, match=r"adapter of diffusers.*Name the pipeline"):
        find_model(adapter)
