"""What `prospect evaluate` did for judges and tasks before: the same as commands of today, ready to paste."""

from __future__ import annotations

import argparse
import importlib
import shlex
from collections.abc import Sequence
from typing import NamedTuple

_VERBS = ("evaluate", "contest", "benchmark")


class _Group(NamedTuple):
    """Words of a command line: a flag with its values, or the positional words between flags."""

    flag: str | None
    words: list[str]


def commands_of_today(arguments: Sequence[str]) -> list[str]:
    """Return what the words after `prospect evaluate` are today; none where they hold no flag of another command."""
    flags = {verb: _flags_of(verb) for verb in _VERBS}
    groups = _groups(arguments, {flag: action for known in flags.values() for flag, action in known.items()})
    asked = {group.flag for group in groups}
    if not any(asked & flags[verb].keys() - flags["evaluate"].keys() for verb in _VERBS):
        return []
    contest = bool(asked & {"--judge", "--page"}) or ("--tasks" not in asked)
    feedback = not contest and "--data" in asked
    wanted = [verb for verb, does in (("evaluate", feedback), ("contest", contest)) if does]
    wanted += ["benchmark"] if "--tasks" in asked else []
    return [
        shlex.join(
            ["prospect", verb]
            + [word for group in groups if group.flag is None or group.flag in flags[verb] for word in group.words]
        )
        for verb in wanted
    ]


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
            own = groups[-1].flag == "--judge"  # today one's own judge is named by its file alone
            groups[-1].words.append(word.removeprefix("python:") if own else word)
            room -= 1
        else:
            groups.append(_Group(None, [word]))
    return groups
