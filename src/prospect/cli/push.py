"""`prospect push`: a run's model or adapter, with its card, on the Hugging Face hub."""

from __future__ import annotations

import argparse

from prospect.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", metavar="RUN", help="a finished run, or the folder of a model or an adapter")
    parser.add_argument("repo", metavar="OWNER/NAME", help="the repository on the hub; it is made if it is not there")
    parser.add_argument("--private", action="store_true", help="nobody else may see it")
    parser.add_argument("--dry-run", action="store_true", help="list what would be uploaded, and upload nothing")


def run(options: argparse.Namespace) -> int:
    """Upload, or say what would be."""
    from prospect.errors import UsageError
    from prospect.models.uploading import plan_upload, upload

    owner, slash, name = options.repo.partition("/")
    if not (owner and slash and name) or "/" in name:
        raise UsageError(f"{options.repo}: expected OWNER/NAME, the name of a repository on the hub.")
    plan = plan_upload(options.model)
    for file in plan.files:
        say(f"  {file}  {(plan.folder / file).stat().st_size:,} bytes")
    if plan.left_out:
        say(f"stays here: {', '.join(plan.left_out)}")
    what = f"{len(plan.files)} files, {plan.size / 1e6:,.1f} MB"
    if options.dry_run:
        say(f"would upload {what}, to {options.repo}{' (private)' if options.private else ''}")
        return 0
    say(f"uploaded {what}: {upload(plan, options.repo, private=options.private)}")
    return 0
