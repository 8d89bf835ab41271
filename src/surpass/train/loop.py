"""The one training loop, and labelling.

Shape suffixes: N examples, C candidates, D features.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from surpass.clock import spent
from surpass.errors import Stopped
from surpass.losses import Loss, find_loss
from surpass.models.embedding import UsedRows, used_rows
from surpass.train.adamw import AdamW, optimizer_of
from surpass.train.below import computed_once
from surpass.train.checkpoint import Saving, resumed, save_checkpoint
from surpass.train.gradient import Batch, accumulate_gradient, padded_probs
from surpass.train.order import Rows, batches, batches_per_epoch, groups_of
from surpass.train.recipe import Recipe
from surpass.train.weights import Average

if TYPE_CHECKING:
    from surpass.train.ranks import Ranks

LABEL_BATCH = 256
_SEEDS_AHEAD = 64


@dataclass(frozen=True)
class Running:
    """How a fit is carried out; nothing here changes a number beyond rounding.

    Attributes:
        checkpoint: Where to keep the state of training, or None.
        checkpoint_seconds: How often, in seconds.
        micro_batch: Examples per forward pass at most; None for the whole batch.
        report: Called with the share of steps done, in [0, 1].
        stop: Asked after each step; True saves a checkpoint and raises `Stopped`.
        snapshots: How often the model is shown on its way, evenly spaced over the steps, last at the end.
        snapshot: Called with the number of the snapshot, from 1, when the model stands there.
        ranks: The processes among which the model is spread; None for this one alone.
    """

    checkpoint: Path | None = None
    checkpoint_seconds: float = 30.0
    micro_batch: int | None = None
    report: Callable[[float], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    snapshots: int = 0
    snapshot: Callable[[int], None] = lambda _: None
    ranks: Ranks | None = None


def step_seed(seed: int, step: int) -> int:
    """What the model's own randomness starts from: of seed and step alone, so there is no state to save."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0])


def _step_seeds(seed: int, start: int) -> Iterator[int]:
    """Those of all steps from one on, made many at a time: a single one takes four times as long."""
    for begin in itertools.count(start, _SEEDS_AHEAD):
        yield from [step_seed(seed, step) for step in range(begin, begin + _SEEDS_AHEAD)]


class Labels(NamedTuple):
    """What a fit learns: probabilities over the candidates of each example, and weights, (N,)."""

    probs: Sequence[npt.NDArray[np.float32]]
    weight_N: npt.NDArray[np.float32]


def fit(
    model: nn.Module,
    examples: Any,
    labels: Labels,
    *,
    loss: str,
    recipe: Recipe,
    seed: int,
    ema: float = 0.0,
    running: Running = Running(),
) -> Tensor:
    """Fine-tune a model in place on labels; parameters that want no gradient stay as they are.

    Where the head alone is trained, what lies below it is computed once, if the model can (`SplitModel`);
    so is what lies below the first trained layer, where that pays (`with_below`). Of a table of embeddings
    only rows that the examples need are trained; the result is the same to the bit.

    Args:
        model: A `ChoiceModel`; where there are ranks, as they have spread it.
        examples: What the model's `encode` gave.
        labels: Labels of the examples, row for row.
        loss: A name in `LOSSES`, with its settings.
        recipe: The settings.
        seed: Order of the examples, and whatever else is random.
        ema: Decay of the average of the weights that the model has at the end and in snapshots; 0 for
            the last weights.
        running: How to carry it out.

    Returns:
        The loss of each step in nats, float32.

    Raises:
        ConfigError: There is no such loss.
        Stopped: `running.stop` said so.
    """
    found = find_loss(loss)
    plain = ema or running.ranks is not None
    with nullcontext() if plain else used_rows(model, examples) as used:
        return _fit(model, examples, labels, found, recipe, seed, ema, running, used)


def _fit(
    model: nn.Module,
    examples: Any,
    labels: Labels,
    found: Loss,
    recipe: Recipe,
    seed: int,
    ema: float,
    running: Running,
    used: UsedRows | None,
) -> Tensor:
    num_steps = recipe.epochs * batches_per_epoch(len(labels.probs), recipe, groups_of(examples))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ranks = running.ranks
    optimizer = optimizer_of(used.instead(trained) if used else trained, recipe, alone=ranks is None)
    accumulate: Any = accumulate_gradient if ranks is None else ranks.accumulate_gradient
    kept = {"losses": torch.zeros(num_steps)}
    if found.memory:
        kept["memory"] = torch.zeros(len(labels.probs), max(map(len, labels.probs)))
    average = Average(trained, ema) if ema else None
    start = resumed(running.checkpoint, model, optimizer, kept, average, used)
    if ranks is not None:
        ranks.require_same(start)
    model.train()
    scores, examples = computed_once(model, trained, examples, len(labels.probs), recipe.epochs, running)
    saving = Saving(running.checkpoint_seconds)
    labelled = _Labelled(labels, kept.get("memory"))
    order = batches(len(labels.probs), recipe, seed, start, groups_of(examples))
    for step, (rows, own_seed) in enumerate(zip(order, _step_seeds(seed, start), strict=False), start):
        _begin(optimizer, recipe.rate(step, num_steps), own_seed)
        with spent("data"):
            batch = labelled.batch(rows)
        kept["losses"][step] = accumulate(
            scores, examples, batch, found, step / num_steps, running.micro_batch
        )
        if batch.memory_NC is not None:
            kept["memory"][rows, : batch.memory_NC.shape[1]] = batch.memory_NC
        with spent("optimizer"):
            optimizer.step()
            if used is not None:
                used.decay(recipe.rate(step, num_steps) * recipe.weight_decay)
            if average is not None:
                average.update(step)
        _show(running, average, used, step, num_steps)
        running.report((step + 1) / num_steps)
        stop, due = running.stop(), saving.due
        if ranks is not None:
            stop, due = ranks.agreed(stop, due)
        if running.checkpoint is not None and (due or stop):
            extra = kept | (average.state() if average else {})
            with saving, spent("input/output"):
                _save(running, model, optimizer, step, extra, used)
        if stop:
            raise Stopped("stopped; run the same command again to go on from here")
    if average is not None:
        average.apply()
    return kept["losses"]


def _begin(optimizer: Optimizer | AdamW, rate: float, seed: int) -> None:
    """A step begins: with this rate, no gradient, and the model's own randomness from the seed."""
    # Not torch.manual_seed, which looks for other devices, and took a quarter of a small model's step.
    torch.default_generator.manual_seed(seed)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()


def _save(
    running: Running,
    model: nn.Module,
    optimizer: Optimizer | AdamW,
    step: int,
    extra: dict[str, Tensor],
    used: UsedRows | None,
) -> None:
    write = running.ranks is None or running.ranks.first
    assert running.checkpoint is not None
    position = {"step": step + 1}
    save_checkpoint(running.checkpoint, model, optimizer, position, extra, used=used, write=write)


def snapshot_steps(num_steps: int, snapshots: int) -> list[int]:
    """After how many steps each snapshot is taken; where there are fewer steps, some after the same."""
    return [-(-number * num_steps // snapshots) for number in range(1, snapshots + 1)]


def _show(
    running: Running, average: Average | None, used: UsedRows | None, step: int, num_steps: int
) -> None:
    """Show the model as often as is due after a step."""
    for number, after in enumerate(snapshot_steps(num_steps, running.snapshots), 1):
        if after == step + 1:
            with (
                spent("evaluation"),
                nullcontext() if used is None else used.whole(),
                nullcontext() if average is None else average.in_place(),
            ):
                running.snapshot(number)


class _Labelled:
    """The labels of a fit, of which each step takes those of its examples."""

    def __init__(self, labels: Labels, memory_NC: Tensor | None) -> None:
        self._probs_NC = padded_probs(labels.probs).numpy()
        self._size_N = np.array([len(row) for row in labels.probs])
        self._weight_N, self._memory_NC = labels.weight_N, memory_NC

    def batch(self, rows: Rows) -> Batch:
        """Those of some examples, as wide as the one with the most candidates."""
        width = int(self._size_N[rows].max())
        labels_NC = torch.from_numpy(self._probs_NC[rows, :width])
        memory_NC = None if self._memory_NC is None else self._memory_NC[torch.from_numpy(rows), :width]
        return Batch(rows, labels_NC, torch.from_numpy(self._weight_N[rows]), memory_NC)


@torch.no_grad()
def label(
    model: Any,
    examples: Any,
    num_candidates: Sequence[int],
    *,
    micro_batch: int | None = None,
    report: Callable[[float], None] = lambda _: None,
) -> list[npt.NDArray[np.float32]]:
    """Probabilities over the candidates of each example, in order; each sums to 1."""
    model.eval()
    scores = getattr(model, "shared", model)  # where several processes have it
    probs: list[npt.NDArray[np.float32]] = []
    for rows in _in_order(len(num_candidates), micro_batch):
        probs_NC = torch.softmax(scores(examples, rows), dim=1).numpy()
        probs += [row[: num_candidates[place]] for place, row in zip(rows.tolist(), probs_NC, strict=True)]
        report(len(probs) / len(num_candidates))
    return probs


def _in_order(num_examples: int, micro_batch: int | None) -> Iterator[Rows]:
    size = min(LABEL_BATCH, micro_batch or LABEL_BATCH)
    for start in range(0, num_examples, size):
        yield np.arange(start, min(start + size, num_examples))
