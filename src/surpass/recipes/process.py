"""Process reward models: heads on packaged encoders that judge steps of solutions.

The set of solutions is named when the study is: `surpass run processbench-small
"task=processbench(source=FOLDER)"`. `docs/process.md` says what it costs and what came out.
"""

from __future__ import annotations

from surpass.study import Pair, Study
from surpass.tasks import Task
from surpass.train.recipe import Recipe

SMALL = ("package:minilm-l3(tokens=128)", "package:minilm-l6(tokens=128)")


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
