"""`prospect collect` on a store of a few turns."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from collecting import NOW, a_turn, a_vote, fill, with_store
from prospect.cli.main import main
from prospect.collect.database import Database
from prospect.collect.keys import StoredKeys
from prospect.collect.review import Queue, Review
from prospect.collect.store import Store
from prospect.feedback.files.sources import load_feedback


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store of ten turns of which six have a vote, as the usual store of the commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROSPECT_RATER_KEY", "the key of the tests")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    turns = [a_turn([{"role": "user", "content": f"Number {i}?"}], rater=f"r{i}") for i in range(10)]
    votes = [a_vote(turn, -1 if i % 3 else 1, rater=turn.rater) for i, turn in enumerate(turns[:6])]
    with_store("store.sqlite", lambda store: fill(store, *turns, *votes))
    return tmp_path


def out(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_an_export_says_what_became_of_the_votes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "export", "-o", "rows.jsonl", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["kept"] == 6 and "kept     6  2 desirable, 4 undesirable, 6 raters" in said.err
    assert [row.desirable for row in load_feedback("rows.jsonl")] == [
        row.desirable for row in load_feedback("store.sqlite")
    ]
    assert main(["collect", "export", "--dry-run", "--since", "2030-01-01"]) == 1
    assert "none of the 0 can be used" in capsys.readouterr().err


def test_stats_give_each_share_its_interval(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "stats", "--json"]) == 0
    (model,) = out(capsys)["models"]
    assert (model["turns"], model["consented"], model["voted"], model["up"], model["down"]) == (10, 10, 6, 2, 4)
    assert model["coverage"]["rate"] == 0.6 and model["up_share"]["n"] == 6
    assert model["up_share"]["low"] < 1 / 3 < model["up_share"]["high"]
    assert main(["collect", "stats"]) == 0
    assert "  with a vote   6: 60.0% (26.2% to 87.8%)" in capsys.readouterr().out
    for share, asked, others in (("100%", "33.3%", "none"), ("0%", "none", "33.3%")):
        assert main(["collect", "stats", "--ask", share]) == 0
        said = capsys.readouterr().out
        assert f"    not asked   {others}" in said and f"    asked       {asked}" in said
    assert main(["collect", "stats", "--tenant", "other"]) == 0
    assert capsys.readouterr().out == "no turns\n"


def test_the_review_is_counted_and_its_majority_exported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def review(store: Store) -> None:
        for number in range(3):
            for name in ("ada", "bob"):
                queue = Queue(store, "main", name)
                turn = await queue.open("random", NOW)
                assert turn is not None
                verdict = -1 if number else 1
                await queue.decide(Review(turn=turn.id, tenant="main", reviewer=name, verdict=verdict, at=NOW))

    with_store("store.sqlite", review)
    assert main(["collect", "review", "--json"]) == 0
    found = out(capsys)
    assert (found["turns"], found["good"], found["bad"], found["reviewers"]) == (3, 2, 4, 2)
    assert found["waiting"]["random"] == 7 and found["among_reviewers"]["kappa"]["value"] == 1
    assert main(["collect", "review", "--reviewers", "3"]) == 0
    said = capsys.readouterr().out
    assert "  random        10\n" in said and "  verdicts      2 good, 4 bad; 0 passed over\n" in said
    assert "agree on 100.0% (29.2% to 100.0%) of 3 answers; kappa 1.00" in said
    assert main(["collect", "export", "--reviewed", "-o", "rows.jsonl"]) == 0
    assert sorted(row.desirable for row in load_feedback("rows.jsonl")) == [False, False, True]
    assert {row.source for row in load_feedback("rows.jsonl")} == {"prospect-review"}


def test_a_purge_names_files_and_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "export", "-o", "rows.jsonl"]) == 0
    run = folder / "runs" / "it"
    run.mkdir(parents=True)
    files = {"store.sqlite": {"sha256": "of that day"}}
    (run / "provenance.json").write_text(json.dumps({"data": {"train": {"files": files}}}))
    capsys.readouterr()
    assert main(["collect", "purge", "--rater", "r1", "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (result["turns"], result["votes"]) == (1, 1)
    assert [export["path"] for export in result["exports"]] == [str(folder / "rows.jsonl")]
    assert result["runs"] == [{"path": "runs/it", "used_as": ["train"]}]
    assert "rows.jsonl: holds rows of them; remove those with `prospect data purge`" in said.err
    assert main(["collect", "purge", "--older-than", "1", "--reason", "retention"]) == 0
    assert main(["collect", "purge", "--older-than", "0"]) == 2
    capsys.readouterr()
    assert main(["collect", "stats"]) == 0
    assert "text erased     1 turns, by rater\n" in capsys.readouterr().out


def test_retention_is_said_set_and_taken_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, days in ((["--days", "90"], 90), ([], 90), (["--days", "off"], None)):
        assert main(["collect", "retention", *arguments, "--json"]) == 0
        assert out(capsys) == {"tenant": "main", "days": days}
    assert main(["collect", "retention", "--days", "0"]) == 2


@pytest.mark.parametrize("place", [[], ["--file", "keys.json"]])
def test_a_key_is_shown_once_listed_and_revoked(
    folder: Path, capsys: pytest.CaptureFixture[str], place: list[str]
) -> None:
    assert main(["collect", "keys", *place, "--add", "shop", "--tenant", "acme", "--scopes", "vote"]) == 0
    said = capsys.readouterr()
    secret = said.out.strip()
    assert secret.startswith("pk-") and secret not in said.err
    assert main(["collect", "keys", *place, "--json"]) == 0
    assert out(capsys) == [{"name": "shop", "tenant": "acme", "scopes": ["vote"]}]
    assert main(["collect", "keys", *place, "--revoke", "shop"]) == 2  # of another tenant
    assert main(["collect", "keys", *place, "--revoke", "shop", "--tenant", "acme"]) == 0
    capsys.readouterr()
    assert main(["collect", "keys", *place, "--json"]) == 0
    assert out(capsys) == []
    assert main(["collect", "keys", *place, "--add", "x", "--scopes", "root"]) == 2


def test_tokens_get_a_new_key(folder: Path) -> None:
    path = folder / "config" / "prospect" / "vote_keys"
    for count in (2, 3, 3):
        assert main(["collect", "keys", "--rotate-tokens"]) == 0
        assert len(path.read_text().split()) == count


def test_a_copy_can_be_used_and_never_replaces_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "backup", "-o", "copy.sqlite"]) == 0
    assert main(["collect", "export", "--db", "copy.sqlite", "-o", "rows.jsonl"]) == 0
    assert main(["collect", "backup", "-o", "copy.sqlite"]) == 1
    assert "copy.sqlite: is there already" in capsys.readouterr().err


def test_a_store_is_made_by_migrate_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "stats", "--db", "new.sqlite"]) == 1
    assert not Path("new.sqlite").exists()
    assert main(["collect", "migrate", "--db", "new.sqlite"]) == 0
    assert "has the newest schema now" in capsys.readouterr().err
    assert main(["collect", "migrate", "--db", "new.sqlite"]) == 0
    assert "had the newest schema already" in capsys.readouterr().err
    database = Database("new.sqlite")
    assert StoredKeys(database).all() == []
    database.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export"], "-o OUT.jsonl says where the feedback goes"),
        (["export", "-o", "x.jsonl", "--share", "0"], "--share 0.0: expected a number above 0"),
        (["export", "-o", "x.jsonl", "--duplicates", "-1"], "--duplicates -1: expected 0, for no limit, or more"),
        (["export", "-o", "x.jsonl", "--since", "yesterday"], "--since yesterday: expected a date or time"),
        (["export", "-o", "x.jsonl", "--regenerated", "0.5"], "expected a number between 0 and 1, with pairs"),
        (
            ["export", "-o", "x.jsonl", "--reviewed", "--corrections"],
            "do not go into one file",
        ),
        (["review", "--limit", "0"], "--limit 0: expected at least 1"),
        (["review", "--margin", "no/such/run"], "no/such/run"),
        (["purge", "--rater", "r1", "--runs", "nowhere"], "nowhere: no such folder of runs"),
    ],
)
def test_wrong_usage_is_answered_before_anything_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = Path("store.sqlite").read_bytes()
    assert main(["collect", *arguments]) in (1, 2)
    assert message in capsys.readouterr().err
    assert Path("store.sqlite").read_bytes() == before and not Path("x.jsonl").exists()


def test_a_library_that_is_missing_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("prospect.collect."):
            raise ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["collect", "stats"]) == 2
    said = capsys.readouterr().err
    assert (
        "prospect collect stats needs sqlalchemy, which is not installed: pip install 'prospect-align[serve]'" in said
    )


def test_a_store_can_be_trained_on(folder: Path, model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "kto", "--model", str(model_path), "--data", "store.sqlite", "--output", "out", "--json"]
    assert main([*command, "--set", "train.batch_size=4", "train.samples=0"]) == 0
    provenance = json.loads(Path("out/provenance.json").read_text())
    assert list(provenance["data"]["train"]["files"]) == ["store.sqlite"]
    assert provenance["data"]["train"]["rows"] == 6
