"""`prospect push`: a run's model or adapter, with its card, on the Hugging Face hub."""

from __future__ import annotations

import argparse

from prospect.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", metavar="RUN", help="a finished run, or the folder of a model or an adapter")
    parser.add_argument("repo", metavar="OWNER/NAME", help="the repository on the hub; it is made if it is not there")
    parser.add_argument("--public", action="store_true", help="for all to see; else nobody but you may")
    parser.add_argument("--dry-run", action="store_true", help="list what would be uploaded, and upload nothing")


def run(options: argparse.Namespace) -> int:
    """Upload, or say what would be."""
    from prospect.config import PushSettings, read_section
    from prospect.models.uploading import plan_upload, upload

    target = read_section(PushSettings, {"repo": options.repo, "private": not options.public}, "prospect push")
    plan = plan_upload(options.model)
    for file in plan.files:
        say(f"  {file}  {(plan.folder / file).stat().st_size:,} bytes")
    if plan.left_out:
        say(f"stays here: {', '.join(plan.left_out)}")
    what = f"{len(plan.files)} files, {plan.size / 1e6:,.1f} MB, {'private' if target.private else 'public'}"
    if options.dry_run:
        say(f"would upload {what}, to {target.repo}")
        return 0
    say(f"uploaded {what}: {upload(plan, target).address}")
    return 0
