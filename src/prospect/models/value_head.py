"""What a state is worth: the critic of offline PPO. Letters: M tokens, H hidden."""

from __future__ import annotations

import torch

VALUE_HEAD = "value_head"  # prefix of its parameters' names, and the file beside the model


class ValueHead(torch.nn.Sequential):
    """An MLP of three layers, (M, H) to (M,).

    Its last layer starts at 0, so that before the first step every state is worth nothing, whatever the seed.
    """

    def __init__(self, hidden_size: int) -> None:
        last = torch.nn.Linear(hidden_size, 1)
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
        linear = [torch.nn.Linear(hidden_size, hidden_size) for _ in range(2)]
        super().__init__(linear[0], torch.nn.ReLU(), linear[1], torch.nn.ReLU(), last, torch.nn.Flatten(0))
