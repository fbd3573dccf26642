"""An own loss in ten lines: the value function that Kahneman and Tversky measured, on thumbs.

prospect losses check examples/kahneman_tversky.py:kahneman_tversky
prospect train examples/kahneman_tversky.yaml
"""

import torch

import prospect

# Nats, far less than log-ratios are apart. z^alpha is infinitely steep at z = 0, where training starts; moved by this
# much it is about as steep there as at 1 nat.
ROUND = 0.01


def human_value(z, *, alpha=0.88, loss_aversion=2.25):
    """z^alpha in gains, -loss_aversion (-z)^alpha in losses; clamp, not abs, which has no slope at 0."""
    gain, pain = ((side.clamp(min=0) + ROUND) ** alpha - ROUND**alpha for side in (z, -z))
    return torch.where(z >= 0, gain, -loss_aversion * pain)


@prospect.loss(
    "unpaired",
    needs_reference_point=True,
    is_halo=True,
    value=human_value,
    bounds={"alpha": "(0, 1]", "loss_aversion": "[1, inf)"},
    paper="Tversky and Kahneman 1992",
)
def kahneman_tversky(log_ratio, desirable, z0, *, alpha=0.88, loss_aversion=2.25):
    """The loss is minus the human value of each completion.

    loss = -v(z), z = r - z0 if desirable, z0 - r if not.
    """
    z = torch.where(desirable, log_ratio - z0, z0 - log_ratio)
    return -human_value(z, alpha=alpha, loss_aversion=loss_aversion)
