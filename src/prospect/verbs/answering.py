"""Files of completions and of thumbs: a model answers prompts, a judge labels completions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prospect.outputs import output_file
from prospect.verbs.arguments import LabelMap, Place, Places, judge_of, places_of

if TYPE_CHECKING:
    from prospect.evaluation.answers.answers import Counts, Thoughts
    from prospect.evaluation.contest.judges.base import Judge
    from prospect.rounds.label_file import Cut, Labelled


def generate(
    model: Place,
    prompts: Place,
    output: Place,
    *,
    samples: int = 1,
    max_new_tokens: int = 256,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
    thoughts: Thoughts = "strip",
    batch_size: int = 64,
) -> Counts:
    """Let a model answer prompts, as rows of `prompt, completion, finished` (`prospect generate`).

    Args:
        model: a run directory, a model's or adapter's folder, a .gguf file, a hub name, or endpoint:URL#NAME.
        prompts: a file of rows with a prompt.
        output: a .jsonl file; it appears whole or not at all.
        samples: completions of each prompt.
        max_new_tokens: where a completion is cut.
        temperature: 0 is greedy.
        top_p: sample among the tokens that hold this share.
        seed: another seed, other completions.
        thoughts: strip or keep what a model thought before its answer.
        batch_size: speed and memory, never the result.

    Raises:
        ProspectError: as `prospect.evaluation.answers.generate.generate_file`.
    """
    from prospect.evaluation.answers.generate import generate_file

    return generate_file(
        os.fspath(model),
        os.fspath(prompts),
        output_file(os.fspath(output)),
        samples_per_prompt=samples,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        thoughts=thoughts,
        batch_size=batch_size,
    )


def label(
    files: Places,
    output: Place,
    *,
    judge: str | Judge,
    threshold: str | None = None,
    cut: Cut = "judge",
    rubric: str | None = None,
    target: str = "target",
    label_map: LabelMap | None = None,
) -> Labelled:
    """Let a judge give a thumb to each completion of a file (`prospect label`).

    Args:
        files: rows of prompt and completion, or feedback of any kind.
        output: a .jsonl file of thumbs; it appears whole or not at all.
        judge: its name, as on the command line, or the judge itself; one that scores.
        threshold: from which score on a completion is good: equal, a number, median or prompt_median.
        cut: what becomes of a completion that the limit of tokens cut: judge, undesirable or drop.
        rubric: the question, for judges that can be asked one.
        target: the column with the right answers, for verifiers.
        label_map: label -> desirable.

    Raises:
        ProspectError: as `prospect.rounds.label_file.label_file`.
    """
    from prospect.rounds.label_file import Labelling, label_file
    from prospect.rounds.labels import Threshold

    how = Labelling(threshold=Threshold.parse(threshold) if threshold else None, cut=cut, target=target)
    place = output_file(os.fspath(output))
    found = places_of(files)
    assert found is not None, "there are files"
    return label_file(found, judge_of(judge, rubric), place, how=how, label_map=label_map)
