"""`prospect generate`: prompts in, sampled completions or images out."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from prospect.cli.device import add_device
from prospect.cli.progress import Counter
from prospect.cli.rendering import NAMES, add_rendering, asked_rendering, refuse_without_model
from prospect.errors import UsageError
from prospect.outputs import output_file
from prospect.terminal import say

if TYPE_CHECKING:
    from prospect.evaluation.answers.subject import Subject
    from prospect.evaluation.answers.writers import Service
    from prospect.models.diffusion.sampling import ImageSampling


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a run directory, a model or adapter folder, a .gguf file, a hub name, or endpoint:URL#NAME",
    )
    parser.add_argument(
        "--prompts",
        required=True,
        metavar="FILE",
        help="rows with a prompt, or messages up to a last answer; other columns are ignored",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=output_file,
        metavar="FILE",
        help="JSONL: prompt, completion, finished; of images prompt, image, with the images in images/ beside it",
    )
    parser.add_argument(
        "--format",
        choices=("prospect", "alpaca_eval"),
        default="prospect",
        help="alpaca_eval writes a JSON list of instruction, output, generator, dataset (default: prospect)",
    )
    parser.add_argument("--samples", type=int, default=1, help="completions of each prompt (default 1)")
    add_sampling(parser)
    add_rendering(
        parser,
        usual="as in the run; else by the model's own template, with plain prompts as user turns if it has one",
    )
    add_service(parser)
    add_drawing(parser)
    add_device(parser)


def add_drawing(parser: argparse.ArgumentParser) -> None:
    """Declare how images are drawn."""
    group = parser.add_argument_group("a pipeline, which makes images")
    group.add_argument("--steps", type=int, help="noise levels that are stepped through (default: the pipeline's own)")
    group.add_argument("--guidance", type=float, help="scale of guidance by the prompt (default: the pipeline's own)")


def drawing_from(options: argparse.Namespace, *names: str) -> ImageSampling:
    """Return how models that make images are to draw; refuse what only models that write text can be told.

    Args:
        options: of the command.
        names: of the models.
    """
    from prospect.models.diffusion.sampling import ImageSampling

    for name, usual in _OF_TEXTS.items():
        if getattr(options, name, usual) != usual:
            raise UsageError(f"--{name.replace('_', '-')} is about texts; {names[0]} makes images. Leave it out.")
    return ImageSampling(options.steps, options.guidance)


def refuse_drawing(options: argparse.Namespace) -> None:
    """Refuse what only models that make images can be told."""
    if options.steps is not None or options.guidance is not None:
        raise UsageError("--steps and --guidance are of models that make images, and none is named. Leave them out.")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Declare how completions are drawn."""
    parser.add_argument("--max-new-tokens", type=int, default=256, help="where a completion is cut (default 256)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default 0.8)")
    parser.add_argument(
        "--top-p", type=float, default=0.95, help="sample among the tokens that hold this share (default 0.95)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other completions (default 0)")
    parser.add_argument(
        "--thoughts",
        choices=("strip", "keep"),
        default="strip",
        help="what a model thinks before its answer (default: strip)",
    )
    parser.add_argument("--batch-size", type=int, default=64, help="speed and memory, never the result (default 64)")


def add_service(parser: argparse.ArgumentParser) -> None:
    """Declare how a server is asked."""
    group = parser.add_argument_group("a model behind endpoint:URL#NAME")
    group.add_argument("--concurrency", type=int, default=8, help="requests under way at a time (default 8)")
    group.add_argument("--retries", type=int, default=5, help="further tries after a failure (default 5)")
    group.add_argument(
        "--timeout",
        type=float,
        default=300.0,
        help="seconds without a byte of an answer; twice as many for all of it (default 300)",
    )
    group.add_argument("--api-key-env", metavar="NAME", help="the environment variable that holds the key")
    group.add_argument(
        "--request",
        action="append",
        metavar="NAME=VALUE",
        default=[],
        help="a further field of each request, such as max_completion_tokens=512; temperature=null leaves one out",
    )


def service_from(options: argparse.Namespace) -> Service:
    """Return what the arguments say of the server; refuse what says something of none."""
    from prospect.endpoint.request_fields import parse_request
    from prospect.evaluation.answers.subject import ENDPOINT
    from prospect.evaluation.answers.writers import Service

    service = Service(
        options.concurrency,
        options.retries,
        options.timeout,
        options.api_key_env,
        request=parse_request(options.request),
    )
    named = (getattr(options, name, None) for name in ("model", "against", "judge"))
    if service != Service() and not any(name and name.startswith(ENDPOINT) for name in named):
        raise UsageError("--concurrency, --retries, --timeout, --api-key-env and --request are for endpoint:URL#NAME.")
    return replace(service, chat=bool(options.chat))


def run(options: argparse.Namespace) -> int:
    """Generate and say how many, and what became of them."""
    from prospect.cli.announce import announce_gguf
    from prospect.cli.train import quiet_libraries
    from prospect.evaluation.answers.generate import generate_file
    from prospect.evaluation.answers.rendering import RenderingOptions
    from prospect.evaluation.answers.subject import ENDPOINT, find_subject

    if options.model.startswith(ENDPOINT):
        refuse_without_model(options, server=True)
    quiet_libraries()
    subject = find_subject(options.model, images=True)
    if subject.makes_images:
        return _draw(subject, options)
    refuse_drawing(options)
    announce_gguf(options.model)
    counts = generate_file(
        options.model,
        options.prompts,
        options.output,
        samples_per_prompt=options.samples,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
        batch_size=options.batch_size,
        format=options.format,
        service=service_from(options),
        thoughts=options.thoughts,
        progress=Counter("completions"),
        rendering=RenderingOptions(**asked_rendering(options)),
        announce=say,
    )
    say(f"{counts}: {options.output}")
    return 0


_OF_TEXTS: dict[str, object] = {
    "kl_prompts": 64,
    "kl_tokens": 128,
    "max_length": None,
    "format": "prospect",
    "max_new_tokens": 256,
    "temperature": 0.8,
    "top_p": 0.95,
    "thoughts": "strip",
    **dict.fromkeys(NAMES),
    "template_argument": [],
}
"""Arguments that images have no use for, with what they are where they are left out."""


def _draw(subject: Subject, options: argparse.Namespace) -> int:
    """Draw images and say how many."""
    from prospect.evaluation.answers.images import Painter, generate_images

    service_from(options)  # refuses what is for servers
    assert subject.source is not None, "a pipeline"
    painter = Painter(subject.source, subject.lora, drawing_from(options, subject.name), options.batch_size)
    count = generate_images(
        painter, options.prompts, options.output, samples_per_prompt=options.samples, seed=options.seed
    )
    say(f"{count} images: {options.output}")
    return 0
