"""Process reward models: models that judge steps of solutions.

For `processbench-small` the set of solutions is named when the study is: `surpass run processbench-small
"task=processbench(source=FOLDER)"`. `docs/process.md` says what it costs and what came out.
"""

from __future__ import annotations

from surpass.study import Pair, Study
from surpass.tasks import Task
from surpass.train.recipe import Recipe
from surpass.world.steps_task import WorldStepsTask

SMALL = ("package:minilm-l3(tokens=128)", "package:minilm-l6(tokens=128)")

WORLD = ("reasoner:tiny", "reasoner:small")


def processbench_small(*, task: Task, pairs: tuple[Pair, ...] = (SMALL,)) -> Study:
    """Heads on packaged encoders, MiniLM-L3 supervising MiniLM-L6, on steps of solutions (27 busy minutes).

    As many wrong as correct steps are learned from; all steps of the test are judged.

    Args:
        task: Such as processbench, prm800k, or yours.
        pairs: Other models.
    """
    return Study(
        name="processbench-small",
        task=task,
        pairs=pairs,
        methods=("naive", "confidence"),
        num_train=800,
        num_test=300,
        num_validation=100,
        train_mix="balanced",
        recipe=Recipe(epochs=20, batch_size=32, learning_rate=2e-3, schedule="linear", warmup_frac=0.1),
        adapter="frozen",
        early_stopping=False,
    )


def process_world(*, task: Task | None = None, pairs: tuple[Pair, ...] = (WORLD,)) -> Study:
    """Reasoners of the offline world that judge steps of its authors; everything is trained.

    Judges also choose the best of 8 solutions of each test problem.

    Args:
        task: Other steps, such as world-steps(levels=long).
        pairs: Other models.
    """
    return Study(
        name="process-world",
        task=WorldStepsTask() if task is None else task,
        pairs=pairs,
        methods=("naive",),
        num_train=2000,
        num_validation=100,
        recipe=Recipe(epochs=3, batch_size=32, learning_rate=2e-3, warmup_frac=0.1),
        early_stopping=False,
        best_of=8,
    )
