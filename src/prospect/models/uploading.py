"""A model's folder on the hub: what of it is uploaded, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from prospect.config import PushSettings
from prospect.errors import ModelError, UsageError
from prospect.model_card import FILE as CARD
from prospect.model_source import ADAPTER_CONFIG, find_adapter_of_images, find_model, read_json

# All that a model, an adapter, a tokenizer or a pipeline needs where it is loaded, and the card. Nothing else goes out:
# no log, no feedback, no recipe, no pickle, whatever lies in the folder.
_UPLOADED = (
    CARD,
    "*.safetensors",
    "*.safetensors.index.json",
    "*config.json",
    "model_index.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "*.jinja",
)


@dataclass(frozen=True)
class Upload:
    """What goes out, and what stays.

    Attributes:
        folder: where the files lie.
        files: those that are uploaded, as paths within it, in order.
        left_out: the others.
    """

    folder: Path
    files: list[str]
    left_out: list[str]

    @property
    def size(self) -> int:
        """Bytes that are uploaded."""
        return sum((self.folder / name).stat().st_size for name in self.files)


def plan_upload(name: str) -> Upload:
    """Say what of a run, an adapter or a model would be uploaded.

    Raises:
        UsageError: no folder of this machine that holds safetensors.
        ModelError: no model, an unfinished run, or an adapter whose base nobody else has.
    """
    of_images = find_adapter_of_images(name)
    source = find_model(name)
    folder = of_images[1] if of_images else Path(source.place)
    if source.kind == "gguf" or not folder.is_dir():
        raise UsageError(f"{name}: expected a run directory, an adapter's or a model's folder of this machine.")
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in found]
    files = [name for name in names if _is_uploaded(name)]
    if not any(name.endswith(".safetensors") for name in files):
        raise UsageError(f"{name}: {folder} holds no safetensors, and nothing else goes out as weights.")
    _require_known_base(name, folder)
    return Upload(folder, files, [name for name in names if not _is_uploaded(name)])


def _is_uploaded(name: str) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not hidden and any(fnmatch(name.rpartition("/")[2], pattern) for pattern in _UPLOADED)


def _require_known_base(name: str, folder: Path) -> None:
    """Refuse an adapter that names a folder of this machine: nobody could load it, and the path would be told."""
    if not (folder / ADAPTER_CONFIG).is_file():
        return
    base = str(read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path"))
    if Path(base).expanduser().is_absolute() or Path(base).exists():
        raise ModelError(
            f"{name}: an adapter on {base}, a folder of this machine, which nobody else could load it on. Upload the "
            f"whole model (prospect merge {name} -o DIR, then prospect push DIR), or train from the base's hub name."
        )


@dataclass(frozen=True)
class Pushed:
    """A model that is on the hub.

    Attributes:
        address: of the repository.
        upload: what went out, and what stayed.
    """

    address: str
    upload: Upload


def require_hub(target: PushSettings) -> None:
    """Refuse what could not be uploaded once it is trained; the hub is asked once.

    Raises:
        UsageError: nobody is logged in, or the repository is public and is not to be.
        ModelError: the hub may not or cannot be reached, or does not know the token.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.constants import is_offline_mode

    if is_offline_mode():
        raise ModelError(
            f"{target.repo}: HF_HUB_OFFLINE is set, so nothing can be uploaded. Unset it, or leave push_to_hub out."
        )
    _require_token()
    with _refusals(target.repo):
        _require_private(HfApi(), target)


def upload(plan: Upload, target: PushSettings) -> Pushed:
    """Make the repository where it is not there, and upload in one commit.

    Args:
        plan: what goes out.
        target: where to.

    Raises:
        UsageError: nobody is logged in, or the repository is public and is not to be.
        ModelError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    _require_token()
    api = HfApi()
    with _refusals(target.repo):
        address = api.create_repo(target.repo, private=target.private, exist_ok=True)
        _require_private(api, target)
        api.upload_folder(
            repo_id=target.repo, folder_path=plan.folder, allow_patterns=plan.files, commit_message="Upload model"
        )
    return Pushed(str(address), plan)


def _require_token() -> None:
    from huggingface_hub import get_token

    if get_token() is None:
        raise UsageError(
            "nobody is logged in to the hub. Run hf auth login, or set HF_TOKEN to a token that may write. Or train "
            "without push_to_hub (--set push_to_hub=null), and prospect push the run later."
        )


@contextmanager
def _refusals(repo: str) -> Iterator[None]:
    """Say what the hub says, in one line."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        said = str(error).strip() or type(error).__name__
        raise ModelError(f"{repo}: not uploaded ({said.splitlines()[0]}).") from error


def _require_private(api: Any, target: PushSettings) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        private = api.repo_info(target.repo).private
    except RepositoryNotFoundError:
        return
    if target.private and not private:
        raise UsageError(
            f"{target.repo}: there already, and public, and what is uploaded is to be private. Choose another name, "
            "make it private in its settings, or ask for a public one (prospect push --public; private: false)."
        )
