"""Judges of images: functions, files of scores, people; what a contest of images says, and what is refused."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from pictures import save_picture, write_rows
from prospect.errors import DataError, UsageError
from prospect.evaluation.contest.judged import judge_completions
from prospect.evaluation.contest.judges import HumanJudge, Item, judge_named, write_page, write_thumbs_page
from prospect.evaluation.contest.judges.base import Candidate, text_key
from prospect.evaluation.contest.judges.human_page import pair_key
from prospect.evaluation.contest.median import median_items
from prospect.evaluation.contest.sides import Judging
from prospect.feedback.images.opening import describe_image, read_bytes
from prospect.feedback.records import Image
from prospect.rounds.label_file import label_file

RED_WINS = "def red(prompt, completion):\n    return completion.convert('RGB').resize((1, 1)).getpixel((0, 0))[0]\n"


def plain(path: Path, red: int, green: int = 0) -> Image:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (8, 8), (red, green, 0)).save(path)
    return describe_image(read_bytes(path, "image"), "image", path=path)


def side(folder: Path, name: str, reds: list[list[int]], **columns: list[list[Any]]) -> Path:
    """A file of images of p0, p1, ..., as redness and further columns have them."""
    rows = []
    for i, of_prompt in enumerate(reds):
        for j, red in enumerate(of_prompt):
            plain(folder / name / f"{i}-{j}.png", red, j)
            more = {column: values[i][j] for column, values in columns.items()}
            rows.append({"prompt": f"p{i}", "image": f"{name}/{i}-{j}.png", **more})
    return write_rows(folder / f"{name}.jsonl", rows)


def own(folder: Path, text: str = RED_WINS, name: str = "red") -> str:
    (folder / "rule.py").write_text(text)
    return f"{folder / 'rule.py'}:{name}"


def test_a_function_of_ones_own_gets_the_picture_and_decides_the_contest(tmp_path: Path):
    ours, theirs = side(tmp_path, "ours", [[9], [9], [1], [5]]), side(tmp_path, "theirs", [[1], [2], [3], [5]])
    found = judge_completions(ours, None, judge_named(own(tmp_path)), theirs)
    assert (found.wins, found.losses, found.ties, found.n) == (2, 1, 1, 4)
    assert found.win_rate.rate == 2.5 / 4
    assert found.our_texts is found.their_texts is found.length_controlled is None
    assert (found.scores.ours.value, found.scores.theirs.value, found.scores.change.n) == (19 / 3, 2, 3)
    assert not found.samples
    assert (found.entries[0].our_image, found.pictures[0].ours[0]) == (str(tmp_path / "ours" / "0-0.png"),) * 2
    assert [one.verdicts for one in found.pictures] == [["win"], ["win"], ["loss"], ["tie"]]


def test_the_pictures_of_a_result_are_beside_it_whatever_becomes_of_the_sides(tmp_path: Path):
    ours, theirs = side(tmp_path, "ours", [[9, 8]]), side(tmp_path, "theirs", [[1, 2]])
    how = Judging(keep=tmp_path / "found" / "contest")
    (tmp_path / "found").mkdir()
    found = judge_completions(ours, None, judge_named(own(tmp_path)), theirs, how=how)
    (one,) = found.pictures
    for name, source in zip(one.ours + one.theirs, ("ours/0-0", "ours/0-1", "theirs/0-0", "theirs/0-1"), strict=True):
        assert (tmp_path / "found" / name).read_bytes() == (tmp_path / f"{source}.png").read_bytes()
    again = judge_completions(ours, None, judge_named(own(tmp_path)), theirs, how=how)
    assert again.calls.calls == 0
    assert again.scores == found.scores


def test_a_function_may_compare_two_pictures(tmp_path: Path):
    text = "def redder(prompt, first, second):\n    return first.getpixel((0, 0))[0] - second.getpixel((0, 0))[0]\n"
    items = [Item("p", plain(tmp_path / "a.png", 3), plain(tmp_path / "b.png", 7))]
    assert judge_named(own(tmp_path, text, "redder")).compare_many(items)[0].choice == "second"


def test_the_data_s_own_images_are_the_other_side_where_none_is_named(tmp_path: Path):
    data = side(tmp_path, "data", [[1, 9], [2, 0]], label=[[True, False], [True, False]])
    ours = side(tmp_path, "ours", [[3], [4]])
    found = judge_completions(ours, data, judge_named(own(tmp_path)))
    assert (found.wins, found.n) == (2, 2)


def test_scores_of_a_file_are_found_by_content_wherever_the_image_lies(tmp_path: Path):
    items = [Item("p", plain(tmp_path / "a.png", 3), plain(tmp_path / "b.png", 7))]
    for name, score in (("a", 0.5), ("b", 0.25)):
        (tmp_path / f"{name}-elsewhere").mkdir()
        (tmp_path / f"{name}.png").rename(tmp_path / f"{name}-elsewhere" / "x.png")
        write_rows(tmp_path / f"{name}.jsonl", [{"prompt": "p", "image": f"{name}-elsewhere/x.png", "score": score}])
    judge = judge_named(f"scores:{tmp_path}/?.jsonl")
    assert judge.compare_many(items)[0].choice == "first"
    assert judge.score("p", items[0].first) == 0.5


def test_a_comparison_without_scores_on_both_sides_is_not_judged(tmp_path: Path):
    ours = side(tmp_path, "ours", [[1], [2]], score=[[0.1], [0.9]])
    theirs = side(tmp_path, "theirs", [[3], [4]], score=[[0.5], [None]])
    found = judge_completions(ours, None, judge_named(f"scores:{tmp_path}/*.jsonl"), theirs)
    assert (found.n, found.losses, found.not_judged) == (1, 1, 1)


def test_two_scores_of_one_image_and_none_at_all_are_refused(tmp_path: Path):
    file = side(tmp_path, "a", [[1]], score=[[0.5]])
    rows = file.read_text()
    file.write_text(rows + rows.replace("0.5", "0.75"))
    with pytest.raises(DataError, match=r"a\.jsonl:2: the score is 0\.75, and an earlier row .* has 0\.5\. Keep one"):
        judge_named(f"scores:{file}")
    with pytest.raises(DataError, match="no row has a score"):
        judge_named(f"scores:{side(tmp_path, 'b', [[1]])}")


def test_texts_have_scores_in_files_too(tmp_path: Path):
    rows = [{"prompt": "p", "completion": " yes", "score": 1.0}, {"prompt": "p", "completion": " no", "score": 0.0}]
    judge = judge_named(f"scores:{write_rows(tmp_path / 's.jsonl', rows)}")
    assert judge.compare("p", "no", "yes").choice == "second"


@pytest.mark.parametrize("name", ["verifier:exact", "verifier:regex:a", "reward:some/model", "lm:some/model"])
def test_judges_that_read_words_refuse_images_before_they_load_anything(tmp_path: Path, name: str):
    ours, theirs = side(tmp_path, "ours", [[1]]), side(tmp_path, "theirs", [[2]])
    with pytest.raises(UsageError, match=r"it reads text, and the completions are images\. Take clip:MODEL"):
        judge_completions(ours, None, judge_named(name), theirs)
    if name.startswith(("verifier", "reward")):
        with pytest.raises(UsageError, match="it reads text"):
            label_file(ours, judge_named(name), tmp_path / "thumbs.jsonl")


def test_images_against_texts_are_refused(tmp_path: Path):
    texts = write_rows(tmp_path / "texts.jsonl", [{"prompt": "p0", "completion": "red"}])
    with pytest.raises(
        DataError, match=r"ours\.jsonl has images and .*texts\.jsonl has texts, which cannot be compared"
    ):
        judge_completions(side(tmp_path, "ours", [[1]]), None, judge_named(own(tmp_path)), texts)


def test_the_image_of_median_score_stands_for_its_side(tmp_path: Path):
    ours = side(tmp_path, "ours", [[0, 50, 20], [90, 80, 70]])
    theirs = side(tmp_path, "theirs", [[10, 11, 200], [75, 76, 77]])
    judge = judge_named(own(tmp_path))
    several = judge_completions(ours, None, judge, theirs)
    assert (several.n, several.wins) == (6, 3)  # row by row: 0 < 10, 50 > 11, 20 < 200, 90 > 75, 80 > 76, 70 < 77
    found = judge_completions(ours, None, judge, theirs, how=Judging(median=True))
    assert (found.n, found.wins) == (2, 2)  # 20 > 11, 80 > 76
    assert [Path(name).name for one in found.pictures for name in one.ours] == ["0-2.png", "1-1.png"]


def test_of_an_even_number_the_lower_is_taken_and_a_judge_that_compares_has_no_median(tmp_path: Path):
    pictures = [plain(tmp_path / f"{red}.png", red) for red in (40, 10, 30, 20)]
    items = [Item("p", one, one) for one in pictures]
    assert median_items(items, judge_named(own(tmp_path)))[0].first == pictures[3]
    with pytest.raises(UsageError, match="the median is of scores"):
        median_items(items, judge_named(own(tmp_path, "def f(prompt, first, second):\n    return 0\n", "f")))


def page_data(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index("</script>", start)])


def test_the_page_shows_copies_that_name_no_side_and_its_votes_are_read_back(tmp_path: Path):
    info = PngInfo()
    info.add_text("parameters", "made by the secret side")
    (tmp_path / "ours").mkdir()
    PIL.Image.new("RGB", (4, 2), (255, 0, 0)).save(tmp_path / "ours" / "secret.png", pnginfo=info)
    mine = describe_image(read_bytes(tmp_path / "ours" / "secret.png", "x"), "x", path=tmp_path / "ours" / "secret.png")
    other = plain(tmp_path / "b.png", 0, 255)
    item, page = Item("a red one", mine, other), tmp_path / "page.html"
    assert write_page([item, item], page) == 1
    (row,) = page_data(page)["items"]
    assert "secret" not in page.read_text() and "img-src data:" in page.read_text() and "Image A" in page.read_text()
    kind, _, content = row["a"]["picture"].partition(",")
    shown = base64.b64decode(content)
    assert kind == "data:image/webp;base64" and b"secret" not in shown
    copy = PIL.Image.open(io.BytesIO(shown))
    assert copy.getpixel((0, 0)) == ((255, 0, 0) if row["a_key"] == text_key(mine) else (0, 255, 0))
    about = {"format": "prospect-votes", "version": 1, "page": "x", "voter": "v", "saved": 1}
    (tmp_path / "v.json").write_text(json.dumps({**about, "votes": {pair_key(item): text_key(mine)}}))
    assert HumanJudge(tmp_path / "v.json").compare_many([item])[0].choice == "first"


def test_a_large_image_is_made_smaller_for_the_page(tmp_path: Path):
    save_picture(tmp_path / "a.jpg", size=(1600, 900))
    large = describe_image(read_bytes(tmp_path / "a.jpg", "x"), "x", path=tmp_path / "a.jpg")
    assert write_thumbs_page([Candidate("p", large)], tmp_path / "page.html") == 1
    content = page_data(tmp_path / "page.html")["items"][0]["a"]["picture"].partition(",")[2]
    assert PIL.Image.open(io.BytesIO(base64.b64decode(content))).size == (768, 432)
    assert "Is the image good" in (tmp_path / "page.html").read_text()


def test_thumbs_by_a_rule_keep_the_images(tmp_path: Path):
    drawn = side(tmp_path, "drawn", [[0, 200], [10, 250]])
    found = label_file(
        drawn, judge_named(own(tmp_path, RED_WINS.replace("[0]\n", "[0] > 100\n"))), tmp_path / "t.jsonl"
    )
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert found.labels.desirable == found.labels.undesirable == 2
    assert [(row["image"], row["label"]) for row in rows] == [
        ("drawn/0-0.png", False), ("drawn/0-1.png", True), ("drawn/1-0.png", False), ("drawn/1-1.png", True),
    ]  # fmt: skip
