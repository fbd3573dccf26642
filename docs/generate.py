"""Writes docs/recipe.md, docs/rounds-recipe.md, docs/commands.md and docs/schemas/ from the code.

So they cannot fall behind it.

python docs/generate.py            writes them all
python docs/generate.py --check    says whether they are up to date, and writes nothing
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from prospect import results
from prospect.cli.main import VERBS
from prospect.config import Config, _section_of
from prospect.results.before_after import BeforeAfterResult
from prospect.results.benchmarks import BenchmarksResult
from prospect.results.contest import ContestResult, JudgeResult
from prospect.results.feedback import FeedbackResult
from prospect.results.model_check import ModelCheck
from prospect.results.registry import RegistryFile
from prospect.results.rounds import Ledger
from prospect.results.run import AlarmsRow, Provenance, RolloutRow, SampleRow
from prospect.results.stored import Part
from prospect.results.study import CellFailure, CellOutcome, StartOutcome, StudyResult
from prospect.rounds.recipe import RoundsSettings

DOCS = Path(__file__).resolve().parent
WRITTEN_BY = "<!-- Written by docs/generate.py (make docs). Edit the code it describes, not this page. -->"

RECIPE_HEAD = f"""{WRITTEN_BY}

# The recipe

A recipe is a YAML file. `model.name_or_path`, `data.train` (or `online.prompts`) and `output` must be there;
everything else has a default. A key that is not listed here is an error, and so is a value out of its bounds: every
setting is used or refused. The recipe with all defaults filled in is written to `config.yaml` in the
[run directory](run-directory.md), and that file is a recipe again.

What YAML reads otherwise than people mean it is refused, with its line: a key that is there twice, a date or
`1:30` without quotes, `010`, `.nan`, tags and binary data, a key such as `no` without quotes, aliases that make
more than 100,000 values.

Any key can be set from the command line, and what is said there wins:

```bash
prospect train recipes/kto.yaml --set train.learning_rate=1e-5 loss.beta=0.2
```

The commonest keys have flags of their own, which mean the same: `--lora`, `--learning-rate`, `--batch-size` and others
([all](commands.md#prospect-train)). A key that is said by a flag and by `--set` is refused. `prospect init` writes a
first recipe for your feedback.

Paths are relative to the folder you run the command in, and `~` is your home folder. Where the run is to write is tried
before anything is computed. [`recipes/kto.yaml`](../recipes/kto.yaml) is a recipe
with comments to start from.
"""

ROUNDS_HEAD = f"""{WRITTEN_BY}

# The recipe of rounds

The keys of the section `rounds`, which a recipe of [rounds](rounds.md) has beside those of [any recipe](recipe.md).
Those hold in the training run of every round; `data.train` is left out, for rounds train on what they sample. Where the
protocol has defaults of its own (`spin`), they win over these.
"""

LORA_NOTE = """\
Any other option of the installed PEFT's `LoraConfig` goes here by its own name (`exclude_modules`, `target_parameters`,
`init_lora_weights: gaussian`, ...) and is passed on. One that PEFT does not have is refused, and so is one with which
the model with its adapter off would not be the model that the run starts from: `bias`, starts such as PiSSA or OLoRA,
which change the frozen weights, `layer_replication`.
"""

LOSS_NOTE = """\
The other keys of `loss` are the hyperparameters of the loss that is named, [one of these](losses.md) or
[your own](own-loss.md). `prospect losses` lists them with their defaults. `loss: kto` is short for
`loss: {name: kto}`.
"""

NOTES = {"loss": LOSS_NOTE, "model.lora": LORA_NOTE}

COMMANDS_HEAD = f"""{WRITTEN_BY}

# Commands

`prospect COMMAND --help` says the same. Messages for people go to stderr; where a command has `--json`,
it prints one JSON document on stdout. A command that takes long says at least every ten seconds what it does
and how far it is. The exit code is 0 when done, 1 when it failed, 2 when the command or
the recipe was wrong. `python -m prospect` is the same program.

`prospect --print-completion bash` (`zsh`, `tcsh`) prints a script by which the shell completes verbs, flags, choices
and names of files. For bash: `prospect --print-completion bash > ~/.local/share/bash-completion/completions/prospect`.

Where a command writes is tried before it reads anything: an output that is a folder, a pipe or a read-only
file, and one whose folder is not there or takes no files, is refused at once. What messages quote of files is
escaped: an escape byte in a name or a text is shown as `\\x1b`. JSON on stdout is not touched.
"""


def pages() -> dict[str, str]:
    """Return the generated pages by file name."""
    schemas = {f"schemas/{name}.json": schema_of(model) for name, model in SCHEMAS.items()}
    rounds = "\n".join([ROUNDS_HEAD, *_section("rounds", RoundsSettings)])
    return {"recipe.md": recipe_page(), "rounds-recipe.md": rounds, "commands.md": commands_page(), **schemas}


# -- the files that are written ---------------------------------------------------------------------------

SCHEMAS: dict[str, type[Part]] = {
    "provenance": Provenance,
    "sample": SampleRow,
    "rollout": RolloutRow,
    "alarms": AlarmsRow,
    "feedback": FeedbackResult,
    "contest": ContestResult,
    "judge": JudgeResult,
    "benchmarks": BenchmarksResult,
    "before_after": BeforeAfterResult,
    "rounds": Ledger,
    "registry": RegistryFile,
    "study": StudyResult,
    "study_start": StartOutcome,
    "study_outcome": CellOutcome,
    "study_failure": CellFailure,
    "model_check": ModelCheck,
}


def schema_of(model: type[Part]) -> str:
    """Return the JSON schema of a file, or of a row of one."""
    schema = model.model_json_schema(mode="serialization")
    for name, part in {model.__name__: schema, **schema.get("$defs", {})}.items():
        for field, text in _docstrings_of(name).items():
            if field in part.get("properties", {}):
                part["properties"][field].setdefault("description", text)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


@cache
def _docstrings() -> dict[str, dict[str, str]]:
    """Return what stands below the fields of each model. The models do not read their own source as they start."""
    found: dict[str, dict[str, str]] = {}
    for file in Path(results.__path__[0]).glob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                own = found.setdefault(node.name, {})
                for field, text in pairwise(node.body):
                    if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                        own[ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).split())
    return found


def _docstrings_of(name: str) -> dict[str, str]:
    """Return the same of a model, what it inherits included."""
    classes = {one.__name__: one for one in _subclasses(Part)}
    bases = [base.__name__ for base in reversed(classes[name].__mro__)] if name in classes else [name]
    return {field: text for base in bases for field, text in _docstrings().get(base, {}).items()}


def _subclasses(base: type) -> Iterator[type]:
    for one in base.__subclasses__():
        yield one
        yield from _subclasses(one)


# -- the recipe ------------------------------------------------------------------------------------------


def recipe_page() -> str:
    """Every key with its default and its docstring, section by section."""
    top: list[str] = []
    sections: list[str] = []
    for name, field in Config.model_fields.items():
        inner = _section_of(field.annotation)
        if inner is None:
            top.append(_key_row(name, field))
        else:
            sections += _section(name, inner)
    return "\n".join([RECIPE_HEAD, *sections, "## Beside the sections", "", *_table_head(), *top, ""])


def _section(path: str, section: type[BaseModel]) -> list[str]:
    lines = [f"## `{path}`", "", (section.__doc__ or "").strip(), "", *_table_head()]
    nested: list[str] = []
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        lines.append(_key_row(name, field, of=_link(f"{path}.{name}") if inner else ""))
        if inner is not None:
            nested += _section(f"{path}.{name}", inner)
    return [*lines, "", *([NOTES[path]] if path in NOTES else []), *nested]


def _link(path: str) -> str:
    return f"a section: see [`{path}`](#{path.replace('.', '')})"


def _table_head() -> list[str]:
    return ["| key | values | default | what it does |", "|---|---|---|---|"]


def _key_row(name: str, field: Any, of: str = "") -> str:
    values = of or ", ".join([" or ".join(_kinds(field.annotation)), *_bounds(field)])
    default = "must be given" if field.is_required() else f"`{_default(field)}`"
    cells = (f"`{name}`", values, default, " ".join((field.description or "").split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return ""
    plain = {None: "null", True: "true", False: "false"}
    value = field.default
    if isinstance(value, tuple):
        return str(list(value))
    return plain[value] if value is None or isinstance(value, bool) else str(value)


def _bounds(field: Any) -> list[str]:
    signs = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return [
        f"{words} {getattr(bound, sign):g}"
        for bound in field.metadata
        for sign, words in signs.items()
        if hasattr(bound, sign)
    ]


def _kinds(annotation: Any) -> Iterator[str]:
    """Return what may stand there, in words of YAML."""
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
    words[datetime] = "date"
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in words:
        yield words[annotation]
    elif origin is Literal:
        yield from (f"`{value}`" for value in inner)
    elif origin is list:
        yield f"list of {' or '.join(_kinds(inner[0]))}"
    elif origin is tuple:
        yield f"list of {len(inner)} numbers"
    elif origin is dict:
        yield "mapping"
    elif hasattr(annotation, "__metadata__"):  # Annotated[float, ...]
        yield from _kinds(inner[0])
    elif not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        for part in inner:
            yield from _kinds(part)


# -- the commands ----------------------------------------------------------------------------------------


def commands_page() -> str:
    """Every verb with its arguments; not laid out by argparse, which differs between Pythons."""
    lines = [COMMANDS_HEAD]
    for verb, text in VERBS.items():
        parser = argparse.ArgumentParser(prog=f"prospect {verb}", description=text, add_help=False)
        module = _verb_module(verb)
        if module is not None:
            module.add_arguments(parser)
            lines += _command(parser, level=2)
    return "\n".join(lines)


def _verb_module(verb: str) -> Any:
    """Return the module of a verb; a verb that nobody has written yet is left out, with a word about it."""
    name = f"prospect.cli.{verb.replace('-', '_')}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        sys.stderr.write(f"docs/generate.py: prospect {verb} is announced and not there yet; left out\n")
        return None


def _command(parser: argparse.ArgumentParser, level: int) -> list[str]:
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    nested = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    lines = [f"{'#' * level} `{parser.prog}`", "", f"{_sentence(parser.description or '')}", ""]
    if not nested:
        lines += ["```text", " ".join([parser.prog, *map(_usage, actions)]), "```", ""]
        lines += ["| argument | default | what it is |", "|---|---|---|", *map(_argument_row, actions), ""]
    for action in nested:
        for choice in action._choices_actions:
            inner = action.choices[choice.dest]
            inner.description = inner.description or choice.help
            lines += _command(inner, level + 1)
    return lines


def _usage(action: argparse.Action) -> str:
    value = _value(action)
    both = isinstance(action, argparse.BooleanOptionalAction)
    name = "|".join(action.option_strings) if both else action.option_strings[-1] if action.option_strings else ""
    text = f"{name} {value}".strip()
    return text if action.required else f"[{text}]"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    name = action.metavar or ("|".join(map(str, action.choices)) if action.choices else "")
    name = str(name) or (action.dest.upper() if action.option_strings else action.dest)
    return f"{name} ..." if action.nargs in ("+", "*") else name


def _argument_row(action: argparse.Action) -> str:
    names = [f"{option} {_value(action)}".strip() for option in action.option_strings] or [_value(action)]
    help_text = (action.help or "") % {**vars(action), "prog": "prospect"}
    shown = action.default not in (None, False, [], argparse.SUPPRESS)
    cells = (", ".join(f"`{name}`" for name in names), f"`{action.default}`" if shown else "", help_text)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(
        description="Write docs/recipe.md, docs/commands.md and docs/schemas/ from the code."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
        path = DOCS / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for name in stale:
        sys.stderr.write(f"docs/{name}: {'out of date; run make docs' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
