"""A prompt as training rendered it, and as a server renders it that knows Transformers and nothing of us."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from prospect.config import Config
from prospect.data.render import Encoder, PromptTooLongError, encode_prompt, make_renderer
from prospect.errors import DataError, ProspectError
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import Subject
from prospect.evaluation.handover.rows import TriedRow
from prospect.feedback.chat.renderer import ChatRenderer
from prospect.feedback.chat.rendering import UnrenderableError
from prospect.models.loading import first_line, load_tokenizer
from prospect.results.model_check import ModelFinding

_USUAL = 2048  # tokens of a row, where the model states no context


@dataclass(frozen=True)
class Training:
    """What a run's recipe says of rendering.

    Attributes:
        tokenizer: of the model that the run started from, with the recipe's chat template.
        renderer: of its prompts, as of today.
        ends: whether the run taught answers to end.
    """

    tokenizer: Any
    renderer: ChatRenderer
    ends: bool


@dataclass(frozen=True)
class Tried:
    """A row in tokens.

    Attributes:
        row: as it was found.
        served: ids of the prompt as a server renders it; None where it cannot.
        why: the reason, where it cannot.
        trained: the same as in training; None where no run is known.
        prompt: ids of the prompt in a row that is learnt.
        answer: ids of the row's own answer, which are scored.
        end: the token that ends it; None where the model's context cuts it.
    """

    row: TriedRow
    served: list[int] | None
    why: str
    trained: list[int] | None
    prompt: list[int]
    answer: list[int]
    end: int | None


def training_of(run: Subject | None) -> tuple[Training | None, str]:
    """Return how a run rendered its prompts, or None and why that is not known any more."""
    if run is None or run.config is None:
        return None, "no run is named (--run RUN)"
    config: Config = run.config
    control = run.loss is not None and run.loss.control_tokens
    try:
        tokenizer = load_tokenizer(config.model, control_tokens=control)
        rendering = replace(RenderingOptions().for_writing(run), chat_template=config.data.chat_template)
        return Training(tokenizer, make_renderer(tokenizer, rendering), config.data.end_token), ""
    except ProspectError as error:
        return None, f"the model that the run started from is not here ({first_line(error)})"


def try_rows(rows: list[TriedRow], own: Any, subject: Subject, training: Training | None) -> list[Tried]:
    """Render rows in every way; those that do not fit the model's context or template are left out.

    Args:
        rows: which.
        own: the tokenizer in the folder, as Transformers loads it.
        subject: the folder, or the run that made it.
        training: how the run rendered.

    Raises:
        DataError: no row is left.
    """
    tokenizer = training.tokenizer if training is not None else own
    rendering = RenderingOptions().for_scoring(subject)
    renderer = training.renderer if training is not None else make_renderer(own, rendering)
    context = (subject.source.context if subject.source is not None else None) or _USUAL
    encoder = Encoder(tokenizer, context, rendering=replace(renderer.settings, unrenderable="refuse"))
    tried = []
    for number, row in enumerate(rows, 1):
        try:
            encoded = encoder.encode(row.prompt, row.completion, tools=row.tools, where=f"row {number}")
        except (PromptTooLongError, UnrenderableError):
            continue
        served, why = _as_served(own, renderer, row)
        trained = None
        if training is not None:
            trained = encode_prompt(training.tokenizer, row.prompt, row.tools, training.renderer)
        end = None if encoded.cut else encoded.completion_ids[-1]
        tried.append(Tried(row, served, why, trained, encoded.prompt_ids, encoded.completion_ids, end))
    if not tried:
        raise DataError(
            f"no row fits the model's {context} tokens and its chat template. Name feedback that does: --data FILE"
        )
    return tried


def check_template(tried: list[Tried], training: Training | None, why_unknown: str, place: str) -> ModelFinding:
    """Say whether a server gives the model the prompts that it learnt from."""
    failed = next((one.why for one in tried if one.served is None), None)
    if failed is not None:
        role = training.renderer.settings.system_role if training is not None else "keep"
        advice = (
            f"Write the chat template into {place} (chat_template.jinja); the run's is in its config.yaml, or in the "
            "model that it started from."
        )
        if role != "keep":
            advice = f"The run learnt with data.system_role: {role}. Send none, or do the same to them first."
        return ModelFinding(
            name="template", state="wrong", found=f"a server cannot render the prompts: {failed}", do=advice
        )
    if training is None:
        return ModelFinding(name="template", state="unknown", found=f"renders; {why_unknown}")
    differing = [number for number, one in enumerate(tried, 1) if one.served != one.trained]
    if differing:
        return ModelFinding(
            name="template",
            state="wrong",
            found=f"row {', '.join(map(str, differing))}: a server renders it otherwise than training did (--json "
            "shows both)",
            do=f"Put the template that training used into {place}/chat_template.jinja, or let the server do what the "
            "recipe says under data: chat_template, template_arguments, system_role, plain_as_chat.",
        )
    return ModelFinding(name="template", state="ok", found=f"{len(tried)} prompts are, to the token, what training saw")


def _as_served(tokenizer: Any, renderer: ChatRenderer, row: TriedRow) -> tuple[list[int] | None, str]:
    """Return what a server feeds the model: its chat template over the turns, or a plain prompt as it is."""
    if not renderer.is_chat(row.prompt, row.completion):
        return list(tokenizer(row.prompt)["input_ids"]), ""
    turns = [{"role": "user", "content": row.prompt}] if isinstance(row.prompt, str) else None
    try:
        ids = tokenizer.apply_chat_template(
            turns or [turn.as_dict() for turn in row.prompt],  # type: ignore[union-attr]
            tools=list(row.tools) if row.tools else None,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
    except Exception as error:  # a template is a program, and raises what it likes
        return None, first_line(error)
    return list(ids), ""
