"""Whether a model's folder gives elsewhere what it gives here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prospect import __version__, progress
from prospect.errors import UsageError
from prospect.evaluation.answers.subject import Subject, find_subject
from prospect.evaluation.handover.files import check_files
from prospect.evaluation.handover.rendered import Tried, check_template, training_of, try_rows
from prospect.evaluation.handover.rows import find_rows
from prospect.feedback.files.sources import Source
from prospect.model_source import ModelSource, is_run
from prospect.models.loading import first_line
from prospect.results.model_check import CheckedRow, ModelCheck, ModelFinding


def check_model(
    model: str | Path, run: str | Path | None = None, data: Source | None = None, max_new_tokens: int = 256
) -> ModelCheck:
    """Try a model's folder as a server would load it, and compare with the run that made it.

    Args:
        model: a run directory, an adapter's folder, or a whole model's, such as a merged one.
        run: the run that made it; the folder's own where it lies in one.
        data: feedback whose first three rows are tried; the run's by default.
        max_new_tokens: where an answer is cut.

    Raises:
        UsageError: no folder of a model that writes text.
        ModelError: an adapter without its base, or with pickled weights.
        DataError: `data` cannot be read.
    """
    subject = find_subject(model)
    source = _folder(subject)
    made_by = _run_of(subject, source, run)
    findings = [check_files(source)]
    training, why = training_of(made_by)
    plain, tokenizer, fault = _load(source, subject)
    if plain is None:
        findings.append(fault)
        return _result(subject, made_by, "", findings, [])
    rows, rows_from = find_rows(made_by.config if made_by else None, data, chats=bool(tokenizer.chat_template))
    tried = try_rows(rows, tokenizer, made_by or subject, training)
    from prospect.evaluation.handover.plain import answer, check_end, check_logps, logps_of

    findings += [fault, check_template(tried, training, why, source.place)]
    taught = training.ends if training is not None else True
    findings.append(check_end(tried, plain, tokenizer, taught=taught, place=source.root.place))
    with progress.phase("letting it answer"):
        answers = [
            answer(plain, tokenizer, one.served or one.prompt, max_new_tokens)
            for one in progress.counted(tried, "answers", len(tried))
        ]
    findings.append(_check_answers([finished for _, finished in answers], max_new_tokens, taught))
    with progress.phase("comparing log-probs"):
        logps = logps_of(plain, tried)
        del plain
        findings.append(check_logps(source, (made_by or subject).settings, tried, logps))
    checked = [_checked(one, answered, tokenizer) for one, answered in zip(tried, answers, strict=True)]
    return _result(subject, made_by, rows_from, findings, checked)


def _folder(subject: Subject) -> ModelSource:
    source = subject.source
    if source is None or source.gguf or not source.is_local:
        raise UsageError(f"{subject.name}: expected a folder: a run directory, a merged model or an adapter.")
    if subject.is_reward_model:
        raise UsageError(f"{subject.name}: a reward model scores and writes nothing. Name a language model.")
    return source


def _run_of(subject: Subject, source: ModelSource, named: str | Path | None) -> Subject | None:
    if named is not None:
        run = find_subject(named)
        if run.run is None:
            raise UsageError(f"--run {named}: expected a run directory, which prospect train writes.")
        return run
    if subject.run is not None:
        return subject
    above = Path(source.place).resolve().parent
    return find_subject(above) if is_run(above) and (above / "model").samefile(source.place) else None


def _load(source: ModelSource, subject: Subject) -> tuple[Any, Any, ModelFinding]:
    from transformers import AutoTokenizer

    from prospect.evaluation.handover.plain import load_plain

    libraries = "Transformers and PEFT" if source.kind == "adapter" else "Transformers"
    with progress.phase(f"loading {subject.name} as {libraries} do"):
        try:
            trusted = subject.settings.trust_remote_code
            tokenizer = AutoTokenizer.from_pretrained(source.tokenizer.place, trust_remote_code=trusted)
            model = load_plain(source, subject.settings)
        except Exception as error:  # of half a dozen kinds
            advice = "Merge it, and check what comes out: prospect merge." if source.kind == "adapter" else ""
            said = f"{libraries} alone cannot load it: {first_line(error)}"
            wrong = ModelFinding(name="loading", state="wrong", found=said, do=advice or "Copy the whole folder again.")
            return None, None, wrong
    return model, tokenizer, ModelFinding(name="loading", state="ok", found=f"{libraries} alone load it")


def _check_answers(finished: list[bool], max_new_tokens: int, taught: bool) -> ModelFinding:
    said = f"{sum(finished)} of {len(finished)} greedy answers end by themselves within {max_new_tokens} tokens"
    if any(finished) or not taught:
        return ModelFinding(name="answer", state="ok" if any(finished) else "unknown", found=said)
    return ModelFinding(
        name="answer",
        state="wrong",
        found=said,
        do="Allow more (--max-new-tokens). If end_token is wrong, mend that first; else the model has not learnt to "
        "stop: train on finished answers.",
    )


def _checked(tried: Tried, answered: tuple[str, bool], tokenizer: Any) -> CheckedRow:
    prompt = tried.row.prompt
    shown: Any = prompt if isinstance(prompt, str) else [turn.as_dict() for turn in prompt]
    return CheckedRow(
        prompt=shown,
        served="" if tried.served is None else tokenizer.decode(tried.served),
        trained=None if tried.trained is None else tokenizer.decode(tried.trained),
        answer=answered[0],
        finished=answered[1],
    )


def _result(
    subject: Subject, run: Subject | None, rows_from: str, findings: list[ModelFinding], rows: list[CheckedRow]
) -> ModelCheck:
    return ModelCheck(
        prospect=__version__,
        model=subject.name,
        kind="adapter" if subject.base is not None else "model",
        run=run.name if run is not None else None,
        rows_from=rows_from,
        findings=findings,
        rows=rows,
    )
