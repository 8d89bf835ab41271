"""What a loss of somebody else's gives, held against what the training loop relies on.

Ours are held to it by tests. Theirs are looked at in a fit's first step and then in steps 2, 4, 8 and so on:
often enough for what begins after a warm-up, while looking at all steps would cost a small model 5 to 10 %.

Shape suffixes: N examples, C candidates.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from surpass.errors import ConfigError
from surpass.losses.base import Loss, Target

if TYPE_CHECKING:
    from torch import Tensor

_TOLERANCE = 1e-3


def checked(loss: Loss) -> partial[Any]:
    """Its function, which refuses to go on where what it gives is no target, or no loss.

    Raises:
        ConfigError: From the loss: says what is wrong, and what is wanted.
    """
    calls = count(1)

    def call(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, **memory: Tensor) -> Any:
        given = loss.function(logits_NC, weak_probs_NC, progress, **memory)
        number = next(calls)
        if number & (number - 1) == 0:
            wrong = _no_losses(given, logits_NC) if loss.per_example else _no_target(given, logits_NC)
            if wrong:
                raise ConfigError(f"loss {loss.text} {wrong}")
        return given

    return partial(call)


def _no_target(given: Any, logits_NC: Tensor) -> str:
    """What is wrong with it; nothing where all is well."""
    if not isinstance(given, Target):
        return f"gives {type(given).__name__}; return surpass.losses.Target, or mark it with @per_example"
    target_NC, weight_N = given
    for name, value, shape in (
        ("target", target_NC, logits_NC.shape),
        ("weights", weight_N, logits_NC.shape[:1]),
    ):
        if wrong := _no_numbers(name, value, shape):
            return wrong
        if value.min() < 0:
            return f"gives {name} below 0, such as {float(value.min()):.4g}; they are at least 0"
    sum_N = target_NC.sum(1)
    worst = int((sum_N - 1).abs().argmax())
    if abs(float(sum_N[worst]) - 1) > _TOLERANCE:
        return f"gives a target whose row {worst} sums to {float(sum_N[worst]):.4g}; rows sum to 1"
    if target_NC[logits_NC.isneginf()].any():
        return "gives probability to a candidate that is not there (logit -inf); give it 0"
    return ""


def _no_losses(given: Any, logits_NC: Tensor) -> str:
    if wrong := _no_numbers("losses", given, logits_NC.shape[:1]):
        return wrong
    if logits_NC.requires_grad and not given.requires_grad:
        return "gives losses without gradient; do not detach the logits in a function marked @per_example"
    return ""


def _no_numbers(name: str, value: Any, shape: tuple[int, ...]) -> str:
    if not hasattr(value, "isfinite"):
        return f"gives {name} of type {type(value).__name__}; give a tensor"
    if tuple(value.shape) != tuple(shape):
        return f"gives {name} of shape {tuple(value.shape)}; here it is {tuple(shape)}"
    if not value.isfinite().all():
        return f"gives {name} that are not finite; take care of log 0, 0 / 0 and logits of -inf"
    return ""
