"""What becomes of a trained model: merged, checked, on the hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prospect.outputs import output_folder
from prospect.verbs.arguments import Place, Places, places_of

if TYPE_CHECKING:
    from prospect.config import PushSettings
    from prospect.models.uploading import Pushed
    from prospect.results.model_check import ModelCheck
    from prospect.run_dir import RunDir


def merge(model: Place, output: Place, *, dtype: Literal["float32", "bfloat16", "float16"] = "float32") -> Path:
    """Fold an adapter into its base, or dequantise GGUF: a plain model folder (`prospect merge`).

    Args:
        model: a run directory, an adapter's folder or hub name, or a .gguf file.
        output: a new folder.
        dtype: of the merged weights.

    Returns:
        The folder.

    Raises:
        ModelError: there is nothing to merge, the folder is occupied, or the parts do not fit.
    """
    from prospect.evaluation.answers.subject import find_subject
    from prospect.models.merging import write_merged

    place = output_folder(os.fspath(output)).expanduser()
    write_merged(find_subject(os.fspath(model)).settings.model_copy(update={"dtype": dtype}), place)
    return place


def check_model(
    model: Place, run: Place | None = None, data: Places | None = None, *, max_new_tokens: int = 256
) -> ModelCheck:
    """Try a model's folder as a server would load it, and compare with the run that made it (`prospect check-model`).

    Args:
        model: a run directory, a merged model's folder, or an adapter's.
        run: the run that made it; the folder's own where it lies in one.
        data: feedback whose first three rows are tried; the run's own by default.
        max_new_tokens: where an answer is cut.

    Raises:
        ProspectError: as `prospect.evaluation.handover.check.check_model`.
    """
    from prospect.evaluation.handover.check import check_model as check

    return check(os.fspath(model), None if run is None else os.fspath(run), places_of(data), max_new_tokens)


def push(model: Place, repo: str, *, private: bool = True) -> Pushed:
    """Upload a model or an adapter with its card to the Hugging Face hub, and nothing else (`prospect push`).

    Args:
        model: a finished run, or the folder of a model or an adapter.
        repo: OWNER/NAME; it is made if it is not there.
        private: whether nobody else may see it; one that is there and public is then refused.

    Returns:
        The address, and which files went out and which stayed.

    Raises:
        ConfigError: no such name can be on the hub.
        UsageError: nobody is logged in, nothing could go out, or the repository is public and is not to be.
        ModelError: an adapter whose base nobody else has, or the hub refuses or cannot be reached.
    """
    from prospect.config import PushSettings, read_section
    from prospect.models.uploading import plan_upload, upload

    target = read_section(PushSettings, {"repo": repo, "private": private}, "push")
    return upload(plan_upload(os.fspath(model)), target)


def push_finished(run: RunDir, target: PushSettings) -> Pushed:
    """Upload what a run made, where its recipe wants it.

    Raises:
        ModelError: as `push`, and how to go on from the finished run.
    """
    from prospect.errors import ModelError, ProspectError
    from prospect.models.uploading import plan_upload, upload

    try:
        return upload(plan_upload(str(run.path)), target)
    except ProspectError as error:
        public = "" if target.private else " --public"
        raise ModelError(
            f"{error} The run is finished, and its model is in {run.model_path}; when that is mended: prospect push "
            f"{run.path} {target.repo}{public}"
        ) from error
