"""Small copies of a few images that a run trains on, for its page."""

from __future__ import annotations

from prospect.data.batch import flatten
from prospect.data.image_rows import ImageRow
from prospect.feedback.images.looks import small_copy
from prospect.feedback.images.writing import write_image
from prospect.results.run import DataPicture
from prospect.run_dir import RunDir
from prospect.training.prepare import Prepared

EACH = 8  # of either class: two rows of the page's grid


def write_data_pictures(run: RunDir, prepared: Prepared) -> list[DataPicture]:
    """Write small copies of the first images of each class, one a prompt while there are others, into `images/`.

    Args:
        run: where to.
        prepared: says which.

    Returns:
        Where they are, and of what; none for texts.
    """
    if prepared.pipeline is None:
        return []
    rows: list[ImageRow] = flatten(prepared.train.examples)  # type: ignore[arg-type]
    chosen = [row for label in (True, False) for row in _first(rows, label)]
    found = []
    for row in chosen:
        image = write_image(small_copy(row.image, str(row.image.path)), run.path)
        name = image.path.relative_to(run.path).as_posix()
        found.append(DataPicture(image=name, prompt=row.prompt, desirable=row.desirable))
    return found


def _first(rows: list[ImageRow], label: bool) -> list[ImageRow]:
    """Return EACH rows of a class: the first of each prompt, then the others, in the order of the feedback."""
    seen: set[str] = set()
    firsts: list[ImageRow] = []
    others: list[ImageRow] = []
    for row in rows:
        if row.desirable is label:
            (others if row.prompt_key in seen else firsts).append(row)
            seen.add(row.prompt_key)
    return [*firsts, *others][:EACH]
