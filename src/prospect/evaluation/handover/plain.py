"""The model as Transformers and PEFT load it by themselves: its answers, its log-probs, its end tokens."""

from __future__ import annotations

from typing import Any

import torch

from prospect.config import ModelSettings
from prospect.data.batch import collate, row_from_ids
from prospect.evaluation.handover.rendered import Tried
from prospect.model_source import MODEL_CONFIG, ModelSource
from prospect.models.device import default_device
from prospect.models.policy import load_for_scoring
from prospect.results.model_check import ModelFinding


def load_plain(source: ModelSource, settings: ModelSettings) -> Any:
    """Load a folder as a stranger would, an adapter's as well; in float32, safetensors only."""
    from transformers import AutoModelForCausalLM

    options = {
        "dtype": torch.float32,
        "use_safetensors": True,
        "trust_remote_code": settings.trust_remote_code,
    }
    return AutoModelForCausalLM.from_pretrained(source.place, **options).to(default_device()).eval()


def ends_of(model: Any) -> list[int]:
    """Return the tokens at which Transformers stops: those of the generation configuration."""
    ends = model.generation_config.eos_token_id
    return [] if ends is None else list(ends) if isinstance(ends, list | tuple) else [ends]


def answer(model: Any, tokenizer: Any, ids: list[int], max_new_tokens: int) -> tuple[str, bool]:
    """Let the model answer greedily; return the text and whether it ended by itself."""
    prompt = torch.tensor([ids], device=model.device)
    context = getattr(model.config, "max_position_embeddings", None) or len(ids) + max_new_tokens
    room = max(1, min(max_new_tokens, context - len(ids)))
    ends = ends_of(model)
    with torch.no_grad():
        whole = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=room,
            pad_token_id=ends[0] if ends else 0,
        )[0, len(ids) :].tolist()
    return tokenizer.decode(whole, skip_special_tokens=True), bool(whole) and whole[-1] in ends


def check_end(tried: list[Tried], model: Any, tokenizer: Any, *, taught: bool, place: str) -> ModelFinding:
    """Say whether a server stops where answers ended in training."""
    if not taught:
        return ModelFinding(
            name="end_token", state="unknown", found="the run taught no end (data.end_token: false): limit the tokens"
        )
    ends, learnt = ends_of(model), sorted({one.end for one in tried if one.end is not None})
    shown = ", ".join(f"{tokenizer.convert_ids_to_tokens(token)!r} ({token})" for token in learnt)
    missing = [token for token in learnt if token not in ends]
    if missing:
        wanted = sorted({*ends, *missing})
        return ModelFinding(
            name="end_token",
            state="wrong",
            found=f"answers end with {shown}, and generation stops at {ends or 'nothing'}",
            do=f'Write "eos_token_id": {wanted} into generation_config.json in {place}.',
        )
    return ModelFinding(name="end_token", state="ok", found=f"answers end with {shown}, where generation stops")


def logps_of(model: Any, tried: list[Tried]) -> list[torch.Tensor]:
    """Return the log-prob of every token of every answer, by the model's logits alone."""
    found = []
    for one in tried:
        ids = torch.tensor([one.prompt + one.answer], device=model.device)
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, len(one.prompt) - 1 : -1].float()
        found.append(logits.log_softmax(-1).gather(1, ids[0, len(one.prompt) :, None])[:, 0].cpu())
    return found


def check_logps(
    source: ModelSource, settings: ModelSettings, tried: list[Tried], plain: list[torch.Tensor]
) -> ModelFinding:
    """Hold the folder's log-probs against those of our own loader.

    Args:
        source: the folder.
        settings: what our loader loads: the run that made it, where that is known.
        tried: rows.
        plain: what `logps_of` gives of the folder.
    """
    policy = load_for_scoring(settings, "fp32")
    rows = [row_from_ids(one.prompt, one.answer, prompt_key=str(i), id=str(i)) for i, one in enumerate(tried)]
    with torch.no_grad():
        ours = [policy.score_tokens(collate([row])).logps[0, len(row.prompt_ids) :].cpu() for row in rows]
    apart = max(float((one - other).abs().max()) for one, other in zip(plain, ours, strict=True))
    whole = source.root.read(MODEL_CONFIG) if source.kind == "model" else {}
    half = str(whole.get("dtype") or whole.get("torch_dtype") or "float32") != "float32"
    # In half precision a logit near 30 is rounded to a tenth; in float32 two ways of adding up differ far less.
    allowed = 0.1 if half else 1e-3
    loaded = f"what Prospect loads from {settings.name_or_path}"
    said = f"{sum(map(len, plain))} log-probs, at most {apart:.1g} nats from {loaded}"
    if apart <= allowed:  # and not for NaN
        return ModelFinding(name="log_probs", state="ok", found=said)
    return ModelFinding(
        name="log_probs",
        state="wrong",
        found=f"{said}; rounding explains {allowed:g}",
        do="The weights are others, or sit on another base: copy the folder again, or make it anew with prospect merge "
        "(without --dtype, if half precision is what costs this).",
    )
