"""What a recipe that samples its data asks of its loss, and how many steps it comes to."""

from __future__ import annotations

from prospect.config import Config
from prospect.errors import ConfigError
from prospect.losses import Loss

# Log-probs of sampled tokens are compared with the policy's own, which are those of these settings.
_PLAIN = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}


def check_online(config: Config, loss: Loss) -> None:
    """Refuse an `online` section that does not go with the loss.

    Raises:
        ConfigError: naming the setting.
    """
    online = config.online
    assert online is not None, "the recipe samples its data"
    sampled, name = loss.feedback == "sampled", f"loss {loss.name}"
    compares = loss.advantages in ("group", "leave_one_out") or loss.feedback in ("paired", "scored")
    odd = [key for key, value in _PLAIN.items() if getattr(online, key) != value]
    refused = {
        f"{name} learns from no verdict on a sampled answer. Choose a loss on thumbs, pairs, scores or sampled "
        "completions (prospect losses)": (
            loss.feedback == "demonstration" or loss.reward_model or loss.control_tokens or loss.needs_sampled_logps
        ),
        f"online.{odd[0] if odd else ''} changes how probable a sampled token was, and {name} compares that with the "
        f"policy's own log-prob. Set online.{odd[0] if odd else ''}: {_PLAIN[odd[0]] if odd else ''}": sampled and odd,
        f"{name} compares answers to one prompt, and online.samples_per_prompt is {online.samples_per_prompt}. Set 2 "
        "or more": compares and online.samples_per_prompt < 2,
        f"online.reduction is {online.reduction}, and {name} is not a sum over sampled tokens. Leave it out": (
            online.reduction is not None and not (sampled and loss.over_units)
        ),
        f"online.kl takes from scores, and {name} has a pull to the reference of its own, beta. Leave it out": (
            bool(online.kl) and not sampled
        ),
        "online.kl_target is aimed at by online.kl, which is 0. Set online.kl, or leave the target out": (
            online.kl_target is not None and not kl_coefficient(config, loss)
        ),
        f"data.eval is {config.data.eval!r}, and {name} needs the log-probs with which tokens were sampled, which "
        "feedback files do not have. Leave it out": sampled and config.data.eval is not None,
        f"data.eval is {config.data.eval}, a part of data.train, which holds prompts here. Name a file of feedback, or "
        "leave it out": isinstance(config.data.eval, int | float),
        "loss.sft_weight adds the sft loss of desirable answers, and sampled completions have advantages. Leave it "
        "out": sampled and config.loss.sft_weight,
        "loss.humanline clips what the loss sees, and sampled completions have a clip of their own. Leave it out": (
            sampled and config.loss.humanline is not None
        ),
    }
    for message, holds in refused.items():
        if holds:
            raise ConfigError(f"{message}.")


def has_reference(config: Config, loss: Loss) -> bool:
    """Whether the run has a reference: its loss compares with it, or its samples' KL is measured against it."""
    return loss.needs_reference or config.online is not None


def kl_coefficient(config: Config, loss: Loss) -> float:
    """Return what a nat of KL takes from a score at the start."""
    assert config.online is not None, "the recipe samples its data"
    if config.online.kl is not None:
        return config.online.kl
    return 0.05 if loss.advantages in ("gae", "leave_one_out") else 0.0


def rollouts_per_pass(config: Config, prompts: int) -> int:
    """Return how many rollouts it takes to answer each prompt."""
    assert config.online is not None, "the recipe samples its data"
    return -(-prompts // config.online.prompts_per_rollout)


def examples_per_prompt(config: Config, loss: Loss) -> int:
    """Return how many examples are made of the answers to a prompt, if none is left out."""
    assert config.online is not None, "the recipe samples its data"
    return 1 if loss.feedback in ("paired", "scored") else config.online.samples_per_prompt


def steps_per_pass(config: Config, loss: Loss, prompts: int) -> int:
    """Return the steps that it takes to answer each prompt, if nothing is left out."""
    online = config.online
    assert online is not None, "the recipe samples its data"
    rollouts = rollouts_per_pass(config, prompts)
    examples = -(-prompts // rollouts) * examples_per_prompt(config, loss)
    return rollouts * -(-examples // config.train.batch_size) * online.epochs
