"""Planted problems with linear models: the synthetic study of Burns et al. 2023, appendix E.1, in seconds.

The supervisor is a logistic regression on the first k features, the student one on all of them. Differs
from the paper: the features are drawn (`docs/data/planted.md`), 4,000 examples of either half instead of
10,000 and 13,000, and AdamW stopped after five epochs instead of a solver with an L2 penalty.
"""

from __future__ import annotations

from surpass.study import Study
from surpass.tasks.planted import PlantedTask
from surpass.train.recipe import Recipe

# Tuned once on validation examples, for calibrated supervisors and ceilings; see docs/data/planted.md.
FITTING = Recipe(epochs=5, batch_size=128, learning_rate=5e-3, schedule="linear", warmup_frac=0.05)


def planted() -> Study:
    """Two classes, hard labels as in the paper, three supervisors, five seeds.

    Soft labels of a linear supervisor are imitated to the last error: `labels=soft` shows it.
    """
    return Study(
        name="planted",
        task=PlantedTask(),
        pairs=(("linear:4", "linear:all"), ("linear:8", "linear:all"), ("linear:16", "linear:all")),
        seeds=(0, 1, 2, 3, 4),
        labels="hard",
        num_train=4_000,
        num_test=10_000,
        num_validation=2_000,
        recipe=FITTING,
    )


def planted_many() -> Study:
    """Four classes and soft labels, for methods that need them; three supervisors, five seeds."""
    return Study(
        name="planted-many",
        task=PlantedTask(num_classes=4, num_features=63, separation=3.8),
        pairs=(("linear:9", "linear:all"), ("linear:15", "linear:all"), ("linear:24", "linear:all")),
        seeds=(0, 1, 2, 3, 4),
        num_train=4_000,
        num_test=10_000,
        num_validation=2_000,
        recipe=FITTING,
    )
