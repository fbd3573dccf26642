"""What every loss must hold, as code: the same checks for the losses here and for one's own.

`prospect losses check my_file.py:my_loss` prints the results; the project's tests run them on every registered loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from prospect.losses.base import Loss
from prospect.losses.checks import numbers, settings, value
from prospect.losses.checks.arguments import CheckError, NotApplicableError

# A check returns nothing, or a note on what it had to leave out; it raises CheckError or NotApplicableError.
Check = Callable[[Loss], str | None]

CHECKS: tuple[Check, ...] = (
    numbers.one_value_per_example,
    numbers.half_precision_is_computed_in_float32,
    numbers.float64_stays_float64,
    numbers.it_is_a_pure_function,
    numbers.values_and_gradients_are_finite_at_the_extremes,
    numbers.small_values_survive_float32,
    numbers.the_gradient_is_the_numerical_one,
    numbers.the_step_goes_the_right_way,
    numbers.it_learns_from_the_first_step,
    numbers.rows_do_not_meet,
    numbers.only_what_is_there_counts,
    settings.every_hyperparameter_has_an_effect,
    settings.every_legal_hyperparameter_works,
    settings.unknown_hyperparameters_are_refused,
    settings.illegal_hyperparameters_are_refused,
    settings.wrong_shapes_are_refused,
    value.the_value_never_falls,
    value.the_value_is_concave_in_gains,
    value.the_loss_is_a_constant_minus_its_value,
)


class CheckResult(NamedTuple):
    """The result of one check.

    Attributes:
        name: the check.
        passed: None where it does not concern the loss.
        message: why it failed or does not concern the loss; a note, or empty, where it passed.
    """

    name: str
    passed: bool | None
    message: str


def check_loss(loss: Loss) -> list[CheckResult]:
    """Run every check on a loss; it takes about a second and needs no model.

    Args:
        loss: a registered one, or one's own.

    Returns:
        One result per check, in the order of `CHECKS`.
    """
    return [_result(check, loss) for check in CHECKS]


def _result(check: Check, loss: Loss) -> CheckResult:
    try:
        note = check(loss)
    except CheckError as error:
        return CheckResult(check.__name__, False, str(error))
    except NotApplicableError as reason:
        return CheckResult(check.__name__, None, str(reason))
    except Exception as error:  # the loss is the user's code: what it raises is a finding
        return CheckResult(check.__name__, False, f"the loss raised {type(error).__name__}: {error}")
    return CheckResult(check.__name__, True, note or "")
