"""The prompts that a run held out, with the right answers where a column has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prospect.evaluation.answers.held_out import read_held_out
from prospect.evaluation.answers.subject import Subject
from prospect.feedback.files.questions import Question, read_questions
from prospect.feedback.records import Feedback
from prospect.feedback.split import prompt_key


def read_held_out_questions(
    subject: Subject, *, target: str = "target", label_map: Mapping[Any, bool] | None = None
) -> tuple[list[Question], list[Feedback], str]:
    """Return the prompts that a run held out, the feedback on them, and where they come from.

    Raises:
        UsageError: it is no run, or held nothing out.
    """
    records, source = read_held_out(subject, None, label_map)
    assert subject.config is not None, "else there was nothing to read"
    data = subject.config.data
    file = data.train if isinstance(data.eval, int | float) or data.eval is None else data.eval
    held_out = {prompt_key(record.prompt) for record in records}
    questions = read_questions(file, target=target, label_map=label_map or data.label_map)
    return [question for question in questions if question.key in held_out], records, source
