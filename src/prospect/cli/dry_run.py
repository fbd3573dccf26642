"""`prospect train --dry-run`: what would be trained on, before it is paid for."""

from __future__ import annotations

import json
from typing import Any

import yaml
from rich.console import Console
from rich.text import Text

from prospect import progress
from prospect.config import Config
from prospect.data.batch import Row, flatten
from prospect.errors import ConfigError
from prospect.feedback.chat.thoughts import read_opening
from prospect.progress import span
from prospect.terminal import make_console
from prospect.training.image_recipe import beta_in_words
from prospect.training.memory.estimate import PARTS, estimate_memory
from prospect.training.memory.probe import probe
from prospect.training.online import examples_per_prompt
from prospect.training.prepare import Prepared, prepare, require_feedback_for_loss
from prospect.training.starting_point import model_in_words, reference_in_words

ROWS_SHOWN = 3
_ENCODERS = (
    "; without VAE and text encoders, which are there before the first step and while samples are drawn (--probe "
    "measures with them)"
)


def show(config: Config, *, as_json: bool, probe_steps: int | None = None) -> None:
    """Print the resolved recipe, rendered rows, label balance, steps, tokens and an estimate of memory.

    Args:
        config: the recipe.
        as_json: print one object instead.
        probe_steps: then load the model and time this many steps, for the time and the memory of the whole run.
    """
    if probe_steps is not None and config.online is not None:
        raise ConfigError("--probe times steps on rows that are there, and the recipe samples its rows. Leave it out.")
    prepared = prepare(config)
    require_feedback_for_loss(prepared)
    with progress.phase("estimating memory"):
        facts = collect(prepared)  # before a probe: its estimate looks at the process as it is without a model
    if not as_json:
        _print_facts(prepared, facts)
    if probe_steps is not None:
        facts["probe"] = probe(prepared, probe_steps)
    if as_json:
        print(json.dumps(facts))
    elif probe_steps is not None:
        console = make_console()
        console.rule(f"measured over {probe_steps} steps")
        _print_lines(console, _measured(facts["probe"]))


def _print_facts(prepared: Prepared, facts: dict[str, Any]) -> None:
    console = make_console()
    console.rule("resolved recipe")
    console.print(yaml.safe_dump(facts["config"], sort_keys=False, allow_unicode=True).strip(), markup=False)
    shown = prepared.train.examples[:ROWS_SHOWN]
    if prepared.pipeline is not None:
        console.rule("first rows")
        for image in flatten(prepared.train.examples[:ROWS_SHOWN]):
            console.print(_image_in_words(image), markup=False)
    elif prepared.config.online is not None:
        console.rule("first prompts, as the policy gets them")
        for (row,) in shown:
            console.print(prepared.tokenizer.decode(row.prompt_ids.tolist()), markup=False)
    else:
        console.rule("first rows: scored tokens marked, think blocks of the template dim")
        for row in flatten(shown):
            console.print(_marked(prepared.tokenizer, row, in_colour=console.is_terminal))
    console.rule("in numbers")
    _print_lines(console, _sentences(facts))


def _print_lines(console: Console, lines: dict[str, str]) -> None:
    for name, text in lines.items():
        console.print(f"{name:<12} {text}", markup=False)
    console.file.flush()  # what a probe says meanwhile goes to stderr, and should come after it


def collect(prepared: Prepared) -> dict[str, Any]:
    """Return the same as one object."""
    summary = prepared.train.summary()
    online = prepared.config.online
    examples, per_epoch = len(prepared.train.examples), prepared.steps_per_epoch
    if online is not None:
        examples *= examples_per_prompt(prepared.config, prepared.loss) * online.epochs
    weights = {k: v for k, v in prepared.hyperparameters.items() if k in {"desirable_weight", "undesirable_weight"}}
    return {
        "config": prepared.config.as_dict(),
        "model": model_in_words(prepared.config, prepared.source),
        "reference": reference_in_words(prepared.config, prepared.loss),
        "z0": _z0(prepared),
        "beta": beta_in_words(prepared.config, prepared.loss, prepared.pipeline) if prepared.pipeline else "",
        "data": {
            "train": summary.as_dict(),
            "eval": prepared.held_out.summary().as_dict() if prepared.held_out else None,
        },
        "class_weights": weights or None,
        "steps": prepared.total_steps,
        "steps_per_epoch": per_epoch,
        "examples_per_step": round(examples / per_epoch, 2),
        "tokens": int((summary.tokens or 0) * prepared.total_steps / per_epoch),
        "plain_rows": _plain_rows(prepared),
        "memory": estimate_memory(prepared),
        "rows": [
            [_described(prepared.tokenizer, row) for row in example]
            for example in prepared.train.examples[: ROWS_SHOWN if online is None and not prepared.pipeline else 0]
        ],
    }


def _z0(prepared: Prepared) -> str:
    """Return how z0 is estimated, and what its samples cost; nothing for losses without one."""
    settings = prepared.config.reference_point
    if not prepared.loss.needs_reference_point:
        return ""
    if settings.kind == "matched":
        return "from the step's own rows"
    if settings.kind != "sampled":
        return f"from each prompt with another prompt's completion, over each {settings.kind.replace('_', '-')}"
    times = -(-prepared.total_steps // settings.every)
    most = times * settings.completions * (settings.max_new_tokens or 0)
    return (
        f"from {settings.completions} completions that the policy writes every {settings.every} steps, of at most "
        f"{settings.max_new_tokens} tokens: {times} times, at most {most:,} tokens in all"
    )


def _plain_rows(prepared: Prepared) -> int:
    """How many rows go to the model without the chat template that it has."""
    return prepared.train.plain if prepared.tokenizer is not None and prepared.tokenizer.chat_template else 0


def _image_in_words(row: Any) -> str:
    width, height = row.size
    return f"{row.prompt!r}: {row.image.path.name}, {width}x{height}, {'up' if row.desirable else 'down'}"


def _described(tokenizer: Any, row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "desirable": row.desirable,
        "prompt": tokenizer.decode(row.prompt_ids.tolist()),
        "scored": tokenizer.convert_ids_to_tokens(row.completion_ids.tolist()),
    }


def _marked(tokenizer: Any, row: Row, in_colour: bool) -> Text:
    """Return the whole row as the model reads it, its scored tokens in colour (in brackets without colour)."""
    label = "desirable" if row.desirable else "undesirable"
    prompt = tokenizer.decode(row.prompt_ids.tolist())
    whole = tokenizer.decode([*row.prompt_ids.tolist(), *row.completion_ids.tolist()])
    # Decoded alone, a completion may lose its leading space.
    scored = whole[len(prompt) :] if whole.startswith(prompt) else tokenizer.decode(row.completion_ids.tolist())
    line = Text(f"{row.id}, {label}, {len(row.prompt_ids)} + {len(row.completion_ids)} tokens\n", style="bold")
    block = read_opening(prompt)
    line.append(block.base, style="not bold")
    line.append(prompt[len(block.base) :], style="not bold dim")  # a think block that the template writes is not scored
    colour = "black on green" if row.desirable else "black on dark_orange"
    line.append(scored if in_colour else f"⟦{scored}⟧", style=f"not bold {colour}")
    line.append("\n")
    return line


def _sentences(facts: dict[str, Any]) -> dict[str, str]:
    data, held_out, memory = facts["data"]["train"], facts["data"]["eval"], facts["memory"]
    parts = ", ".join(f"{name} {_size(memory[name])}" for name in PARTS if memory[name])
    weights = facts["class_weights"] or {}
    lines = {
        "model": facts["model"],
        "reference": facts["reference"],
        "z0": facts["z0"],
        "beta": facts["beta"],
        "feedback": _feedback(data, facts["config"]["online"]),
        "balance": f"{data['desirable']} desirable, {data['undesirable']} undesirable completions",
        "weights": ", ".join(f"{name} {value:.4g}" for name, value in weights.items()),
        "held out": f"{held_out['rows']} examples of {held_out['prompts']} prompts" if held_out else "nothing",
        "lengths": ""
        if data["cut"] is None
        else f"{data['cut']} completions cut at max_length {facts['config']['data']['max_length']}, "
        f"{data['empty_completions']} empty, {data['dropped']} rows dropped",
        "warning": "; ".join(data["ignored"]),
        "left out": "; ".join(_left_out(reason, places) for reason, places in data["unrenderable"].items()),
        "plain text": _plain(facts["plain_rows"], data["rows"]),
        "steps": f"{facts['steps']} of {facts['examples_per_step']} examples on average, "
        f"{facts['steps_per_epoch']} an epoch",
        "sizes": ", ".join(f"{count} of {size} pixels" for size, count in (data["sizes"] or {}).items()),
        "tokens": f"{facts['tokens']:,} in all, prompts included" if facts["tokens"] else "",
        "parameters": f"{memory['parameters']:,}, of which {memory['trainable_parameters']:,} are trained",
        "memory": _memory(memory, parts) + (_ENCODERS if data["sizes"] else ""),
    }
    if data["undesirable"] is None:
        del lines["balance"]
    return {name: text for name, text in lines.items() if text}


def _feedback(data: dict[str, Any], online: dict[str, Any] | None) -> str:
    if online is None:
        return f"{data['rows']} {data['kind']} examples of {data['prompts']} prompts"
    return (
        f"{data['prompts']} prompts, {online['prompts_per_rollout']} at a time; the policy writes "
        f"{online['samples_per_prompt']} answers to each, which {online['judge']} scores"
    )


def _left_out(reason: str, found: dict[str, Any]) -> str:
    more = ", ..." if found["rows"] > len(found["first"]) else ""
    return f"{found['rows']} rows, {reason} ({', '.join(found['first'])}{more})"


def _plain(count: int, rows: int) -> str:
    if not count:
        return ""
    return (
        f"{count} of {rows} rows go to the model as they are, without the chat template that it has; "
        "data.plain_as_chat: true makes them a user turn and an answer"
    )


def _memory(memory: dict[str, Any], parts: str) -> str:
    if memory["total"] is None:
        return (
            f"{parts}, and what a step needs on top, which cannot be told for this model without running it "
            f"({memory['unknown']}); --probe measures it"
        )
    return f"about {_size(memory['total'])} at the peak, estimated: {parts}"


def _measured(found: dict[str, Any]) -> dict[str, str]:
    """Return what a probe found, in words."""
    parts = ", ".join(
        f"{name} {span(found[name])}"
        for name in ("encoding", "training", "evaluation", "samples", "loading")
        if found[name]
    )
    return {
        "peak": f"{_size(found['peak_bytes'])} measured over {found['steps'] + 1} steps, the longest rows among them",
        "time": f"about {span(found['total'])} for the whole run: {parts}; {found['seconds_per_step']:.3g} s a step, "
        f"from {found['steps']} steps; checkpoints and the report not counted",
    }


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
