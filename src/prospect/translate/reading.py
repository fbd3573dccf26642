"""A file, or the words of a command: which tool's, what it says, and on how many processes it runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prospect import yaml_text
from prospect.errors import ConfigError
from prospect.json_text import read_object

_WHAT, _KEYS = "config", "model, dataset, learning_rate"
_FILES = (".yaml", ".yml", ".json")
_SETTING = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_SCRIPT = re.compile(r"(?:.*/)?(kto|dpo|sft|reward|orpo|cpo|bco)(?:_vlm)?\.py|trl\.scripts\.(kto|dpo|sft|reward)")
_LAUNCHERS = ("num_processes", "nproc_per_node", "nproc-per-node", "num_gpus")
_COMMANDS = {"trl": "trl", "llamafactory-cli": "llama-factory", "lmf": "llama-factory", "axolotl": "axolotl"}
_MODULES = {"axolotl.cli.train": "axolotl", "llamafactory.launcher": "llama-factory"}


class Found(NamedTuple):
    """What was read.

    Attributes:
        where: what it is called in messages.
        given: key -> value.
        tool: its name, where the command says it.
        method: what is trained, where the command says it.
        processes: how many processes the command starts.
        folder: where its file is.
    """

    where: str
    given: Mapping[str, Any]
    tool: str = ""
    method: str = ""
    processes: int = 1
    folder: Path = Path()


def read(source: str) -> Found:
    """Return what a file or a command in quotes says.

    Raises:
        ConfigError: the file cannot be read, or the words are no command of a tool that is known.
    """
    path = Path(source).expanduser()
    if path.suffix.lower() in _FILES and (len(source.split()) == 1 or path.is_file()):
        return Found(str(path), read_config(path), folder=path.parent)
    return read_command(source)


def read_config(path: Path) -> dict[str, Any]:
    """Return what a YAML or JSON file says."""
    if path.suffix.lower() != ".json":
        from prospect.config import read_yaml  # here: the parser asks for the tools' names, and help must be quick

        return read_yaml(path, _WHAT, _KEYS)
    return read_object(path, ConfigError, f"Write keys such as {_KEYS} into it.")


def read_command(text: str) -> Found:
    """Return what the words of a command line say: variables, a launcher, the tool, its verb, a file, flags."""
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise ConfigError(f"the command cannot be taken apart: {error}. Put its quotes in pairs.") from None
    for place, word in enumerate(words):
        tool, method = _tool(word, words[place + 1 : place + 2])
        if tool:
            rest = words[place + 1 + (not _SCRIPT.fullmatch(word) and word not in _MODULES) :]
            return _found(tool, method, words[:place], rest)
    raise ConfigError(
        f"{' '.join(words[:6])}{' ...' * (len(words) > 6)}: neither a file of {', '.join(_FILES)} nor a command of a "
        'trainer that is known. Expected such as "trl kto --model_name_or_path ...", "llamafactory-cli train FILE", '
        '"axolotl train FILE" or "swift rlhf --rlhf_type kto ...".'
    )


def _tool(word: str, following: Sequence[str]) -> tuple[str, str]:
    """Return the tool that a word of a command is, and what it trains, where that is said there."""
    verb = following[0] if following else ""
    if word in _MODULES:
        return _MODULES[word], ""
    if word == "swift" and verb in ("rlhf", "sft", "pt"):
        return "ms-swift", verb
    if word in _COMMANDS and (word == "trl" or verb == "train"):
        return _COMMANDS[word], verb if word == "trl" else ""
    script = _SCRIPT.fullmatch(word)
    return ("trl", script[1] or script[2]) if script else ("", "")


def _found(tool: str, method: str, before: Sequence[str], rest: Sequence[str]) -> Found:
    flags, files = _flags(rest)
    settings = dict(word.partition("=")[::2] for word in before if _SETTING.fullmatch(word))
    launcher, _ = _flags([word for word in before if not _SETTING.fullmatch(word)])
    devices = settings.get("CUDA_VISIBLE_DEVICES", "").split(",") if tool == "llama-factory" else []  # all of them
    asked = [*(launcher.get(name) for name in _LAUNCHERS), settings.get("NPROC_PER_NODE"), len(devices)]
    processes = _count(*asked, flags.pop("num_processes", 0)) * _count(launcher.get("nnodes"), settings.get("NNODES"))
    file = flags.pop("config", None) or next(iter(files), None)
    path = Path(str(file)).expanduser() if file else Path()
    written = read_config(path) if file else {}
    own = {"accelerate_config": launcher["config_file"]} if "config_file" in launcher else {}
    return Found(str(file or tool), {**written, **flags, **own}, tool, method, processes, path.parent)


def _count(*asked: Any) -> int:
    """Return the largest of some numbers; 1 where nothing is one."""
    return max([1, *(int(number) for number in asked if str(number).isdigit())])


def _flags(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the flags of a command with their values, and the names of files among its words."""
    values: dict[str, list[str]] = {}
    files: list[str] = []
    name = None
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            values[name] = [value] if equals else []
        elif re.fullmatch(r"-[A-Za-z]\w*", word):
            name = None
        elif (name is None or values[name]) and _SETTING.fullmatch(word):
            key, _, value = word.partition("=")
            values[key] = [value]
        elif name is None:
            files += [word] if Path(word).suffix.lower() in _FILES else []
        else:
            values[name].append(word)
    return dict(_said(key, found) for key, found in values.items()), files


def _said(key: str, words: Sequence[str]) -> tuple[str, Any]:
    """Return a flag's key and value; `--no_x` alone says that x is false."""
    if key.startswith("no_") and key != "no_cuda" and not words:
        return key[3:], False
    return key, _value(key, words)


def _value(key: str, words: Sequence[str]) -> Any:
    """Return what the words behind a flag stand for: nothing is true, several are a list."""
    read_words = [_word(key, word) for word in words]
    return True if not read_words else read_words[0] if len(read_words) == 1 else read_words


def _word(key: str, word: str) -> Any:
    try:
        return yaml_text.parse(word, f"--{key}", lines=False)
    except ConfigError:
        return word
