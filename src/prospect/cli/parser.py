"""The parser of the command line: other trainers' flags and commands are answered with ours."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from prospect.cli.moved import commands_of_today
from prospect.peers import PEERS_COMMANDS, explain_key, setting_of
from prospect.terminal import printable

_LOSS_KEYS = ("loss.beta", "loss.desirable_weight", "loss.undesirable_weight")


def module_of(verb: str) -> Any:
    """Return the module of a verb, which is imported now."""
    return importlib.import_module(f"prospect.cli.{verb.replace('-', '_')}")


class Parser(argparse.ArgumentParser):
    """Say at the end of an error what other trainers' words in the command are called here."""

    _asked: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and remember what was asked, for the errors."""
        self._asked = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message), file)  # it quotes the command line

    def error(self, message: str) -> NoReturn:
        """Print usage, message and hints, and exit with 2."""
        super().error("\n".join([message, *self._hints()]))

    def _hints(self) -> Iterator[str]:
        if list(self._asked[:1]) == ["evaluate"] and (moved := commands_of_today(self._asked[1:])):
            yield "judges and tasks have commands of their own; write:"
            yield from moved
            return
        if list(self._asked[:1]) == ["translate"] and len(self._asked) > 2:
            yield 'a command line stands in quotes: prospect translate "trl kto --config kto.yaml"'
            return
        verb, known = None, set(self._option_string_actions)
        parser: argparse.ArgumentParser = self
        for word in (word for word in self._asked if not word.startswith("-")):
            verbs = verbs_of(parser)
            verb = verb or word if verbs else verb
            if word not in verbs:
                yield from _explain_verb(word, verbs) if verbs else ()
                break
            parser = verbs[word]
            known |= parser._option_string_actions.keys()
        trains = "train" in (verb, self.prog.rpartition(" ")[2]) or PEERS_COMMANDS.get(str(verb), "").startswith(_TRAIN)
        if trains:
            from prospect.cli.train_flags import FLAGS

            known |= {f"--{flag.name}" for flag in FLAGS}
        for place, word in enumerate(self._asked):
            flag, _, value = word.partition("=")
            if not flag.startswith("--") or flag in known:
                continue
            following = self._asked[place + 1 : place + 2]
            answer = _explain_flag(flag, value or next((v for v in following if v[:2] != "--"), ""), known, trains)
            if answer is not None:
                yield f"{flag}: {answer}"


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of a command's verbs by name, none where it has no verbs."""
    groups = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(next((action.choices for action in groups), {}))


_TRAIN = "prospect train"


def _explain_verb(verb: str, verbs: Any) -> Iterator[str]:
    from prospect.cli.data import ACTIONS

    near = difflib.get_close_matches(verb, verbs, n=1)
    if verb in PEERS_COMMANDS:
        yield f"{verb}: here it is {PEERS_COMMANDS[verb]}"
    elif verb in ACTIONS and "data" in verbs:
        yield f"{verb}: here it is prospect data {verb}"
    elif near:
        yield f'{verb}: did you mean "{near[0]}"?'


def _explain_flag(flag: str, value: str, known: set[str], trains: bool) -> str | None:
    """Return what a flag is called here; with the value where it means the same."""
    name = flag[2:].replace("-", "_")
    spelled = f"--{name.replace('_', '-')}"
    if spelled in known:
        return f"write {spelled}"
    explained = explain_key(name)
    if not trains:
        return explained
    from prospect.cli.train_flags import FLAGS

    flags = {flag.key: f"--{flag.name}" for flag in FLAGS}
    ours = _own_key(name)
    if ours is not None:
        return f"write {flags[ours]} {value or 'VALUE'}" if ours in flags else f"write --set {ours}={value or 'VALUE'}"
    found = setting_of(name)
    if found is None:
        return explained
    key, meant = found
    if key in flags and explained == f"here it is {key}":
        return f"write {flags[key]} {value or 'VALUE'}"
    return f"{explained}; write " + (f"{flags[key]} {meant}" if key in flags else f"--set {key}={meant}")


def _own_key(name: str) -> str | None:
    """Return the key of a recipe that somebody wrote as a flag, whole or by its last part."""
    from prospect.config import all_keys

    keys = [*all_keys(), *_LOSS_KEYS]
    return name if name in keys else next((key for key in keys if "." in key and name == key.rpartition(".")[2]), None)
