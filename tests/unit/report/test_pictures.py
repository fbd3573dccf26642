"""Pictures inside a page: small copies with words for who cannot see them."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from evaluations import a_contest
from prospect.cli.main import main
from prospect.feedback.images.writing import write_image
from prospect.report.page.pictures import WIDTH, picture_grid
from prospect.report.run.build import build_report
from prospect.results.before_after import BeforeAfterPictures, BeforeAfterResult
from prospect.results.contest import ContestPictures
from prospect.run_dir import RunDir
from prospect.statistics.rates import Rate

CELL = (WIDTH + 4) // 4 - 4  # of a grid with four columns
RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)


def shown(markup):
    return Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', str(markup))[1])))


def named(folder, *pictures):
    return [str(write_image(pixels, folder).path.relative_to(folder)) for pixels in pictures]


def test_small_pictures_grow_by_a_whole_number_and_stand_in_rows_of_four(tmp_path):
    grid = shown(picture_grid(tmp_path, named(tmp_path, RED) * 6, "six"))
    assert grid.size == (4 * CELL + 3 * 4, 2 * CELL + 4)
    pixels = np.asarray(grid)
    assert (pixels[:CELL, :CELL] == (255, 0, 0, 255)).all()
    assert (pixels[:, CELL : CELL + 4, 3] == 0).all()
    assert (pixels[-CELL:, -CELL:, 3] == 0).all()  # the second row has two


def test_large_pictures_are_made_smaller_to_the_width_that_they_share_and_keep_their_aspect(tmp_path):
    wide = np.zeros((200, 400, 3), np.uint8)
    assert shown(picture_grid(tmp_path, named(tmp_path, wide), "one")).size == (WIDTH, WIDTH // 2)
    assert shown(picture_grid(tmp_path, named(tmp_path, wide) * 2, "two")).size == (WIDTH, (WIDTH - 4) // 4)


def test_words_are_escaped(tmp_path):
    assert 'alt="&lt;b&gt; &#34;one&#34;"' in picture_grid(tmp_path, named(tmp_path, RED), '<b> "one"')


@pytest.mark.parametrize("name", ["images/none.png", "../outside.png", "broken.png"])
def test_a_picture_that_cannot_be_read_leaves_the_words_and_the_reason(tmp_path, name):
    (tmp_path / "run").mkdir()
    write_image(RED, tmp_path).path.rename(tmp_path / "outside.png")
    (tmp_path / "run" / "broken.png").write_bytes(b"no picture")
    markup = picture_grid(tmp_path / "run", [name], "after: 1 of 1 pass")
    assert markup.startswith("after: 1 of 1 pass (")
    assert "<img" not in markup


def test_a_runs_page_shows_pictures_before_and_after_side_by_side(tmp_path):
    run = RunDir(tmp_path)
    old, new = named(tmp_path, RED, RED // 2)
    rate = Rate(0.5, 0.4, 0.6, 10)
    pictures = BeforeAfterPictures(prompt="red <ring>", before=[old], after=[new], before_pass=0, after_pass=1)
    run.write_evaluation("demo", BeforeAfterResult(before=rate, after=rate, pictures=[pictures]))
    page = build_report(run.path).read_text()
    sides = re.findall('<img class="pictures[a-z ]*" src="[^"]+" alt="([^"]+)"', page)
    assert sides == ["before: 0 of 1 pass", "after: 1 of 1 pass"]
    assert "red &lt;ring&gt;" in page
    assert page.index("Before: 0 of 1 pass") < page.index("After: 1 of 1 pass")


def test_the_file_of_a_contest_is_a_page_with_its_pictures_pair_by_pair(tmp_path, capsys):
    theirs, ours = named(tmp_path, RED, RED // 2)
    pictures = ContestPictures(prompt="red <ring>", ours=[ours] * 2, theirs=[theirs] * 2, verdicts=["win", "tie"])
    result = a_contest("<b>other</b>").model_copy(update={"pictures": [pictures], "our_texts": None})
    result.write(tmp_path / "found.json")
    assert main(["report", str(tmp_path / "found.json")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "found.html")
    page = (tmp_path / "found.html").read_text()
    sides = re.findall('<img class="pictures sharp" src="[^"]+" alt="([^"]+)"', page)
    assert sides == ["other side: 0 of 2 preferred", "this model: 1 of 2 preferred"]
    assert "red &lt;ring&gt;" in page
    assert "<b>other" not in page
    assert "Look for yourself" in page
    (tmp_path / "other.json").write_text('{"rows": 3}')
    assert main(["report", str(tmp_path / "other.json")]) == 2
    assert "no result of an evaluation" in capsys.readouterr().err
