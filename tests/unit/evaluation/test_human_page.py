"""The page on which people vote: blind, safe against the texts on it, whole in one file; and the votes read back."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from prospect.errors import DataError
from prospect.evaluation.contest.judges import Candidate, HumanJudge, Item, judge_named, write_page, write_thumbs_page
from prospect.evaluation.contest.judges.base import text_key
from prospect.feedback.records import Message

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u2028@@SCRIPT@@ <!--"


def items(count: int) -> list[Item]:
    return [Item(f"prompt {i}", f"ours {i}", f"theirs {i}") for i in range(count)]


class Page(HTMLParser):
    """The tags of a page and what its scripts and styles hold."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: dict[str, str] = {}
        self._open = ""
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = str(dict(attrs).get("id", tag)) if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.blocks[self._open] = self.blocks.get(self._open, "") + data

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.blocks["data"])


def make(tmp_path: Path, some: list[Item], **options: Any) -> Page:
    write_page(some, tmp_path / "page.html", **options)
    return Page(tmp_path / "page.html")


def save(path: Path, votes: dict[str, str], voter: str | None = None, saved: int = 1) -> Path:
    """As the page does; each file is another person's unless a voter is named."""
    about = {"format": "prospect-votes", "version": 1, "page": "x", "voter": voter or path.name, "saved": saved}
    path.write_text(json.dumps({**about, "votes": votes}))
    return path


def test_the_page_is_one_file_that_loads_nothing(tmp_path: Path):
    page = make(tmp_path, items(3))
    assert not [tag for tag, _ in page.tags if tag in ("link", "img", "iframe", "object", "base", "form")]
    assert not [attrs for _, attrs in page.tags if {"src", "href", "onclick"} & attrs.keys()]
    assert not re.search(r"https?:|//[a-z]", page.text)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert policy is not None and "default-src 'none'" in policy and "unsafe" not in policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.blocks[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_hostile_texts_stay_text(tmp_path: Path):
    plain = make(tmp_path, [Item("p", "a", "b")])
    page = make(tmp_path, [Item(HOSTILE, HOSTILE, HOSTILE + "!")], rubric=HOSTILE, title=HOSTILE)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert page.blocks["script"] == plain.blocks["script"]
    (row,) = page.data["items"]
    assert row["prompt"] == HOSTILE and {row["a"], row["b"]} == {HOSTILE, HOSTILE + "!"}
    assert html.escape(HOSTILE) in page.text
    assert "innerHTML" not in page.text and "insertAdjacent" not in page.text and "document.write" not in page.text


def test_neither_sides_nor_order_tell_whose_completion_it_is(tmp_path: Path):
    page = make(tmp_path, items(200))
    ours_left = sum(row["a"].startswith("ours") for row in page.data["items"])
    assert 70 < ours_left < 130
    order = [int(row["prompt"].split()[1]) for row in page.data["items"]]
    assert sorted(order) == list(range(200)) and order != sorted(order)
    assert set(page.data["items"][0]) == {"key", "prompt", "a", "b", "a_key", "b_key"}
    swapped = make(tmp_path, [item.mirrored() for item in items(200)])
    again = make(tmp_path, items(200))
    assert again.text == page.text
    assert {row["key"] for row in swapped.data["items"]} == {row["key"] for row in page.data["items"]}
    other = make(tmp_path, items(200), seed=1).data["items"]
    assert [row["key"] for row in other] != [row["key"] for row in page.data["items"]]


def test_a_page_of_thumbs_shows_one_completion_at_a_time(tmp_path: Path):
    rows = [Candidate(f"prompt {i}", HOSTILE + str(i)) for i in range(20)]
    assert write_thumbs_page([*rows, rows[3]], tmp_path / "page.html") == 20
    page = Page(tmp_path / "page.html")
    assert [attrs["data-vote"] for _, attrs in page.tags if "data-vote" in attrs] == ["up", "down", "skip"]
    assert [attrs["id"] for _, attrs in page.tags if attrs.get("class") == "text"] == ["prompt", "a"]
    assert page.data["what"] == "Completion" and "completions voted on" in page.text
    assert {row["key"]: row["a"] for row in page.data["items"]} == {
        text_key(*one.texts): one.completion for one in rows
    }
    order = [row["key"] for row in page.data["items"]]
    write_thumbs_page(rows, tmp_path / "other.html", seed=1)
    other = [row["key"] for row in Page(tmp_path / "other.html").data["items"]]
    assert order != other and sorted(order) == sorted(other)
    assert page.blocks["script"] == make(tmp_path, items(1)).blocks["script"]  # one script, whatever is voted on
    with pytest.raises(DataError, match="nothing to vote on"):
        write_thumbs_page([], tmp_path / "page.html")


def test_identical_completions_and_repeated_comparisons_are_not_asked(tmp_path: Path):
    some = [*items(2), items(2)[0], items(2)[1].mirrored(), Item("p", "same", "same")]
    assert write_page(some, tmp_path / "page.html") == 2
    with pytest.raises(DataError, match="nothing to vote on"):
        write_page([Item("p", "same", "same")], tmp_path / "page.html")


def test_conversations_are_shown_turn_by_turn(tmp_path: Path):
    turns = (Message("system", "Be brief."), Message("user", "Hi"))
    page = make(tmp_path, [Item(turns, (Message("assistant", "Hello"),), (Message("assistant", "Yo"),))])
    (row,) = page.data["items"]
    assert row["prompt"] == "[system]\nBe brief.\n\n[user]\nHi"
    assert {row["a"], row["b"]} == {"Hello", "Yo"}


def test_votes_are_read_back_whichever_side_they_were_on(tmp_path: Path):
    some = items(40)
    rows = make(tmp_path, some).data["items"]
    votes = {row["key"]: row["a_key"] if row["a"].startswith("ours") else row["b_key"] for row in rows}
    votes[rows[0]["key"]], votes[rows[1]["key"]] = "tie", "skip"
    judge = judge_named(f"human:{save(tmp_path / 'votes.json', votes)}")
    found = {item.prompt: verdict.choice for item, verdict in zip(some, judge.compare_many(some), strict=True)}
    assert found.pop(rows[0]["prompt"]) == "tie"
    assert found.pop(rows[1]["prompt"]) == "unparsed"
    assert set(found.values()) == {"first"}
    assert {v.choice for v in judge.compare_many([i.mirrored() for i in some[2:]])} <= {"second", "tie", "unparsed"}


@pytest.mark.parametrize(
    ("votes", "choice"),
    [
        (["first", "first", "second"], "first"),
        (["first", "second"], "tie"),
        (["tie", "tie", "second"], "tie"),
        (["skip", "second"], "second"),
        (["skip", "skip"], "unparsed"),
    ],
)
def test_of_several_people_the_most_frequent_vote_counts(tmp_path: Path, votes: list[str], choice: str):
    (item,) = items(1)
    (row,) = make(tmp_path, [item]).data["items"]
    keys = {"first": text_key(item.first), "second": text_key(item.second)}
    files = [save(tmp_path / f"votes-{i}.json", {row["key"]: keys.get(vote, vote)}) for i, vote in enumerate(votes)]
    judge = HumanJudge(files)
    assert judge.compare_many([item])[0].choice == choice
    assert judge_named(f"human:{tmp_path}/votes-*.json").identity == judge.identity


def test_who_saves_twice_has_one_vote(tmp_path: Path):
    """Two files of one person against one of another: the person with two files does not win by them."""
    one, other = items(2)
    rows = {row["prompt"]: row for row in make(tmp_path, [one, other]).data["items"]}
    keys = [rows[item.prompt]["key"] for item in (one, other)]
    early = {keys[0]: text_key(one.first)}
    save(tmp_path / "votes-a.json", {**early, keys[1]: text_key(other.first)}, voter="a", saved=2)
    save(tmp_path / "votes-a (1).json", early, voter="a", saved=1)
    save(tmp_path / "votes-b.json", {keys[0]: text_key(one.second)}, voter="b")
    judge = judge_named(f"human:{tmp_path}/votes-*.json")
    assert [verdict.choice for verdict in judge.compare_many([one, other])] == ["tie", "first"]
    # Who thought again and saved again is taken at the last word, whatever the files are called.
    save(tmp_path / "votes-0.json", {keys[0]: text_key(one.second), keys[1]: "tie"}, voter="a", saved=3)
    again = judge_named(f"human:{tmp_path}/votes-*.json")
    assert [verdict.choice for verdict in again.compare_many([one, other])] == ["second", "tie"]
    assert again.identity != judge.identity


@pytest.mark.parametrize("missing", ["voter", "saved"])
def test_votes_of_nobody_knows_whom_are_refused(tmp_path: Path, missing: str):
    path = save(tmp_path / "votes.json", {"a": "tie"})
    path.write_text(
        json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != missing})
    )
    with pytest.raises(DataError, match="count twice"):
        HumanJudge(path)


def test_what_nobody_came_to_is_not_covered(tmp_path: Path):
    first, second = items(2)
    rows = {row["prompt"]: row for row in make(tmp_path, [first, second]).data["items"]}
    judge = HumanJudge(save(tmp_path / "votes.json", {rows["prompt 0"]["key"]: "tie"}))
    assert judge.covers(first) and judge.covers(first.mirrored()) and not judge.covers(second)
    with pytest.raises(DataError, match="no vote on the comparison"):
        judge.compare_many([second])


def test_a_vote_for_another_completion_is_refused(tmp_path: Path):
    (item,) = items(1)
    (row,) = make(tmp_path, [item]).data["items"]
    judge = HumanJudge(save(tmp_path / "votes.json", {row["key"]: "0" * 32}))
    with pytest.raises(DataError, match="neither of its completions"):
        judge.compare_many([item])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "no JSON"),
        ("[]", "no votes in it"),
        ('{"votes": {"a": "tie"}}', "no votes in it"),
        ('{"format": "prospect-votes", "votes": {"a": 1}}', "no votes in it"),
        ('{"format": "prospect-votes", "votes": {}}', "nobody has voted"),
    ],
)
def test_a_file_without_votes_is_refused(tmp_path: Path, content: str, message: str):
    (tmp_path / "votes.json").write_text(content)
    with pytest.raises(DataError, match=message):
        HumanJudge(tmp_path / "votes.json")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="cannot be read"):
        HumanJudge(tmp_path / "absent.json")


# Presses keys as a person would, and leaves on the page what would have been saved.
DRIVER = """
const seen = [];
URL.createObjectURL = (blob) => { window.blob = blob; return "blob:x"; };
HTMLAnchorElement.prototype.click = function () { window.named = this.download; };
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
const text = (id) => document.getElementById(id).textContent;
const look = () => seen.push(["prompt", "a", "b", "where"].map(text));
look(); press("1"); look(); press("2"); press("3"); press("4"); look(); press("ArrowLeft"); press("1"); press("s");
window.blob.text().then((saved) => {
  const out = document.createElement("pre");
  out.id = "out";
  const kept = Object.keys(localStorage).filter((key) => key.endsWith("-voter")).map((key) => localStorage[key]);
  out.textContent = JSON.stringify({ seen, saved: JSON.parse(saved), named: window.named, kept });
  document.body.append(out);
});
"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_keyboard_votes_in_a_browser(tmp_path: Path):
    some = [*items(3), Item(HOSTILE, HOSTILE, HOSTILE + "!")]
    page = make(tmp_path, some)
    # The page's own rules would keep the driver out, as they should; here they are lifted for it.
    driven = re.sub(r"<meta http-equiv[^>]*>", "", page.text).replace("</body>", f"<script>{DRIVER}</script></body>")
    (tmp_path / "driven.html").write_text(driven, encoding="utf-8")
    shown = browse(tmp_path, "driven.html")
    out = re.search(r'<pre id="out">(.*?)</pre>', shown, flags=re.S)
    assert out is not None, shown[-3000:]
    found = json.loads(html.unescape(out[1]))
    rows = page.data["items"]
    texts = [[row[name] for name in ("prompt", "a", "b")] for row in rows]
    assert found["seen"][0] == [*texts[0], "Comparison 1 of 4, 0 voted on."]
    assert found["seen"][1] == [*texts[1], "Comparison 2 of 4, 1 voted on."]
    assert found["seen"][2][3] == "Comparison 4 of 4, 4 voted on. All done: save the votes to a file."
    expected = {rows[0]["key"]: rows[0]["a_key"], rows[1]["key"]: rows[1]["b_key"], rows[3]["key"]: "skip"}
    assert found["saved"]["votes"] == {**expected, rows[2]["key"]: rows[2]["a_key"]}
    voter = found["saved"]["voter"]
    assert re.fullmatch("[0-9a-f]{12}", voter) and found["kept"] == [voter] and found["saved"]["saved"] > 1.7e12
    assert found["named"] == f"votes-{page.data['page']}-{voter}.json"
    (tmp_path / "votes.json").write_text(json.dumps(found["saved"]))
    assert HumanJudge(tmp_path / "votes.json").covers(some[3])
    # Another browser is another voter. (Whether this one stays the same is in what it kept, above.)
    elsewhere = browse(tmp_path, "driven.html", profile="other")
    assert voter not in elsewhere and '"voter"' in html.unescape(elsewhere)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_keyboard_gives_thumbs_in_a_browser(tmp_path: Path):
    rows = [Candidate(f"prompt {i}", f"text {i}") for i in range(4)]
    write_thumbs_page(rows, tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    driver = DRIVER.replace('"a", "b", "where"', '"a", "where"')
    driven = re.sub(r"<meta http-equiv[^>]*>", "", page.text).replace("</body>", f"<script>{driver}</script></body>")
    (tmp_path / "driven.html").write_text(driven, encoding="utf-8")
    out = re.search(r'<pre id="out">(.*?)</pre>', browse(tmp_path, "driven.html"), flags=re.S)
    assert out is not None
    found, keys = json.loads(html.unescape(out[1])), [row["key"] for row in page.data["items"]]
    # 1, 2, 3, then 4, which is no vote here; back, and 1.
    assert found["saved"]["votes"] == {keys[0]: "up", keys[1]: "down", keys[2]: "up"}
    (tmp_path / "votes.json").write_text(json.dumps(found["saved"]))
    judge = HumanJudge(tmp_path / "votes.json")
    by_key = {text_key(*row.texts): row for row in rows}
    assert judge.score_many([by_key[key] for key in keys[:3]]) == [1.0, 0.0, 1.0]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_runs_under_its_own_rules(tmp_path: Path):
    page = make(tmp_path, [Item(HOSTILE, HOSTILE, HOSTILE + "!")])
    shown = browse(tmp_path, "page.html")
    assert "Comparison 1 of 1, 0 voted on." in shown  # the script ran
    assert [tag for tag, _ in page.tags].count("img") == shown.count("<img") == 0


def browse(folder: Path, name: str, profile: str = "profile") -> str:
    """The page as it stands after its scripts ran."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    settings = ["--virtual-time-budget=2000", f"--user-data-dir={folder / profile}"]
    done = subprocess.run([*command, *settings, f"file://{folder / name}"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
