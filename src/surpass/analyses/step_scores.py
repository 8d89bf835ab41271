"""Steps of any solutions, judged by a model that a study or a fit has left in a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surpass.analyses.finding import found
from surpass.errors import ConfigError, DataError
from surpass.reasoning.reductions import Neutral, correctness
from surpass.reasoning.solutions import Solution
from surpass.stages import Context, ModelStage
from surpass.store import Store
from surpass.store.opening import open_store
from surpass.tasks.process_table import step_tables

Floats = npt.NDArray[np.float64]


def score_solutions(
    judge: ModelStage | str,
    solutions: Sequence[Solution],
    *,
    store: Store | str = "surpass-store",
    classes: int | None = None,
    neutral: Neutral = "positive",
    micro_batch: int | None = None,
) -> list[Floats]:
    """P(correct) of each step, by a judge that was trained on steps.

    A causal model reads each solution once. `reasoning.reductions` makes scores of solutions of them, and
    `reasoning.first_error` says where the first error is.

    Args:
        judge: A stage that gives a model, such as `Fit` or the student of a study's row; or the name of a
            pretrained model, which then says what it says untrained.
        solutions: Each with a step at least (`Solution` refuses others); ratings are not looked at.
        store: Where the judge's weights are.
        classes: How many classes of steps the judge knows, where it does not say itself.
        neutral: Whether a neutral step, where that is a class, counts as correct ("positive") or as wrong.
        micro_batch: Steps per forward pass at most, for bounded memory; None for the usual.

    Returns:
        For each solution an array float64 (its number of steps,), each value in [0, 1].

    Raises:
        ConfigError: `neutral` is neither, or the model reads no text.
        DataError: There are no solutions, or a step has no token.
        StoreError: The judge's weights are not in the store.
    """
    from surpass.train.label import load_source
    from surpass.train.loop import label

    if not solutions:
        raise DataError("there are no solutions to score; give one at least")
    steps = [(solution, step) for solution in solutions for step in range(len(solution.steps))]
    known = _num_classes(judge)
    if None not in (known, classes) and known != classes:
        raise ConfigError(f"classes={classes}, and the judge was trained on {known}; leave it out")
    num_classes = known or classes or 2
    inputs = step_tables(steps, [None] * len(steps), num_classes=num_classes).inputs
    opened = open_store(store)
    nowhere = Path()  # loading writes nothing
    context = Context(find=lambda stage: found(stage, opened), out=nowhere, work=nowhere)
    model = load_source(judge, inputs, context)
    probs = label(model, model.encode(inputs), [num_classes] * len(steps), micro_batch=micro_batch)
    scores_K = correctness(np.stack(probs), neutral=neutral)
    ends = np.cumsum([len(solution.steps) for solution in solutions])
    return list(np.split(scores_K, ends[:-1]))


def _num_classes(judge: ModelStage | str) -> int | None:
    """How many classes a stage has learned to tell apart; None where it does not say."""
    learned = getattr(getattr(judge, "fit", judge), "examples", None)
    count: int | None = getattr(getattr(learned, "task", None), "num_classes", None)
    return count
