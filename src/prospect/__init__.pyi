from prospect.errors import CallbackError, ProspectError
from prospect.feedback.files.sources import load_feedback
from prospect.losses import get_loss, loss
from prospect.report.run.build import build_report
from prospect.report.run.figure import figure
from prospect.rounds.run import run_rounds
from prospect.run_dir import RunDir
from prospect.training.callbacks import Callback, StopRun
from prospect.verbs.answering import generate, label
from prospect.verbs.comparing import compare
from prospect.verbs.evaluating import contest, evaluate
from prospect.verbs.handing_over import check_model, merge, push
from prospect.verbs.inspecting import inspect
from prospect.verbs.training import train

__version__: str

__all__ = [
    "Callback",
    "CallbackError",
    "ProspectError",
    "RunDir",
    "StopRun",
    "__version__",
    "build_report",
    "check_model",
    "compare",
    "contest",
    "evaluate",
    "figure",
    "generate",
    "get_loss",
    "inspect",
    "label",
    "load_feedback",
    "loss",
    "merge",
    "push",
    "run_rounds",
    "train",
]
