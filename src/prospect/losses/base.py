"""What a loss is: a pure function of log-ratios with traits, one value per example.

Letters: N examples, T tokens, K completions of one prompt.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from prospect.errors import ConfigError
from prospect.losses.hyperparameters import Bounds, bounds_of, check_hyperparameters

FileKind = Literal["unpaired", "paired", "demonstration", "scored"]
FeedbackKind = Literal["unpaired", "paired", "demonstration", "scored", "sampled"]
Estimator = Literal["group", "leave_one_out", "gae"]
Level = Literal["sequence", "token"]
Direction = Literal["apart", "up", "down"]

# What a loss on this feedback, at this level, is called with, in this order, before its keyword-only hyperparameters.
ARGUMENTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("unpaired", "sequence"): ("log_ratio", "desirable"),
    ("unpaired", "token"): ("token_log_ratio", "completion", "desirable"),
    ("paired", "sequence"): ("chosen", "rejected"),
    ("demonstration", "sequence"): ("logps",),
    ("demonstration", "token"): ("token_logps", "completion"),
    ("scored", "sequence"): ("log_ratio", "score", "present"),
    ("sampled", "token"): ("log_q", "completion", "advantage"),
}
# Those of shape (N, T); one number for all is of shape (), the rest are (N,), or (N, K) where feedback is scored.
_BY_TOKEN = {
    "token_log_ratio",
    "token_logps",
    "completion",
    "values",
    "sampled_logps",
    "log_q",
    "advantage",
    "old_values",
    "returns",
}
_ONE_FOR_ALL = {"z0", "running_mean"}


@dataclass(frozen=True)
class Loss:
    """A registered loss: the function, and the traits that tell the trainer what to feed it.

    Attributes:
        function: the pure function; see `ARGUMENTS` for what goes in; (N,) losses come out.
        name: what recipes call it.
        feedback: the kind of record it learns from; "scored" is K scored completions of one prompt, "sampled" one
            completion that the policy drew a moment ago, with the log-prob and the advantage of each token.
        level: whether it sees one number per completion ("sequence") or one per token ("token").
        needs_reference: whether its log-ratios are taken against a reference; otherwise they are the policy's
            own logps. On sampled completions it gets `token_log_ratio` (N, T) nats, policy - reference, if so.
        length_normalised: whether its log-ratios are means over completion tokens, not sums.
        needs_reference_point: whether it is called with `z0`.
        needs_running_mean: whether it is called with `running_mean`, () nats: the mean log-ratio of all examples of
            all steps before this one, 0 at the start.
        needs_values: whether it is called with `values` (N, T), what a value head expects at each token; on sampled
            completions with `old_values` and `returns` (N, T) too, what it expected when they were drawn and
            what came.
        needs_sampled_logps: whether it is called with `sampled_logps` (N, T) nats: the log-prob that each token had
            when it was sampled, 0 where nothing is scored. Only rows made of sampled token ids have it
            (`prospect.data.batch.row_from_ids`), and feedback files do not.
        advantages: on sampled completions, how scores become advantages (`prospect.losses.advantages`): "group", over
            the others of the prompt and scaled, "leave_one_out", or "gae", by token with the values of a value head.
        over_step: names and functions of further arguments, computed over the whole optimizer step before any
            gradient is taken: each function is called with the arguments above and gives a tensor.
        control_tokens: whether the prompt ends with a token that states the verdict, `<|good|>` or `<|bad|>`.
        reward_model: whether it trains a reward model; its log-ratios are then the model's scores of whole rows.
        mean_over: what the sum of its values over a step is divided by: the examples, or the units that are scored,
            which are tokens of completions where the medium is text.
        is_halo: whether it is a human-aware loss by definition 3.4 of arXiv 2402.01306.
        value: for a human-aware loss, its value function v(z) of the distance z from the reference point, in nats; it
            may take the loss's hyperparameters by name.
        direction: what a step does where the policy has it wrong: "apart" raises desirable and lowers undesirable
            completions, "up" raises all, "down" lowers all, the undesirable further.
        bounds: name of a hyperparameter to its legal interval, such as "(0, 1]"; see also `BOUNDS`.
        learning_rate: AdamW's learning rate where the recipe names none, for a pretrained model of ordinary
            size.
        paper: where it comes from.
    """

    function: Callable[..., torch.Tensor]
    name: str
    feedback: FeedbackKind
    level: Level = "sequence"
    needs_reference: bool = True
    length_normalised: bool = False
    needs_reference_point: bool = False
    needs_running_mean: bool = False
    needs_values: bool = False
    needs_sampled_logps: bool = False
    advantages: Estimator | None = None
    over_step: Mapping[str, Callable[..., torch.Tensor]] = field(default_factory=dict)
    control_tokens: bool = False
    reward_model: bool = False
    mean_over: Literal["examples", "tokens"] = "examples"
    is_halo: bool = False
    value: Callable[..., torch.Tensor] | None = None
    direction: Direction = "apart"
    bounds: Mapping[str, str] = field(default_factory=dict)
    learning_rate: float = 5e-6
    paper: str = ""

    def __call__(self, *arguments: torch.Tensor, **hyperparameters: Any) -> torch.Tensor:
        """Call the function in float32 or better and check the shape of what comes out.

        Half-precision log-ratios are widened first: in bf16, `1 - sigmoid(6.3)` is exactly 0 and learns
        nothing.

        Raises:
            ConfigError: an unknown hyperparameter, or one out of bounds.
            TypeError: arguments of wrong number or shape, or a result that is not one value per example.
        """
        self._check_shapes(arguments)
        self.check(hyperparameters)
        value = self.function(*(_widen(a) for a in arguments), **hyperparameters)
        if value.shape != arguments[0].shape[:1]:
            raise TypeError(
                f"loss {self.name} must give one value per example, {tuple(arguments[0].shape[:1])}; it gave "
                f"{tuple(value.shape)}"
            )
        return value

    def over_whole_step(self, arguments: tuple[torch.Tensor, ...], hyperparameters: Mapping[str, Any]) -> list[Any]:
        """Return the arguments named in `over_step`, from those of all examples of a step.

        A function of `over_step` is given the hyperparameters that it names.
        """
        rows = tuple(_widen(a) for a in arguments)
        return [f(*rows, **_named_by(f, hyperparameters)).detach() for f in self.over_step.values()]

    def human_value(self, z: torch.Tensor, **hyperparameters: Any) -> torch.Tensor:
        """v(z) of a human-aware loss.

        Args:
            z: any shape, nats: how far the reward l(y) log(pi / ref) exceeds the reference point.
            **hyperparameters: the loss's own, where its defaults are not meant.
        """
        if self.value is None:
            raise ConfigError(f"loss {self.name} declares no value function: it is no human-aware loss.")
        return self.value(z, **_named_by(self.value, self.resolve(hyperparameters)))

    @property
    def file_kind(self) -> FileKind:
        """The kind of record in a file that it learns from.

        Raises:
            ConfigError: it learns from what the policy samples, and no file holds that.
        """
        if self.feedback == "sampled":
            raise ConfigError(
                f"loss {self.name} learns from completions that the policy draws while it trains, and the recipe has "
                "no online section. Add one, with prompts and a judge (docs/online.md), or choose another loss."
            )
        return self.feedback

    @property
    def over_units(self) -> bool:
        """Whether it is a mean over scored units; see `mean_over`."""
        return self.mean_over == "tokens"

    @property
    def row_arguments(self) -> tuple[str, ...]:
        """The tensors that it is called with which have one row per example."""
        sampled = self.feedback == "sampled"
        more = {
            "token_log_ratio": sampled and self.needs_reference,
            "values": self.needs_values,
            "old_values": sampled and self.needs_values,
            "returns": sampled and self.needs_values,
            "sampled_logps": self.needs_sampled_logps,
        }
        return ARGUMENTS[self.feedback, self.level] + tuple(name for name, needed in more.items() if needed)

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The tensors that it is called with, in order."""
        points = (("z0",) if self.needs_reference_point else ()) + (
            ("running_mean",) if self.needs_running_mean else ()
        )
        return self.row_arguments + points + tuple(self.over_step)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Name to default, read from the keyword-only part of the signature: the signature is the schema."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def check(self, given: Mapping[str, Any]) -> None:
        """Refuse hyperparameters that the signature does not know, or whose value cannot be meant.

        Raises:
            ConfigError: with the nearest name suggested.
        """
        check_hyperparameters(self.name, self.hyperparameters, self.bounds, given)

    def interval(self, name: str) -> Bounds:
        """Return the legal values of a hyperparameter: its own bounds, its name's, else every finite number."""
        return Bounds.parse(self.bounds_of(name))

    def bounds_of(self, name: str) -> str:
        """Return the same as it is written."""
        return bounds_of(name, self.bounds)

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All hyperparameters: the given ones over the defaults, checked."""
        self.check(given)
        return {**self.hyperparameters, **given}

    def shape_of(self, name: str) -> tuple[str, ...]:
        """Return the letters of an argument's shape."""
        if name in _ONE_FOR_ALL:
            return ()
        if name in _BY_TOKEN:
            return ("N", "T")
        return ("N", "K") if self.feedback == "scored" else ("N",)

    def _check_shapes(self, arguments: tuple[torch.Tensor, ...]) -> None:
        names = self.argument_names
        if len(arguments) != len(names):
            raise TypeError(f"loss {self.name} takes {', '.join(names)}; got {len(arguments)} arguments")
        sizes: dict[str, int] = {}
        for name, argument in zip(names, arguments, strict=True):
            if name in self.over_step:
                continue
            letters = self.shape_of(name)
            fits = argument.dim() == len(letters)
            if not fits or any(sizes.setdefault(x, n) != n for x, n in zip(letters, argument.shape, strict=True)):
                takes = ", ".join(f"{n} ({', '.join(self.shape_of(n))})" for n in names if n not in self.over_step)
                got = ", ".join(str(tuple(a.shape)) for a in arguments)
                raise TypeError(f"loss {self.name} takes {takes}, letters of one size each; got {got}")


def _named_by(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that the function's signature names."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in values.items() if name in names}


def _widen(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
