"""Uploads to a hub that only notes down: what goes out, what stays, and when nothing goes out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from huggingface_hub.errors import RepositoryNotFoundError

import prospect
from conftest import make_model, thumbs, write_rows
from prospect.cli.main import main
from prospect.errors import ModelError, ProspectError


class FakeHub:
    """Notes what it is asked; a repository that was there is public."""

    def __init__(self, there: bool) -> None:
        self.there, self.private, self.made, self.sent = there, False, [], {}  # type: ignore[var-annotated]

    def create_repo(self, repo: str, private: bool, exist_ok: bool) -> str:
        self.made.append(repo)
        self.private = private and not self.there
        return f"https://huggingface.co/{repo}"

    def repo_info(self, repo: str) -> Any:
        if not (self.there or self.made):
            raise RepositoryNotFoundError(
                "404", response=httpx.Response(404, request=httpx.Request("GET", "https://h"))
            )
        return SimpleNamespace(private=self.private)

    def upload_folder(self, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str) -> None:
        self.sent = {name: (Path(folder_path) / name).read_bytes() for name in allow_patterns}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(there=False)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: fake)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    return fake


@pytest.fixture
def model(tmp_path: Path, tokenizer: Any) -> Path:
    """A model's folder in which other things lie."""
    folder = tmp_path / "model"
    make_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n\nA card.\n")
    for name in (
        "metrics.jsonl",
        "feedback.json",
        "config.yaml",
        "pytorch_model.bin",
        ".env",
        "notes.txt",
        "train.log",
    ):
        (folder / name).write_text("mine")
    return folder


def test_weights_tokenizer_and_card_go_out_and_nothing_else(
    hub: FakeHub, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(model), "me/aligned"]) == 0
    out = capsys.readouterr()
    assert set(hub.sent) == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert hub.private and hub.made == ["me/aligned"]
    assert not any(str(model.parent).encode() in content for content in hub.sent.values())  # nor where they lay
    said = out.out + out.err
    assert "https://huggingface.co/me/aligned" in said and "hf_secret" not in said
    assert "stays here: .env, config.yaml, feedback.json, metrics.jsonl, notes.txt, pytorch_model.bin" in said


def test_a_dry_run_needs_no_token_and_sends_nothing(
    hub: FakeHub, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert main(["push", str(model), "me/aligned", "--dry-run"]) == 0
    out = capsys.readouterr()
    assert "model.safetensors" in out.out + out.err and "would upload 7 files" in out.out + out.err
    assert main(["push", str(model), "me/aligned"]) == 2
    assert "nobody is logged in to the hub. Run hf auth login" in capsys.readouterr().err
    assert hub.made == [] and hub.sent == {}


@pytest.mark.parametrize("what", ["public", "base", "name", "hub", "empty"])
def test_what_may_not_or_cannot_go_out_is_refused(
    hub: FakeHub, model: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.there = what == "public"
    name, repo = str(model), "aligned" if what == "name" else "me/aligned"
    if what == "base":
        (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model.parent / "base")}))
        (model / "config.json").unlink()
        (model / "model.safetensors").rename(model / "adapter_model.safetensors")
        (model.parent / "base").mkdir()
        (model.parent / "base" / "config.json").write_text("{}")
    if what == "hub":
        name = "owner/name"
    if what == "empty":
        (model / "model.safetensors").unlink()
    assert main(["push", name, repo]) in (1, 2)
    assert {
        "public": "there already, and public, and what is uploaded is to be private",
        "base": "a folder of this machine, which nobody else could load it on. Upload the whole model (prospect merge",
        "name": "repo is 'aligned'; input should be OWNER/NAME, the name of a repository",
        "hub": "expected a run directory, an adapter's or a model's folder of this machine",
        "empty": "holds no safetensors",
    }[what] in capsys.readouterr().err
    assert hub.sent == {}


def test_a_finished_run_goes_out_private_with_its_last_card(
    hub: FakeHub, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    rows = write_rows(tmp_path / "thumbs.jsonl", thumbs(24))
    settings = ["train.batch_size=12", "train.samples=0", "push_to_hub=me/aligned"]
    command = ["train", "kto", "--model", str(model_path), "--data", str(rows), "--output", str(tmp_path / "out")]
    assert main([*command, "--set", *settings]) == 0
    assert hub.private and hub.made == ["me/aligned"] and "model.safetensors" in hub.sent
    assert hub.sent["README.md"] == (tmp_path / "out" / "model" / "README.md").read_bytes()
    assert b"push_to_hub" not in hub.sent["README.md"]  # whoever runs it again owns another repository
    assert not {"config.yaml", "metrics.jsonl", "provenance.json"} & hub.sent.keys()
    sent, hub.sent = hub.sent, {}
    pushed = prospect.push(tmp_path / "out", "me/other", private=False)
    assert hub.sent == sent and not hub.private
    assert pushed.address.endswith("me/other") and set(pushed.upload.files) == sent.keys()

    def full(**_: Any) -> None:
        raise OSError("the hub is full")

    monkeypatch.setattr(hub, "upload_folder", full)
    hub.private = True
    message = r"not uploaded \(the hub is full\)\. The run is finished.*: prospect push \S+ me/al"
    with pytest.raises(ModelError, match=message):
        prospect.train(tmp_path / "out" / "config.yaml", resume=True, quiet=True)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("token", r"nobody is logged in to the hub"),
        ("offline", r"me/aligned: HF_HUB_OFFLINE is set, so nothing can be uploaded"),
        ("name", r"push_to_hub\.repo is 'aligned'; input should be OWNER/NAME"),
        ("no name", r"push_to_hub\.repo is missing"),
        ("public", r"me/aligned: there already, and public"),
        ("adapter", r"an adapter on \S+ would go there, which nobody else could load it on"),
    ],
)
def test_a_run_that_could_not_be_uploaded_is_not_begun(
    hub: FakeHub, recipe: Any, model_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, message: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: what == "offline")
    if what == "token":
        monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    hub.there = what == "public"
    target: Any = {"name": "aligned", "no name": True}.get(what, "me/aligned")
    model = {"name_or_path": str(model_path), "lora": {"r": 2} if what == "adapter" else None}
    values = recipe("kto", thumbs(12), model=model) | {"push_to_hub": target}
    with pytest.raises(ProspectError, match=message):
        prospect.train(values, quiet=True)
    assert hub.made == [] and not (Path(values["output"]) / "config.yaml").exists()
