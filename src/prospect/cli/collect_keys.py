"""`prospect collect keys`: who may use the server, and for what."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prospect.cli.serving import add_store
from prospect.errors import UsageError
from prospect.feedback.frozen.pseudonym import rater_key
from prospect.terminal import print_json, say

if TYPE_CHECKING:
    from prospect.collect.keys import KeyPlace

_KEPT = 2  # keys of tokens that stay valid after a rotation, with the new one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_store(parser)
    parser.add_argument("--file", metavar="FILE", help="keys in a file that the server is given, and not in the store")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--add", metavar="NAME", help="make a key, and print it once on stdout")
    what.add_argument("--revoke", metavar="NAME", help="refuse a key from now on")
    what.add_argument(
        "--rotate-tokens",
        action="store_true",
        help="sign vote tokens with a new key; those of two older ones stay valid",
    )
    parser.add_argument(
        "--scopes",
        nargs="+",
        default=["chat", "vote"],
        metavar="SCOPE",
        help="what the key may do: chat, vote, review, admin (default: chat vote)",
    )
    parser.add_argument("--json", action="store_true", help="the list of keys as JSON")


def run(options: argparse.Namespace) -> int:
    """Make, revoke or list."""
    from prospect.collect.keys import KeyFile, StoredKeys
    from prospect.collect.migrating import check_rater_key, opened
    from prospect.collect.tokens import VOTE_KEYS

    if options.rotate_tokens:
        VOTE_KEYS.rotate(_KEPT)
        say(f"{VOTE_KEYS.path}: vote tokens have a new key; servers that run take it up within a minute")
        return 0
    if options.file is not None:
        return _run(KeyFile(Path(options.file)), options)
    with opened(options.db, make=options.add is not None) as database:
        check_rater_key(database, rater_key())
        return _run(StoredKeys(database), options)


def _run(place: KeyPlace, options: argparse.Namespace) -> int:
    from prospect.collect.keys import make_key

    if options.add is not None:
        secret, key = make_key(options.add, options.tenant, options.scopes, rater_key())
        place.add(key)
        say(f"key {key.name} of tenant {key.tenant}: {', '.join(sorted(key.scopes))}. It is shown this once:")
        say(secret, sys.stdout)
    elif options.revoke is not None:
        if not place.revoke(options.tenant, options.revoke):
            raise UsageError(f"--revoke {options.revoke}: tenant {options.tenant} has no such key.")
        say(f"key {options.revoke} is refused from now on; servers that run notice within five seconds")
    else:
        _list(place, options.json)
    return 0


def _list(place: KeyPlace, as_json: bool) -> None:
    keys = sorted(place.all(), key=lambda key: (key.tenant, key.name))
    if as_json:
        print_json([{"name": key.name, "tenant": key.tenant, "scopes": sorted(key.scopes)} for key in keys])
        return
    for key in keys:
        say(f"{key.tenant}  {key.name}  {', '.join(sorted(key.scopes))}")
    if not keys:
        say("no keys")
