"""Learning whether solutions are right, from a verdict behind every token of them.

The loss of a solution is the mean over its tokens of the cross-entropy of the verdict there towards the
solution's label, in nats; labels may be probabilities, such as those of another model. So a long solution
counts as much as a short one, and a step's loss is the mean over its solutions.

Source: Cobbe et al. 2021, section 4.2 and appendix E; Lightman et al. 2023, section 2.5. Differs: no loss of
language modelling beside it, as in the latter.

Shape suffixes: N solutions, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from surpass.errors import ConfigError
from surpass.losses import per_example
from surpass.train.frozen import only_head
from surpass.train.loop import Labels, Running, fit
from surpass.train.recipe import Recipe

if TYPE_CHECKING:
    from surpass.models.outcome import CausalOutcome, SolutionTokens


@per_example
def mean_over_tokens(means_NC: Tensor, labels_NC: Tensor, progress: float) -> Tensor:
    """The loss of each solution in nats, (N,), from means over tokens of log-probabilities."""
    return -(means_NC * labels_NC).sum(dim=-1)


MEAN = f"{mean_over_tokens.__module__}:{mean_over_tokens.__name__}"
"""Its name."""


def fit_outcomes(
    model: CausalOutcome,
    examples: SolutionTokens,
    labels: Labels,
    *,
    loss: str = "xent",
    recipe: Recipe,
    seed: int,
    ema: float = 0.0,
    running: Running = Running(),  # noqa: B008
) -> Tensor:
    """Fine-tune an outcome reward model in place, by the training loop of all models.

    Args:
        model: The model.
        examples: What its `encode` gave.
        labels: Probabilities that each solution is wrong and right, and what it counts.
        loss: "xent".
        recipe: The settings.
        seed: Order of the solutions.
        ema: As in `loop.fit`.
        running: How to carry it out.

    Returns:
        The loss of each step in nats, float32.

    Raises:
        ConfigError: Another loss, or the head alone is to be trained.
        Stopped: `running.stop` said so.
    """
    if loss != "xent":
        raise ConfigError(f"loss {loss} is for one verdict of each example; outcomes are learned with xent")
    if only_head(model, [parameter for parameter in model.parameters() if parameter.requires_grad]):
        raise ConfigError("a head alone cannot learn from every token; say adapter=full or lora")
    return fit(model, examples, labels, loss=MEAN, recipe=recipe, seed=seed, ema=ema, running=running)
