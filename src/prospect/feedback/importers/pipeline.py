"""The export of a chat tool -> clean rows: what all importers share.

The importers yield one item for every verdict of an export. Here verdicts become labels, of several votes of one rater
on one completion the latest counts, raters get other names, what cannot be used is counted by reason, and the rest is
written. Texts wait in a temporary file until it is known which votes count, so that memory holds a few numbers for each
row and no text.
"""

from __future__ import annotations

import functools
import itertools
import json
import tempfile
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from prospect.atomic import atomic_file
from prospect.errors import DataError, UsageError
from prospect.feedback.frozen.pseudonym import pseudonym, rater_key
from prospect.feedback.frozen.tombstones import Graveyard
from prospect.feedback.importers import GENERIC, columns_of, get_importer, recognise
from prospect.feedback.importers.made_rows import Made, RowMaker, Tally, Unusable, digest
from prospect.feedback.importers.polarity import Polarity
from prospect.feedback.importers.report import ImportReport, by_frequency, file_names
from prospect.feedback.importers.shapes.base import Dropped, Importer, Item, Options, Preference, Ranking, Vote
from prospect.feedback.importers.shapes.reading import sample
from prospect.feedback.importers.tools.generic import other_names
from prospect.feedback.records import Kind
from prospect.feedback.times import read_time
from prospect.feedback.wording import names
from prospect.file_kinds import kind_of
from prospect.outputs import output_file

SUPERSEDED = "a later vote of the same rater on the same completion"
TAKEN_BACK = "vote taken back"
NEUTRAL = "neutral verdict"
CORRECTION_ALONE = "correction without a verdict"
RELATIVE = "relative vote"

_WHAT: dict[Kind, str] = {"unpaired": "vote", "paired": "preference", "scored": "ranking"}
_KEPT = 0  # the outcome of a row that is written; the others are places in the list of reasons
_LONG_AGO = float("-inf")


def import_feedback(
    files: Sequence[str | Path],
    output: str | Path | None,
    *,
    format: str | None = None,
    options: Options | None = None,
    label_map: Mapping[Any, bool | None] | None = None,
    kind: Kind | None = None,
    relative: Literal["keep", "drop"] = "keep",
    corrections: bool = False,
    redact: bool = False,
    keep_rater_names: bool = False,
    purged: Graveyard | None = None,
) -> ImportReport:
    """Turn an export into a feedback file, and return the account of its rows.

    Of several votes of one rater on one completion the latest counts: by time, where a vote without a time is older
    than those that have one, and by their order otherwise. A vote taken back takes the earlier ones with it.

    Args:
        files: the export's files; some tools need two (scores and observations, votes and chats).
        output: the .jsonl file to write, whole or not at all; None only counts. Nothing is written where nothing is
            kept.
        format: an importer's name; None finds it by the files' shape.
        options: what the importer must be told; see `Options`.
        label_map: verdict -> true, false or null (neutral), over and above what the importer knows.
        kind: keep only votes (unpaired), preferences (paired) or rankings (scored) of an export that holds several.
        relative: whether votes that compare with a sibling are kept, marked as such, or dropped.
        corrections: whether answers that raters wrote in place of a completion become desirable rows.
        redact: whether e-mail addresses and other personal data in the texts are replaced.
        keep_rater_names: whether raters keep their names instead of getting pseudonyms.
        purged: rows that were removed from a dataset, or whose rater was; they do not come back.

    Refuses files that are missing or of no known format, a verdict that nobody declared, options that the importer does
    not know, both kinds at once, and an output that is one of the files.
    """
    paths = [Path(file).expanduser() for file in files]
    options = options or Options()
    _check_files(paths, output)
    importer, why = _importer(paths, format, options)
    _check_options(importer, options)
    return import_items(
        importer.read(paths, options),
        output,
        importer=importer,
        why=why,
        paths=paths,
        label_map=label_map,
        kind=kind,
        relative=relative,
        corrections=corrections,
        redact=redact,
        keep_rater_names=keep_rater_names,
        purged=purged,
    )


def import_items(
    items: Iterable[Item],
    output: str | Path | None,
    *,
    importer: Importer,
    why: str,
    paths: Sequence[Path],
    label_map: Mapping[Any, bool | None] | None = None,
    kind: Kind | None = None,
    relative: Literal["keep", "drop"] = "keep",
    corrections: bool = False,
    redact: bool = False,
    keep_rater_names: bool = False,
    purged: Graveyard | None = None,
    late: Callable[[], Mapping[int, str]] = dict,
) -> ImportReport:
    """Write the rows of what an importer yields; arguments, refusals and account are those of `import_feedback`.

    `late` says, once all items were taken, which of those that are kept are dropped: their number from 0, and why.
    """
    maker = RowMaker(
        importer.name, paths, redact=redact, raters=_rater_names(keep_rater_names or output is None), purged=purged
    )
    with tempfile.TemporaryFile() as spool:
        intake = _Intake(
            spool,
            maker,
            Polarity(importer, label_map),
            kind=kind,
            drop_relative=relative == "drop",
            corrections=corrections,
        )
        for item in items:
            intake.add(item)
        intake.drop_late(late())
        numbers = intake.finish(None if output is None else Path(output))
    return ImportReport(format=importer.name, title=importer.title, why=why, files=file_names(paths), **numbers)


def _check_files(paths: Sequence[Path], output: str | Path | None) -> None:
    if not paths:
        raise UsageError("there are no files to import; name at least one")
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file. Check the name; the current folder is {Path.cwd()}")
        if not path.is_file():
            raise DataError(f"{path}: is {kind_of(path.stat())}; expected files. Name them")
    if output is None:
        return
    output = Path(output)
    if output.suffix.lower() not in (".jsonl", ".ndjson"):
        raise UsageError(f"{output}: JSON lines are written to .jsonl or .ndjson. Change the name")
    if output.exists() and any(output.samefile(path) for path in paths):
        raise UsageError(f"{output}: is one of the files to import; it would be lost. Give another output")
    output_file(output)


def _importer(paths: Sequence[Path], format: str | None, options: Options) -> tuple[Importer, str]:
    if format is not None:
        return get_importer(format), "as you said"
    if options.columns:
        return get_importer(GENERIC), "columns are named"
    samples = [sample(path) for path in paths]
    why = columns_of(samples)
    try:
        importer = recognise(samples)
    except DataError:
        if options.label_key is None or not all(options.label_key in one.columns for one in samples):
            raise
        importer = get_importer(GENERIC)
    others = {field: column for one in samples for field, column in other_names(one).items()}
    if importer.name == GENERIC and others:
        why += f"; {names(f'{column} is taken as {field}' for field, column in others.items())}"
    return importer, why


def _check_options(importer: Importer, options: Options) -> None:
    said = {"columns": ("--map", options.columns), "label_key": ("--label-key", options.label_key)}
    for name, (flag, value) in said.items():
        if value and name not in importer.options:
            raise UsageError(f"the format {importer.name} takes no {flag}. Leave it out, or name another format")


def _rater_names(keep: bool) -> Callable[[str], str]:
    """Return what a rater is called; the key is asked for when the first one needs a name."""
    if keep:
        return lambda rater: rater.encode(errors="replace").decode()
    key = functools.cache(rater_key)
    return functools.lru_cache(maxsize=100_000)(lambda rater: pseudonym(rater, key()))


class _Intake:
    """Takes the items of one import: decides each one's outcome, and spools what may be written.

    There is one outcome for each item: 0 for kept, else the place of its reason. What the report says is counted from
    the outcomes, so the account adds up whatever was decided in between.
    """

    def __init__(
        self,
        spool: IO[bytes],
        maker: RowMaker,
        polarity: Polarity,
        *,
        kind: Kind | None,
        drop_relative: bool,
        corrections: bool,
    ):
        self._spool = spool
        self._maker = maker
        self._polarity = polarity
        self._asked_kind = kind
        self._drop_relative = drop_relative
        self._corrections = corrections
        self._first: tuple[Kind, str] | None = None  # the kind of the first item that has one, and where it was
        self._outcomes = array("L")
        self._times = array("d")  # of each item, in seconds since 1970
        self._reasons = ["kept"]
        self._unwritten = {SUPERSEDED}  # reasons that go for what was spooled
        self._examples: dict[str, tuple[int, str]] = {}
        self._latest: dict[bytes, int] = {}  # digest of rater and completion -> the item that is the latest vote
        self._unusable_corrections = 0

    def add(self, item: Item) -> None:
        """Take one verdict of the export."""
        number = len(self._outcomes)
        self._outcomes.append(_KEPT)
        self._times.append(_LONG_AGO)
        if isinstance(item, Dropped):
            reason: str | None = item.reason
        elif isinstance(item, Preference | Ranking):
            reason = self._compared(item, number)
        else:
            reason = self._vote(item, number)
        if reason is not None:
            self._drop(number, reason)
            self._examples.setdefault(reason, (number, item.where))

    def drop_late(self, reasons: Mapping[int, str]) -> None:
        """Drop items that were kept so far, with their corrections."""
        for number, reason in reasons.items():
            if self._outcomes[number] == _KEPT:
                self._drop(number, reason)
        self._unwritten |= set(reasons.values())

    def _drop(self, number: int, reason: str) -> None:
        if reason not in self._reasons:  # a short list: a reason is the same few words for all rows like it
            self._reasons.append(reason)
        self._outcomes[number] = self._reasons.index(reason)

    def _compared(self, item: Preference | Ranking, number: int) -> str | None:
        kind: Kind = "paired" if isinstance(item, Preference) else "scored"
        if not self._is_asked_for(kind, item.where):
            return f"{_WHAT[kind]}, and only {_WHAT[self._asked_kind or kind]}s were asked for"
        if isinstance(item, Preference):
            return self._spooled(number, lambda: self._maker.preference(item))
        return self._spooled(number, lambda: self._maker.ranking(item))

    def _vote(self, vote: Vote, number: int) -> str | None:
        """Why the vote is dropped; None if it is kept as far as can be known now."""
        if not self._is_asked_for("unpaired", vote.where):
            return f"vote, and only {_WHAT[self._asked_kind or 'paired']}s were asked for"
        desirable = None if vote.verdict is None else self._polarity.read(vote.verdict, vote.where)
        alone = vote.verdict is None and vote.correction is not None
        if self._is_superseded(vote, number, alone):
            return SUPERSEDED
        if self._corrections and vote.correction is not None:
            unusable = self._spooled(number, lambda: self._maker.correction(vote))
            self._unusable_corrections += unusable is not None
        if alone:
            return CORRECTION_ALONE
        if desirable is None:
            return TAKEN_BACK if vote.verdict is None else NEUTRAL
        if vote.relative and self._drop_relative:
            return RELATIVE
        return self._spooled(number, lambda: self._maker.vote(vote, desirable))

    def _is_asked_for(self, kind: Kind, where: str) -> bool:
        if self._asked_kind is not None:
            return kind == self._asked_kind
        first, first_where = self._first = self._first or (kind, where)
        if kind != first:
            raise DataError(
                f"{where}: the row is {kind}, but {first_where} is {first}; expected one kind in one output. "
                "Import each by itself: --kind unpaired for the votes, --kind paired for the preferences, "
                "--kind scored for the rankings"
            )
        return True

    def _is_superseded(self, vote: Vote, number: int, alone: bool) -> bool:
        """Whether an earlier row of the export is the later vote; where it is not, that one is dropped."""
        if vote.completion_id is None:
            return False
        time = read_time(vote.time)
        if time is not None:
            self._times[number] = time.timestamp()
        # A correction without a verdict takes no verdict back, and a verdict no correction.
        key = digest(json.dumps([vote.rater, vote.completion_id, alone], default=str))
        before = self._latest.get(key)
        if before is not None and self._times[before] > self._times[number]:
            return True
        if before is not None:
            self._drop(before, SUPERSEDED)
        self._latest[key] = number
        return False

    def _spooled(self, number: int, make: Callable[[], Made]) -> str | None:
        """Why no row can be made; None where it waits in the temporary file."""
        try:
            made = make()
        except Unusable as problem:
            return str(problem)
        self._spool.write(orjson.dumps([number, *made[:-1]]) + b"\n" + made.line)
        return None

    def finish(self, output: Path | None) -> dict[str, Any]:
        """Write the rows that count, and return the numbers of the report."""
        self._latest.clear()
        sums = Counter(self._outcomes)
        kept = sums.pop(_KEPT, 0)
        tally = Tally()
        lines = tally.take(self._survivors())
        if output is not None:
            _write(lines, output)
        else:
            deque(lines, maxlen=0)
        numbers = tally.numbers()
        assert tally.rows == kept + numbers["corrections"], "every row that counts is written once"
        dropped = {self._reasons[reason]: count for reason, count in sums.items()}
        return {
            "output": None if output is None or not tally.rows else str(output),
            "kind": self._asked_kind or (self._first[0] if self._first else None),
            "rows_in": len(self._outcomes),
            "kept": kept,
            "dropped": by_frequency(dropped),
            "examples": {
                reason: where
                for reason, (number, where) in self._examples.items()
                if self._reasons[self._outcomes[number]] == reason
            },
            "unusable_corrections": self._unusable_corrections,
            **numbers,
        }

    def _survivors(self) -> Iterator[Made]:
        """Yield the spooled rows whose vote was not dropped later: of one that was dropped at once, its correction."""
        unwritten = {place for place, reason in enumerate(self._reasons) if reason in self._unwritten}
        self._spool.seek(0)
        for facts in self._spool:
            line = self._spool.readline()
            number, *fields = orjson.loads(facts)
            if self._outcomes[number] not in unwritten:
                yield Made._make([*fields, line])


def _write(lines: Iterable[bytes], output: Path) -> None:
    """Write the lines whole or not at all; where there are none, what was there stays."""
    lines = iter(lines)
    first = next(lines, None)
    if first is None:
        return
    try:
        with atomic_file(output) as file:
            file.writelines(itertools.chain([first], lines))
    except OSError as error:
        raise DataError(f"{output}: cannot be written: {error.strerror}. Check the folder") from error
