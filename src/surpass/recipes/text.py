"""Text and reward modelling: packaged models on a laptop, published settings with models of the hub.

The data set is named when the study is: `surpass run text-small task=sst2`. `docs/recipes.md` has the
source of every setting, what a study costs, and the published numbers.
"""

from __future__ import annotations

from itertools import combinations

from surpass.study import Pair, Study
from surpass.tasks import Task, find_task
from surpass.train.recipe import Recipe

SMALL = ("package:minilm-l6(tokens=128)", "package:mpnet(tokens=128)")
SMALLER = ("package:minilm-l3(tokens=128)", "package:minilm-l6(tokens=128)")
GPT2 = tuple(f"hub:openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"))
PYTHIA = tuple(f"hub:EleutherAI/pythia-{size}" for size in ("70m", "160m", "410m", "1b", "1.4b", "2.8b"))
QWEN = tuple(f"hub:Qwen/Qwen2.5-{size}" for size in ("0.5B", "1.5B", "3B", "7B"))
ELEUTHER = ("hub:Qwen/Qwen1.5-0.5B", "hub:meta-llama/Meta-Llama-3-8B")

# The paper gives epochs and batch size (appendix A.1), but neither rate nor schedule: those are of the code
# that its authors released, in which the two smaller GPT-2 have the higher rate.
PAPER = Recipe(epochs=2, batch_size=32, learning_rate=1e-5, schedule="cosine", warmup_frac=0.0)
PAPER_RATES = tuple((model, 5e-5) for model in (*GPT2[:2], *PYTHIA[:3]))
PROBING = Recipe(epochs=20, batch_size=32, learning_rate=2e-3, schedule="linear", warmup_frac=0.1)
TUNING = Recipe(epochs=2, batch_size=32, learning_rate=1e-4, schedule="linear", warmup_frac=0.1)


def text_small(*, task: Task, pairs: tuple[Pair, ...] = (SMALL,)) -> Study:
    """Heads on packaged encoders, MiniLM-L6 supervising MPNet, on a text task of yours: minutes on two cores.

    Frozen sentence encoders know topics and sentiment; for what is right or acceptable see `text-tuned`.

    Args:
        task: Which one.
        pairs: Other models.
    """
    return _packaged("text-small", task, pairs, adapter="frozen", recipe=PROBING)


def text_tuned(*, task: Task, pairs: tuple[Pair, ...] = (SMALLER,)) -> Study:
    """Packaged encoders with all weights trained, MiniLM-L3 supervising MiniLM-L6, on a text task of yours.

    Args:
        task: Which one; ETHICS deontology took 57 minutes on one thread of a busy machine.
        pairs: Other models.
    """
    return _packaged("text-tuned", task, pairs, recipe=TUNING)


def reward_small(*, task: Task, pairs: tuple[Pair, ...] = (SMALLER,)) -> Study:
    """Reward models: heads on packaged encoders, MiniLM-L3 supervising MiniLM-L6, on comparisons of yours.

    Args:
        task: A preference task.
        pairs: Other models.
    """
    return _packaged("reward-small", task, pairs, adapter="frozen", recipe=PROBING)


def text_paper(*, task: Task, pairs: tuple[Pair, ...] | None = None) -> Study:
    """The paper's settings for text with the hub's GPT-2 family, every model supervising every larger one.

    Two epochs, batches of 32, soft labels, early stopping on weak labels (Burns et al. 2023, appendix A.1);
    learning rates of openai/weak-to-strong.

    Args:
        task: One of the paper's 22, or yours.
        pairs: Other models.
    """
    return _paper("text-paper", task, pairs or tuple(combinations(GPT2, 2)))


def text_pythia(*, task: Task) -> Study:
    """The paper's settings for text with six Pythia models of the hub, 70M to 2.8B.

    Args:
        task: One of the paper's 22, or yours.
    """
    return _paper("text-pythia", task, tuple(combinations(PYTHIA, 2)))


def text_qwen(*, task: Task) -> Study:
    """The paper's settings for text with four Qwen2.5 models of the hub, 0.5B to 7B.

    Args:
        task: One of the paper's 22, or yours.
    """
    return _paper("text-qwen", task, tuple(combinations(QWEN, 2)))


def text_openai(*, task: Task | None = None) -> Study:
    """The settings of openai/weak-to-strong with GPT-2: no early stopping, two forms of the confidence loss.

    Differs from the released code: grouped halves, balanced rows, a ceiling on the student's own half, and no
    wrong read-out after "!". Its Qwen models need code from the hub, which is never run.

    Args:
        task: sciq by default.
    """
    return _paper(
        "text-openai",
        task or find_task("sciq"),
        tuple(combinations(GPT2, 2)),
        methods=("naive", "confidence_openai", "confidence"),
        early_stopping=False,
    )


def text_eleuther(*, task: Task | None = None) -> Study:
    """The settings of EleutherAI/w2s: Qwen1.5-0.5B supervises Llama-3-8B, low-rank changes, three epochs.

    Differs: early stopping goes by agreement with weak labels, theirs by its area under the curve.

    Args:
        task: sciq by default.
    """
    return Study(
        name="text-eleuther",
        task=task or find_task("sciq"),
        pairs=(ELEUTHER,),
        methods=("naive", "confidence(alpha=0.5, prior=weak)", "window", "strong_to_strong"),
        num_train=5_000,
        num_test=5_000,
        num_validation=1_000,
        recipe=Recipe(
            epochs=3,
            batch_size=32,
            learning_rate=8e-5,
            schedule="cosine",
            warmup_frac=0.085,
            weight_decay=0.1,
        ),
        learning_rates=((ELEUTHER[0], 5e-4),),
        adapter="lora(rank=8)",
    )


def reward_paper(*, task: Task | None = None, pairs: tuple[Pair, ...] | None = None) -> Study:
    """Reward modelling as in the paper with Pythia models, on hh by default: one epoch, batches of 220.

    With generative fine-tuning first and early stopping by the truth, both as in sections 5.1.1 and 5.2.2.

    Args:
        task: A preference task.
        pairs: Other models.
    """
    return Study(
        name="reward-paper",
        task=task or find_task("hh"),
        pairs=pairs or tuple(combinations(PYTHIA, 2)),
        methods=("naive", "generative", "early_stop_truth"),
        num_train=20_000,
        num_test=2_000,
        recipe=Recipe(epochs=1, batch_size=220, learning_rate=1e-5, schedule="cosine", warmup_frac=0.0),
        learning_rates=tuple(rate for rate in PAPER_RATES if pairs is None and rate[0] in PYTHIA),
    )


def _packaged(
    name: str, task: Task, pairs: tuple[Pair, ...], *, recipe: Recipe, adapter: str = "full"
) -> Study:
    """Sizes for two cores; early stopping is a method, so that all three are seen."""
    return Study(
        name=name,
        task=task,
        pairs=pairs,
        methods=("naive", "confidence", "early_stop"),
        num_train=800,
        num_test=600,
        num_validation=100,
        recipe=recipe,
        adapter=adapter,
        early_stopping=False,
    )


def _paper(
    name: str,
    task: Task,
    pairs: tuple[Pair, ...],
    *,
    methods: tuple[str, ...] = ("naive", "confidence"),
    early_stopping: bool | None = None,
) -> Study:
    """All examples that there are, and the settings that studies after the paper share."""
    return Study(
        name=name,
        task=task,
        pairs=pairs,
        methods=methods,
        num_train=None,
        recipe=PAPER,
        learning_rates=tuple(rate for rate in PAPER_RATES if rate[0] in _models(pairs)),
        early_stopping=early_stopping,
    )


def _models(pairs: tuple[Pair, ...]) -> list[str]:
    """Each model of some pairs once."""
    return list(dict.fromkeys(model for pair in pairs for model in pair))
