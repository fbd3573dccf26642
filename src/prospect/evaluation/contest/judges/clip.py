"""A CLIP as a judge of images: the image that is closer to its prompt wins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from prospect.errors import UsageError
from prospect.evaluation.contest.judges.base import Candidate, ScoringJudge, plain_text
from prospect.evaluation.contest.judges.registry import judge
from prospect.feedback.images.opening import decode_image
from prospect.feedback.records import Image

TOGETHER = 16  # images of one forward pass: of 224 x 224 pixels 10 MB, far below the weights


@judge("clip:MODEL")
class ClipJudge(ScoringJudge):
    """Score an image by the cosine between it and its prompt, times the model's own scale.

    score = exp(logit_scale) cos(image, prompt)

    A prompt that is longer than the text model reads is cut, as these models are used.

    Args:
        model: name (see `find_model`) of a CLIPModel with its tokenizer and image processor: a CLIP, or PickScore, a
            CLIP that was trained on what people preferred; or a loaded `(model, tokenizer, image processor)`.

    Raises:
        ModelError: there is none, or it is another kind of model.
        UsageError: completions are texts.

    Source: Radford et al. 2021, arXiv 2103.00020; PickScore, Kirstain et al. 2023, arXiv 2305.01569, eq. 1.
    """

    sees_images = True

    def __init__(self, model: str | tuple[Any, Any, Any]) -> None:
        self.name = f"clip:{model}" if isinstance(model, str) else f"clip:{type(model[0]).__name__}"
        self._source = model

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Any]:
        if not isinstance(self._source, str):
            return self._source
        from prospect.models.clip import load_clip

        return load_clip(self._source)

    @cached_property
    def identity(self) -> str:
        """Its weights, and how images are prepared."""
        from prospect.models.loading import weights_identity

        model, _, processor = self._loaded
        return "\0".join(("clip", weights_identity(model, "fp32"), processor.to_json_string()))

    def score_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, float]]:
        """Yield the score of each image, batch by batch; NaN where it is not finite."""
        from prospect.models.clip import score_images

        for start in range(0, len(rows), TOGETHER):
            pairs = [(plain_text(row.prompt), self._picture(row)) for row in rows[start : start + TOGETHER]]
            for number, score in enumerate(score_images(*self._loaded, pairs), start=start):
                yield number, score if math.isfinite(score) else math.nan

    def _picture(self, row: Candidate) -> Any:
        if not isinstance(row.completion, Image):
            raise UsageError(f"judge {self.name}: it looks at images, and the completions are texts. Take another.")
        return decode_image(row.completion, str(row.completion.path))
