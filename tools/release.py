"""Build sdist and wheel into `dist/`, try the wheel without the repository, and say what would go out.

Nothing is uploaded. The wheel is installed into a virtual environment of its own, outside the repository, which borrows
the other packages of this one; there `prospect` runs from the wheel alone.

python tools/release.py            builds, checks, and tries the wheel (make release)
python tools/release.py --no-demo  leaves the demo out, which takes most of the time
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
MOST_MB = 10.0  # of the wheel: 7.5 are the weights of the demos' two models, whose float32 hardly compress
_LARGEST = 5  # files that are named
_SHOWN = 600  # characters of what a command prints
_WEIGHTS = "demo/base"


def main() -> None:
    """Build, check, try, tell."""
    parser = argparse.ArgumentParser(description="Build the distributions, and try the wheel on its own.")
    parser.add_argument("--no-demo", action="store_true", help="leave the demo out")
    options = parser.parse_args()
    shutil.rmtree(DIST, ignore_errors=True)
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, ROOT])
    files = sorted(DIST.iterdir())
    _run([sys.executable, "-m", "twine", "check", "--strict", *files])
    (wheel,) = (file for file in files if file.suffix == ".whl")
    _look_into(wheel)
    with tempfile.TemporaryDirectory() as folder:
        _try(wheel, Path(folder), demo=not options.no_demo)
    _say("\nwould be uploaded (twine upload dist/*), and was not:")
    for file in files:
        _say(f"  {file.stat().st_size / 1e6:6.2f} MB  {file.name}")


def _look_into(wheel: Path) -> None:
    """Refuse a wheel that is too large, or holds what is no part of the package; name its largest files."""
    with zipfile.ZipFile(wheel) as opened:
        found = sorted(opened.infolist(), key=lambda one: one.compress_size, reverse=True)
        (about,) = (one for one in found if one.filename.endswith(".dist-info/METADATA"))
        dead = re.search(r"\]\((?![a-z]+:|#)[^)]+\)", opened.read(about).decode())
    if dead:
        sys.exit(f"the description links {dead[0][1:]}, which leads nowhere off the repository. See pyproject.toml")
    strange = [one.filename for one in found if not one.filename.startswith(("prospect/", "prospect_align-"))]
    if strange:
        sys.exit(
            f"{wheel.name} holds {strange[0]}; expected the package alone. See [tool.hatch.build] in pyproject.toml"
        )
    size = wheel.stat().st_size / 1e6
    _say(f"\n{wheel.name}: {size:.2f} MB, {len(found)} files; the largest:")
    for one in found[:_LARGEST]:
        _say(f"  {one.compress_size / 1e6:6.2f} MB  {one.filename}")
    if size > MOST_MB:
        sys.exit(f"{wheel.name} has {size:.1f} MB; at most {MOST_MB:g} are meant to be. Look at the files above.")


def _try(wheel: Path, folder: Path, *, demo: bool) -> None:
    """Install the wheel in an environment of its own, and run it in an empty folder."""
    home, work = folder / "env", folder / "work"
    venv.create(home, with_pip=True)
    binaries = home / ("Scripts" if os.name == "nt" else "bin")
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))
    # A line of a .pth file adds a folder and not what that folder's own .pth files add: this checkout stays out.
    borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
    _run([binaries / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel])
    work.mkdir()
    answers = ["On its way.", "No idea."]
    rows = [{"prompt": f"Parcel {i}?", "completion": answers[i % 2], "label": i % 2 == 0} for i in range(16)]
    (work / "thumbs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    base = site / "prospect" / _WEIGHTS
    where = "import prospect; print(prospect.__file__)"
    found = _run([binaries / "python", "-c", where], work)
    if not Path(found).is_relative_to(home):
        sys.exit(f"prospect came from {found} and not from the wheel.")
    train = ["--set", "train.batch_size=8", "train.samples=0", "train.max_steps=2"]
    commands: list[list[str]] = [
        ["--version"],
        ["losses"],
        ["data", "inspect", "thumbs.jsonl"],
        ["train", "kto", "--model", str(base), "--data", "thumbs.jsonl", "--output", "run", "--quiet", *train],
        ["check-model", "run", "--max-new-tokens", "64"],
        *([["demo", "--images", "--method", "sft", "--quiet"]] if demo else []),
    ]
    for command in commands:
        _run([binaries / "prospect", *command], work)


def _run(command: Sequence[str | Path], folder: Path = ROOT) -> str:
    """Run a command, show the end of what it printed, and return that; its failure ends everything."""
    words = [str(word) for word in command]
    _say(f"\n$ {' '.join([Path(words[0]).name, *words[1:]])}")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\nit ended with {done.returncode}")
    said = (done.stdout.strip() or done.stderr.strip())[-_SHOWN:]
    _say(said)
    return said


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
