"""The tools whose configs are read, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prospect.errors import ConfigError
from prospect.translate.axolotl import TOOL as AXOLOTL
from prospect.translate.llama_factory import TOOL as LLAMA_FACTORY
from prospect.translate.ms_swift import TOOL as MS_SWIFT
from prospect.translate.rules import Tool
from prospect.translate.trl import TOOL as TRL

TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in (TRL, LLAMA_FACTORY, AXOLOTL, MS_SWIFT)}


def tool_of(given: Mapping[str, Any], where: str) -> Tool:
    """Return the tool whose config it is: the one of most signs, then of most keys.

    Raises:
        ConfigError: no key is any tool's, or two tools would read it alike.
    """
    counts = {
        name: (sum(sign in given for sign in tool.signs), sum(tool.rule_of(key) is not None for key in given))
        for name, tool in TOOLS.items()
    }
    best = max(counts.values())
    names = [name for name, count in counts.items() if count == best]
    if best[1] and len(names) == 1:
        return TOOLS[names[0]]
    why = "holds no key of a trainer that is known" if not best[1] else f"could be {' or '.join(names)}"
    raise ConfigError(f"{where}: {why}. Say whose config it is: --from {'|'.join(TOOLS)}.")
