"""What `prospect evaluate` did for judges and tasks before: the same as commands of today.

A command that means one of today's whole is run, with a line that says which; any other is answered with what to write.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from prospect.model_source import is_run
from prospect.terminal import say

_VERBS = ("evaluate", "contest", "benchmark")


class _Group(NamedTuple):
    """Words of a command line: a flag with its values, or the positional words between flags."""

    flag: str | None
    words: list[str]


def run_as(arguments: list[str]) -> list[str]:
    """Return the arguments to run: those of another command where `prospect evaluate` was asked for all that it does.

    The new command is told on stderr.
    """
    moved = commands_of_today(arguments[1:]) if arguments[:1] == ["evaluate"] else []
    found = shlex.split(moved[0])[1:] if len(moved) == 1 else []
    if not found or len(found) != len(arguments):  # none, several, or a flag that the other command lacks
        return arguments
    say(f"judges and tasks have commands of their own; this runs: {moved[0]}")
    return found


def commands_of_today(arguments: Sequence[str]) -> list[str]:
    """Return what the words after `prospect evaluate` are today; none where they hold no flag of another command."""
    asked = {word.partition("=")[0] for word in arguments}
    contest, tasks = bool(asked & {"--judge", "--page"}), "--tasks" in asked
    if not (contest or tasks) or asked & {"-h", "--help"} or _names_images(arguments):
        return []
    flags = {verb: _flags_of(verb) for verb in _VERBS}
    groups = _groups(arguments, {flag: action for known in flags.values() for flag, action in known.items()})
    feedback = not contest and "--data" in asked
    wanted = [verb for verb, does in (("evaluate", feedback), ("contest", contest)) if does]
    wanted += ["benchmark"] if tasks else []
    return [
        shlex.join(
            ["prospect", verb]
            + [word for group in groups if group.flag is None or group.flag in flags[verb] for word in group.words]
        )
        for verb in wanted
    ]


def _names_images(arguments: Sequence[str]) -> bool:
    """Whether a run that makes images is named, which `prospect evaluate` judges itself."""
    from prospect.evaluation.answers.subject import find_subject

    return any(is_run(Path(word)) and find_subject(word, images=True).makes_images for word in arguments)


def _flags_of(verb: str) -> dict[str, argparse.Action]:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"prospect.cli.{verb}").add_arguments(parser)
    return dict(parser._option_string_actions)


def _groups(arguments: Sequence[str], actions: dict[str, argparse.Action]) -> list[_Group]:
    groups: list[_Group] = []
    room = 0.0  # values that the flag before may still take
    for word in arguments:
        if word.startswith("-") and not word[1:2].isdigit():
            flag, equals, _ = word.partition("=")
            action = actions.get(flag)
            takes = 0 if equals or action is None or action.nargs == 0 else 1 if action.nargs is None else float("inf")
            groups.append(_Group(flag, [word]))
            room = takes
        elif room:
            groups[-1].words.append(word)
            room -= 1
        else:
            groups.append(_Group(None, [word]))
    return groups
