"""A reward model as a judge: a sequence classifier with one score; the higher score wins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from prospect.evaluation.contest.judges.base import Candidate, ScoringJudge
from prospect.evaluation.contest.judges.registry import judge
from prospect.feedback.records import text_of

# Tokens of one forward pass, padding and all.
BATCH_TOKENS = 16384


@judge("reward:MODEL")
class RewardModelJudge(ScoringJudge):
    """Score each completion after its prompt, rendered as in training, with its end token.

    It does not see the other completion, so it is asked once, and equal texts surely tie. A completion that is longer
    than the model's context has no score, and its verdict is unparsed.

    Args:
        model: name (see `find_model`) of a sequence-classification model with one label: what `bradley_terry` trains,
            or another; or a loaded `(model, tokenizer)`.

    Raises:
        ModelError: there is none, its score layer was never trained, or it has several labels.
    """

    def __init__(self, model: str | tuple[Any, Any]) -> None:
        self.name = f"reward:{model}" if isinstance(model, str) else f"reward:{type(model[0]).__name__}"
        self._source = model

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        if not isinstance(self._source, str):
            return self._source[0].eval(), self._source[1]
        return load_scorer(self._source)

    @cached_property
    def identity(self) -> str:
        """Its weights and its chat template."""
        from prospect.models.loading import weights_identity

        model, tokenizer = self._loaded
        return "\0".join(("reward", weights_identity(model, "fp32"), tokenizer.chat_template or ""))

    def score_each(self, rows: Sequence[Candidate]) -> Iterator[tuple[int, float]]:
        """Yield the score of each completion, batch by batch; NaN where it does not fit into the model's context."""
        from prospect.data.render import Encoder

        model, tokenizer = self._loaded
        most = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**20
        encoder = Encoder(tokenizer, 2**30)
        encoded: list[tuple[int, list[int]]] = []
        for number, row in enumerate(rows):
            where = f"completion {number + 1}"
            found = encoder.encode(row.prompt, text_of(row.completion, where), where=where)
            ids = [*found.prompt_ids, *found.completion_ids]
            if len(ids) <= most:
                encoded.append((number, ids))
            else:
                yield number, float("nan")
        encoded.sort(key=lambda row: -len(row[1]))
        start = 0
        while start < len(encoded):
            # Where padding has no id, the model would read its score in the wrong place: one row at a time.
            size = max(1, BATCH_TOKENS // len(encoded[start][1])) if model.config.pad_token_id is not None else 1
            some = encoded[start : start + size]
            for (number, _), score in zip(some, _score(model, [ids for _, ids in some]), strict=True):
                yield number, score
            start += size


def load_scorer(name: str) -> tuple[Any, Any]:
    """Load a trained sequence-classification model with one label, and its tokenizer."""
    from prospect.config import ModelSettings
    from prospect.models.device import default_device
    from prospect.models.loading import load_tokenizer
    from prospect.models.reward_model import load_classifier

    settings = ModelSettings(name_or_path=name)
    tokenizer = load_tokenizer(settings)
    return load_classifier(settings, new_score=False).to(default_device()), tokenizer


def _score(model: Any, rows: list[list[int]]) -> list[float]:
    import torch

    device = next(model.parameters()).device
    longest, pad = max(map(len, rows)), model.config.pad_token_id
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    with torch.no_grad():
        scores = model(input_ids=ids, attention_mask=mask).logits[:, 0].float()
    return [score if abs(score) < float("inf") else float("nan") for score in scores.tolist()]
