"""What can go wrong, in the user's words: every message says what, where, what was found and what to do."""


class ProspectError(Exception):
    """Base of every error that Prospect raises on purpose; the command line prints it without a traceback."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        # A message may quote what the user's file holds, and half a character can be neither printed nor stored.
        super().__init__(message.encode(errors="backslashreplace").decode())


class UsageError(ProspectError):
    """The command line was used wrongly."""

    exit_code = 2


class ConfigError(UsageError):
    """A recipe, or a setting in it, cannot be used."""


class DataError(ProspectError):
    """Feedback cannot be read, or cannot feed the method that was asked for."""


class ImageError(DataError):
    """An image is missing or broken, or cannot be trained on."""


class ModelError(ProspectError):
    """A model, tokenizer or chat template cannot be used."""


class ReferenceMismatchError(ProspectError):
    """The reference is not the one that this run, cache or checkpoint was made with."""


class TrainingError(ProspectError):
    """A step cannot be taken; nothing was updated."""


class CallbackError(ProspectError):
    """A callback of the caller failed; the run stopped in good order."""


class OutputError(ProspectError):
    """Nothing can be written under the name that was given."""


class CheckpointError(ProspectError):
    """A checkpoint or run directory cannot be written or read."""


class StoreError(ProspectError):
    """What was collected cannot be read or written."""


class PromotionError(ProspectError):
    """A model cannot be promoted or rolled back."""


class RunStopped(KeyboardInterrupt):
    """A signal ended a run in good order. No error: what goes on after errors must not go on after this.

    Attributes:
        signal: its number.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it."""
        return 128 + self.signal

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self), self.signal)
