"""The run directory: its layout, its writer and its reader. The only interface from training to what follows.

    config.yaml        the resolved recipe; it runs again as it is
    provenance.json    versions, hashes of data, policy and reference, what the data look like
    metrics.jsonl      one object per logged step, and per evaluation (its keys begin with eval_)
    samples.jsonl      sampled completions of the same prompts at several steps
    rollouts.jsonl     of a run that samples its data: every completion with its score
    rollouts/          the tokens and numbers of the last ones, from which a stopped run goes on
    evaluation/*.json  scores with intervals
    checkpoints/step-N/  model/  report.html

No torch here: the report reads it in a fraction of a second.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import JsonValue

from prospect.atomic import write_json, write_text
from prospect.errors import CheckpointError
from prospect.results.run import ROLLOUT, AlarmsRow, MetricsRow, Provenance, RolloutRow, SampleRow, find_fault
from prospect.results.stored import Part, parse_part, read_json

if TYPE_CHECKING:
    from polars import DataFrame

    from prospect.results.evaluation import AnyEvaluation

# What a run writes under fixed names: in its start, and later. It would replace a file of another's.
_START = ("config.yaml", "metrics.jsonl", "samples.jsonl", "provenance.json")
_LATER = ("checkpoints", "model", "report.html", "rollouts", "rollouts.jsonl")


class RunDir:
    """One run's directory, to read and to write.

    Attributes:
        path: the directory; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunDir({str(self.path)!r})"

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def config_path(self) -> Path:
        """The resolved recipe."""
        return self.path / "config.yaml"

    @property
    def provenance_path(self) -> Path:
        """Where the run came from."""
        return self.path / "provenance.json"

    @property
    def metrics_path(self) -> Path:
        """One JSON object per logged step."""
        return self.path / "metrics.jsonl"

    @property
    def samples_path(self) -> Path:
        """One JSON object per sampled completion."""
        return self.path / "samples.jsonl"

    @property
    def rollouts_path(self) -> Path:
        """One JSON object per completion that was learnt from."""
        return self.path / "rollouts.jsonl"

    @property
    def checkpoints_path(self) -> Path:
        """The folder of `step-N` folders."""
        return self.path / "checkpoints"

    @property
    def model_path(self) -> Path:
        """The aligned model, in Transformers or PEFT layout."""
        return self.path / "model"

    @property
    def evaluation_path(self) -> Path:
        """The folder of evaluation results."""
        return self.path / "evaluation"

    @property
    def report_path(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    def exists(self) -> bool:
        """Whether a run has been here."""
        return self.config_path.exists()

    def begun(self) -> bool:
        """Return whether a run finished a step here: a checkpoint, a logged step or a finished model is on record."""
        return (
            bool(self.checkpoints())
            or self.provenance().finished is not None
            or any(row["step"] >= 1 for row in self.metrics())
        )

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints' folders in the order of their steps."""
        return find_checkpoints(self.checkpoints_path)

    def require_free(self, resume: bool = False) -> None:
        """Refuse a folder that a run must not write into. No torch: the command line asks before it loads any.

        What a run left that never finished a step is in nobody's way.

        Args:
            resume: whether the run goes on where another one stopped.

        Raises:
            CheckpointError: it holds another run, or files under a run's names that no run wrote.
        """
        if self.begun():
            if resume:
                return
            raise CheckpointError(
                f"{self.path} holds another run. Continue that one with --resume, choose another --output, or "
                "remove the folder."
            )
        started = self.provenance().prospect is not None
        foreign = [name for name in (("model",) if started else _START + _LATER) if (self.path / name).exists()]
        if foreign:
            raise CheckpointError(
                f"{self.path} holds {foreign[0]}, which no run wrote and this one would replace. Choose another "
                "--output."
            )

    # -- reading: what is absent is empty, so that a run in progress can be read ---------------------------

    def config(self) -> dict[str, Any]:
        """Return the resolved recipe."""
        if not self.config_path.exists():
            return {}
        try:
            recipe = yaml.safe_load(self.config_path.read_text(encoding="utf-8")) or {}
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{self.config_path}: not valid YAML ({reason}). Was it edited by hand?") from None
        if not isinstance(recipe, dict):
            raise CheckpointError(f"{self.config_path}: holds no recipe. Was it edited by hand?")
        return recipe

    def provenance(self) -> Provenance:
        """Return versions, hashes and data summaries; all null or empty where there is no file."""
        return Provenance.read(self.provenance_path) if self.provenance_path.exists() else Provenance()

    def metrics(self) -> list[MetricsRow]:
        """Return every logged row of numbers, training steps and evaluations, in order."""
        return self.logged()[0]

    def metrics_frame(self) -> DataFrame:
        """Return `metrics` as a Polars table, a column for each name and null where a row lacks it.

        `to_pandas()` makes one of pandas of it, where pandas is installed.
        """
        import polars

        rows = self.metrics()
        names = {name: None for row in rows for name in row}
        whole = {"step": polars.Int64} if rows else {}
        types = {name: whole.get(name, polars.Float64) for name in names}
        return polars.DataFrame(rows, schema=types)

    def alarms(self) -> list[AlarmsRow]:
        """Return every row of alarms, in order."""
        return self.logged()[1]

    def logged(self) -> tuple[list[MetricsRow], list[AlarmsRow]]:
        """Return what `metrics` and `alarms` do, of one reading."""
        numbers, alarms = [], []
        for number, row in _read_jsonl(self.metrics_path):
            if "alarms" in row:
                alarms.append(parse_part(AlarmsRow, row, f"{self.metrics_path}:{number}"))
                continue
            fault = find_fault(row)
            if fault is not None:
                raise CheckpointError(
                    f"{self.metrics_path}:{number}: {fault}. Was it edited by hand? Delete that line."
                )
            numbers.append(row)
        return numbers, alarms

    def samples(self) -> list[SampleRow]:
        """Return every sampled completion."""
        lines = _read_jsonl(self.samples_path)
        return [parse_part(SampleRow, row, f"{self.samples_path}:{number}") for number, row in lines]

    def evaluations(self) -> dict[str, AnyEvaluation | JsonValue]:
        """Return the evaluation files' contents by file stem: ours as models, any other as it is."""
        from prospect.results.evaluation import parse_evaluation

        paths = sorted(self.evaluation_path.glob("*.json"))
        return {path.stem: parse_evaluation(read_json(path), path) for path in paths}

    # -- writing ----------------------------------------------------------------------------------------

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the resolved recipe."""
        with _writing(self.config_path):
            write_text(self.config_path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    def write_provenance(self, provenance: Provenance) -> None:
        """Write where the run comes from."""
        with _writing(self.provenance_path):
            provenance.write(self.provenance_path)

    def write_evaluation(self, name: str, result: AnyEvaluation | JsonValue) -> Path:
        """Write one evaluation's result."""
        path = self.evaluation_path / f"{name}.json"
        with _writing(path):
            write_json(path, result.as_dict() if isinstance(result, Part) else result)
        return path

    def append_metrics(self, values: MetricsRow) -> None:
        """Append a row of numbers to the metrics."""
        _append_jsonl(self.metrics_path, [values])

    def append_alarms(self, row: AlarmsRow) -> None:
        """Append a row of alarms to the metrics."""
        _append_jsonl(self.metrics_path, [row.as_dict()])

    def append_samples(self, samples: Iterable[SampleRow]) -> None:
        """Append sampled completions."""
        _append_jsonl(self.samples_path, [sample.as_dict() for sample in samples])

    def append_rollout(self, rows: Iterable[RolloutRow]) -> None:
        """Append completions that are learnt from."""
        _append_jsonl(self.rollouts_path, [row.as_dict() for row in rows])

    def rollouts(self) -> list[RolloutRow]:
        """Return every completion that was learnt from."""
        lines = _read_jsonl(self.rollouts_path)
        return [parse_part(RolloutRow, row, f"{self.rollouts_path}:{number}") for number, row in lines]

    def rewind_rollouts(self, last: int) -> None:
        """Forget rollouts after number `last`, and what was logged of them."""
        _keep(self.rollouts_path, lambda row: row["rollout"] <= last)
        _keep(self.metrics_path, lambda row: row.get(ROLLOUT, last) <= last)

    def forget_start(self) -> None:
        """Remove what a run wrote that never finished a step; its provenance, which marks the rest as its own, last."""
        if self.provenance().prospect is not None:
            for name in _START:
                (self.path / name).unlink(missing_ok=True)

    def sizes(self) -> dict[Path, int]:
        """Return how long metrics and samples are, for `cut`."""
        return {path: path.stat().st_size if path.exists() else 0 for path in (self.metrics_path, self.samples_path)}

    def cut(self, sizes: Mapping[Path, int]) -> None:
        """Forget what was appended since `sizes`."""
        for path, size in sizes.items():
            if path.exists():
                os.truncate(path, size)

    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`, so that a resumed run logs every step once.

        Raises:
            CheckpointError: a row that no run wrote.
        """
        self.logged(), self.samples()
        for path in (self.metrics_path, self.samples_path):
            _keep(path, lambda row: row["step"] <= step)


def find_checkpoints(folder: Path) -> list[Path]:
    """Return the `step-N` folders in the order of their steps; a half-written one never bears such a name."""
    found = [path for path in folder.glob("step-*") if path.name[5:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def _read_jsonl(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read one object per line, with its number; a torn last line, which a killed run leaves, is not an object yet."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")  # bytes: a torn line may end inside a character
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except ValueError as error:
            if number == len(lines):
                break
            raise CheckpointError(f"{path}:{number}: not valid JSON ({error}).") from None
        if not isinstance(row, dict):
            raise CheckpointError(f"{path}:{number}: no object. Was it edited by hand?")
        rows.append((number, row))
    return rows


def _keep(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Leave in a file the rows that are wanted."""
    if path.exists():
        kept = [row for _, row in _read_jsonl(path) if wanted(row)]
        with _writing(path):
            write_text(path, "".join(_line(row) for row in kept))


def _append_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write("".join(_line(row) for row in rows))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in words that a disk is full or not writable.

    Raises:
        CheckpointError: it is.
    """
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror}). Free some space; a run continues with --resume."
        ) from error


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
