"""Prompts -> completions, by a model from disk or a server; in a file, or in memory to be judged.

A half-done file goes on: every completion is kept in `OUTPUT.partial` as soon as it is there, under a key of the model,
the prompt, the sample's number and the settings, and asked for once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from prospect.atomic import write_json
from prospect.errors import DataError, UsageError
from prospect.evaluation.answers.answers import Answer, Counts, Thoughts, count_answers
from prospect.evaluation.answers.rendering import RenderingOptions
from prospect.evaluation.answers.subject import ENDPOINT, find_subject
from prospect.evaluation.answers.writers import Generation, Progress, Service, Tell, collect_answers, find_writer
from prospect.feedback.files.sources import load_prompts
from prospect.feedback.files.write import write_jsonl
from prospect.feedback.records import Demonstration, Message, Text
from prospect.outputs import output_file

Format = Literal["prospect", "alpaca_eval"]


def generate_file(
    model: str,
    prompts: str | Path,
    output: str | Path,
    *,
    samples_per_prompt: int = 1,
    max_new_tokens: int = 256,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
    batch_size: int = 64,
    format: Format = "prospect",
    service: Service | None = None,
    thoughts: Thoughts = "strip",
    progress: Progress | None = None,
    rendering: RenderingOptions | None = None,
    announce: Tell | None = None,
) -> Counts:
    """Sample completions of every prompt of a file and write them as rows of `prompt, completion, finished`.

    The rows load as demonstrations, and as thumbs once somebody adds a `label`. A run that was killed goes on from
    `OUTPUT.partial` when it is started again.

    Args:
        model: a run directory; folder or hub name of a whole model or of a PEFT adapter; or endpoint:URL#NAME.
        prompts: rows with a prompt, as `prospect.feedback.files.prompts.read_prompt` finds it.
        output: a .jsonl file, .json for alpaca_eval; written whole or not at all.
        samples_per_prompt: completions of each prompt.
        max_new_tokens: where a completion is cut; it is then written with `finished: false`.
        temperature: 0 is greedy.
        top_p: see `prospect.models.sampling.Sampling`.
        seed: another seed, other completions.
        batch_size: speed and memory, never the result.
        format: prospect, or alpaca_eval for a list of `instruction, output, generator, dataset`.
        service: how a server is asked.
        thoughts: strip or keep what a model thought before its answer. A completion that ends in its thoughts is empty
            and not finished where they are stripped.
        progress: see `Progress`.
        rendering: how a model from disk gets its prompts, where not as in its run, or as its chat template suggests.
        announce: told how prompts are rendered, and which are left out.

    Returns:
        How many completions were written, and how many of them are empty or cut.

    Raises:
        DataError: prompts that cannot be read, or that alpaca_eval has no place for; no completion holds an answer.
        OutputError: a name that cannot be written.
        EndpointError: the server gives no answer.
    """
    output = Path(output)
    settings = Generation(samples_per_prompt, max_new_tokens, temperature, top_p, seed)
    asked = load_prompts(prompts)
    _check_output(output, format, settings)
    instructions = [_instruction(prompt, i) for i, prompt in enumerate(asked)] if format == "alpaca_eval" else []
    how = (rendering or RenderingOptions()).for_writing(find_subject(model))
    writer = find_writer(model, batch_size=batch_size, service=service, rendering=how, announce=announce)
    partial = output.with_name(f"{output.name}.partial")
    answers = collect_answers(writer, asked, settings, thoughts=thoughts, partial=partial, progress=progress)
    if format == "alpaca_eval":
        about = {"generator": model.removeprefix(ENDPOINT), "dataset": Path(prompts).stem}
        rows = [
            {"instruction": x, "output": one.text, **about}
            for x, samples in zip(instructions, answers, strict=True)
            for one in samples
        ]
        write_json(output, rows)
    else:
        write_jsonl(as_rows(asked, answers), output)
    partial.unlink(missing_ok=True)
    return count_answers(answers)


def as_rows(prompts: Sequence[Text], answers: Sequence[Sequence[Answer]]) -> list[Demonstration]:
    """Return completions as records: rows of `prompt, completion, finished`."""
    return [
        Demonstration(
            prompt=prompt,
            completion=answer.text if isinstance(prompt, str) else (Message("assistant", answer.text),),
            id=f"{i}-{j}",
            where=f"{i}-{j}",
            finished=answer.finished,
        )
        for i, (prompt, samples) in enumerate(zip(prompts, answers, strict=True))
        for j, answer in enumerate(samples)
    ]


def _check_output(output: Path, format: Format, settings: Generation) -> None:
    """Refuse a name that could not be written before hours are spent on its contents."""
    wanted = (".json",) if format == "alpaca_eval" else (".jsonl", ".ndjson")
    if output.suffix.lower() not in wanted:
        raise UsageError(
            f"{output}: completions in {format} layout are written to {' or '.join(wanted)}. Change the name."
        )
    output_file(output)
    if format == "alpaca_eval" and settings.samples_per_prompt != 1:
        raise UsageError("alpaca_eval has one output for each instruction: leave --samples at 1.")


def _instruction(prompt: Text, i: int) -> str:
    """alpaca_eval knows one question and no conversation."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    raise DataError(
        f"prompt {i + 1}: a conversation of {len(prompt)} turns; alpaca_eval's instruction is one user turn. Leave "
        "--format out, or give prompts of one turn."
    )
