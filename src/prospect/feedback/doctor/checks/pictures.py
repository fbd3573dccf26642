"""What the doctor says of images: sizes, conversions, look-alikes, and what goes with the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import polars as pl

from prospect.feedback.doctor.checks.case import Case, percent, several, that
from prospect.feedback.doctor.checks.gather import Gathered
from prospect.feedback.findings import Finding
from prospect.feedback.images.alike import alike_groups
from prospect.feedback.images.looks import Look
from prospect.feedback.wording import names

_LISTED = 20  # sizes in the summary
_WIDEST = 2.0  # aspect up to which the buckets of training go; beyond it an image loses its sides
_SHARE = 0.05  # from which near duplicates are a warning
_APART = 0.5  # total variation from which files say the verdict better than pictures do
_FEWEST = 20  # images of each class, before their files are compared
_CONVERTED = {
    "cmyk": "from CMYK",
    "grey": "from grey",
    "palette": "from a palette",
    "transparency": "with transparency, which becomes white",
    "rotation": "turned as the camera noted",
}


def converted(case: Case) -> Iterator[Finding]:
    """Images that training sees otherwise than a viewer may show them."""
    rows = [look.row for look in case.data.looks if look.converted]
    if rows:
        counts = Counter(name for look in case.data.looks for name in look.converted)
        each = names(f"{count:,} {_CONVERTED[name]}" for name, count in counts.most_common())
        yield case.finding(
            "converted_images",
            "note",
            sorted(set(rows)),
            f"{that(len(rows), 'image', 'are')} converted to RGB of 8 bits: {each}.",
            "Look at a few thumbnails (--html FILE): colours of CMYK may shift, and what was transparent is white.",
            count=len(rows),
        )


def wide(case: Case) -> Iterator[Finding]:
    """Images so wide or tall that buckets crop much of them."""
    rows = [look.row for look in case.data.looks if max(_sides(look)) > _WIDEST * min(_sides(look))]
    if rows:
        yield case.finding(
            "wide_images",
            "warning",
            sorted(set(rows)),
            f"{that(len(rows), 'image', 'are')} more than {_WIDEST:.0f} times as wide as tall, or as tall as wide.",
            "They lose their ends when they are cropped to a bucket. Crop them yourself, or leave them out.",
            count=len(rows),
        )


def flat(case: Case) -> Iterator[Finding]:
    """Images of one colour."""
    rows = [look.row for look in case.data.looks if look.is_flat]
    if rows:
        yield case.finding(
            "flat_images",
            "warning",
            sorted(set(rows)),
            f"{that(len(rows), 'image', 'have')} one single colour.",
            "Generators return black for what their filter stops, and it teaches nothing. Remove them.",
            count=len(rows),
        )


def location(case: Case) -> Iterator[Finding]:
    """Photographs that say where they were taken."""
    rows = [look.row for look in case.data.looks if look.has_location]
    if rows:
        yield case.finding(
            "personal_data",
            "warning",
            sorted(set(rows)),
            f"{that(len(rows), 'image file', 'say')} where it was taken (EXIF).",
            "A model does not learn it, but who gets a frozen copy reads it. Strip the metadata before freezing.",
            count=len(rows),
        )


def look_alikes(case: Case) -> Iterator[Finding]:
    """Different files that look almost the same."""
    looks = [look for look in case.data.looks if not look.is_flat]
    shown, members, mixed = [], 0, 0
    for group in alike_groups([look.likeness for look in looks]):
        found = [looks[place] for place in group]
        if len({look.key for look in found}) < 2:
            continue  # the same file twice is no near duplicate
        members += len(found)
        shown.append(found[1].row)
        mixed += {0, 1} <= {look.verdict for look in found}
    if members:
        share = members / len(case.data.looks)
        disagreeing = f"; {that(mixed, 'group', 'carry')} both verdicts" if mixed else ""
        yield case.finding(
            "near_duplicates",
            "warning" if share > _SHARE or mixed else "note",
            sorted(set(shown)),
            f"{several(members, 'image')} in {several(len(shown), 'group')} look almost the same, by perceptual hash"
            f"{disagreeing}.",
            "Look at a few groups: the same picture saved twice counts twice. Split by prompt, so that they do not "
            "stand on both sides.",
            count=members,
        )


def one_sided_prompts(case: Case) -> Iterator[Finding]:
    """Prompts whose images all have one verdict."""
    if case.data.kind != "unpaired":
        return
    verdicts = case.data.completions.group_by("prompt", maintain_order=True).agg(
        pl.col("verdict").n_unique().alias("classes"), pl.col("row").first()
    )
    single = verdicts.filter(pl.col("classes") < 2)["row"]
    if len(single) and case.data.completions["verdict"].n_unique() > 1:
        yield case.finding(
            "one_sided_prompts",
            "warning" if len(single) == len(verdicts) else "note",
            single,
            f"{that(len(single), 'prompt', 'have', len(single) / len(verdicts))} images of one verdict alone.",
            "KTO learns from them all the same, but may learn which prompts were liked. Pairs need both verdicts on "
            "one prompt.",
        )


def files_and_verdict(case: Case) -> Iterator[Finding]:
    """Whether size or format of the file gives the verdict away."""
    classes = [
        Counter((look.format, look.width, look.height) for look in case.data.looks if look.verdict == verdict)
        for verdict in (1, 0)
    ]
    sizes = [sum(counts.values()) for counts in classes]
    if min(sizes) < _FEWEST:
        return
    apart = sum(abs(classes[0][kind] / sizes[0] - classes[1][kind] / sizes[1]) for kind in classes[0] | classes[1]) / 2
    if apart > _APART:
        (liked, _), (disliked, _) = (counts.most_common(1)[0] for counts in classes)
        yield case.finding(
            "files_and_verdict",
            "warning",
            [],
            f"format and size of the files differ with the verdict ({percent(apart)} apart): most desirable images are "
            f"{_kind(liked)}, most undesirable ones {_kind(disliked)}.",
            "The model may learn traces of compression or resizing, not taste. Judge images of one model and one "
            "pipeline, or save all of them alike.",
            count=sum(sizes),
        )


def fewer_desirable(case: Case) -> Iterator[Finding]:
    """Fewer desirable images than undesirable ones: unweighted, that destroys a denoiser."""
    verdict = case.data.completions["verdict"]
    up, down = int((verdict == 1).sum()), int((verdict == 0).sum())
    if case.data.kind == "unpaired" and 0 < up < down:
        yield case.finding(
            "fewer_desirable",
            "note",
            [],
            f"there are {up:,} desirable and {down:,} undesirable images; without class weights, making every image "
            "worse would pay.",
            "Keep data.class_weights: auto, which gives the desirable ones at least as much weight in all.",
            count=up,
        )


def picture_summary(data: Gathered) -> dict[str, Any]:
    """Return how many different images there are, and their sizes, formats and conversions, the most frequent first."""
    sizes = Counter(f"{look.width} x {look.height}" for look in data.looks)
    return {
        "images": len(data.looks),
        "different": len({look.key for look in data.looks}),
        "sizes": dict(sizes.most_common(_LISTED)),
        "other_sizes": len(sizes) - min(len(sizes), _LISTED),
        "formats": dict(Counter(look.format for look in data.looks).most_common()),
        "converted": dict(Counter(name for look in data.looks for name in look.converted).most_common()),
    }


def _sides(look: Look) -> tuple[int, int]:
    return look.width, look.height


def _kind(found: tuple[str, int, int]) -> str:
    return f"{found[0].upper()} of {found[1]} x {found[2]}"


CHECKS = (
    fewer_desirable,
    one_sided_prompts,
    look_alikes,
    files_and_verdict,
    flat,
    wide,
    converted,
    location,
)
