"""Heads of a study: together, one after the other, and with scikit-learn."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from measured import Measured, in_turns, seconds
from probe_studies import Head, all_targets, finder, heads_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from surpass.engine.inline import Settings, run
from surpass.losses import find_loss, soft_cross_entropy
from surpass.stages import Context, Features
from surpass.store import Store
from surpass.study import Study
from surpass.train.features import read_states
from surpass.train.heads import fit_heads
from surpass.train.lanes import Lane, Trained, dense
from surpass.train.linear import HeadState, head_logits
from surpass.train.loop import fit
from surpass.train.order import batches
from surpass.train.recipe import Recipe
from surpass.train.weights import Average

DECAY = 1e-2
"""Of L-BFGS; as C of scikit-learn 0.25 with 400 examples of many classes, 0.5 of two."""

NEWTON = Recipe(epochs=1000, optimizer="lbfgs", weight_decay=DECAY)
PLAIN = ("naive", "knn_filter", "top_confident", "ensemble")
"""Methods with cross-entropy."""


Learn = Callable[[Lane], HeadState]
"""How one head is trained."""


class Alone(nn.Module):
    """A head as a module, for the loop that trains whole models."""

    def __init__(self, head: HeadState) -> None:
        super().__init__()
        outputs, width = head["head.weight"].shape
        self.head = nn.Linear(width, outputs)
        self.load_state_dict(head)

    def forward(self, states: Tensor, rows: np.ndarray[Any, Any]) -> Tensor:
        """Logits of some of the examples."""
        return self.head(states[torch.from_numpy(rows)])


def trained_alone(lane: Lane) -> HeadState:
    """The same head by `surpass.train.loop.fit`, on states in memory."""
    model = Alone(lane.head)
    states = lane.known[lane.rows_N]
    fit(model, states, lane.labels, loss=lane.loss, recipe=lane.recipe, seed=lane.seed, ema=lane.ema)
    return model.state_dict()


def trained_by_script(lane: Lane) -> HeadState:
    """The same head as a script has it: a DataLoader of states and labels, torch's optimizer and scheduler.

    openai/weak-to-strong trains its probes of images so (`vision/run_weak_strong.py`). Losses and averages of
    weights, which it lacks, are ours, and so is the order, or it would be another head; it is autograd that
    finds the gradients of the losses.
    """
    model, recipe, loss = Alone(lane.head), lane.recipe, find_loss(lane.loss)
    labels_NC, weight_N = dense(lane.labels), torch.from_numpy(lane.labels.weight_N)
    examples = TensorDataset(lane.known[lane.rows_N], labels_NC)
    order = [rows.tolist() for rows in batches(len(labels_NC), recipe, lane.seed)]
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: recipe.rate(min(step, len(order) - 1), len(order)) / recipe.learning_rate
    )
    average = Average(list(model.parameters()), lane.ema) if lane.ema else None
    memory_NC = torch.zeros_like(labels_NC)
    loader = DataLoader(examples, batch_sampler=order)
    for step, (rows, (states_ND, some_NC)) in enumerate(zip(order, loader, strict=True)):
        optimizer.zero_grad()
        logits_NC, progress = model.head(states_ND), step / len(order)
        if loss.memory:
            memory = memory_NC[rows]
            losses_N = loss.function(logits_NC, some_NC, progress, memory_NC=memory)
            memory_NC[rows] = memory
        elif loss.per_example:
            losses_N = loss.function(logits_NC, some_NC, progress)
        else:
            losses_N = soft_cross_entropy(logits_NC, loss.function(logits_NC.detach(), some_NC, progress))
        (losses_N * weight_N[rows]).mean().backward()
        optimizer.step()
        schedule.step()
        if average is not None:
            average.update(step)
    if average is not None:
        average.apply()
    return model.state_dict()


def together(study: Study, store: Store, work: Path, rounds: int, every: int = 1) -> list[Measured]:
    """All heads of a study with AdamW at once, against one after the other by a script and by our own loop.

    Args:
        study: It has run.
        store: Where it is.
        work: A folder.
        rounds: How often either is measured, in turns.
        every: Of those alone, this one in so many is measured, and the time multiplied.
    """
    lanes = [[head.lane for head in heads] for heads in heads_of(study, store, work)]
    flat = [lane for some in lanes for lane in some]
    chosen = range(0, len(flat), every)
    trained = [head for some in lanes for head in fit_heads(some)]
    products = [product for some in lanes for product in _products(some)]
    threads = torch.get_num_threads()

    def one_by_one(learn: Learn, number: int, places: Sequence[int] = chosen) -> None:
        torch.set_num_threads(number)
        for at in places:
            learn(flat[at])
        torch.set_num_threads(threads)

    def alone(learn: Learn) -> tuple[float, int, Callable[[], None]]:
        furthest = max(_apart(trained[at], learn(flat[at])) for at in chosen)
        assert furthest < 1e-4, f"heads together and alone are {furthest} apart"
        number = fastest(partial(one_by_one, learn, places=chosen[::4]), threads)
        return furthest, number, partial(one_by_one, learn, number)

    rivals = (
        ("a loop over a DataLoader", 20, alone(trained_by_script)),
        ("our own loop of whole models", 5, alone(trained_alone)),
    )
    ours, least, *theirs = in_turns(
        [
            lambda: [fit_heads(some) for some in lanes],
            lambda: [_multiply(*product) for product in products],
            *(go for _, _, (_, _, go) in rivals),
        ],
        rounds,
    )
    scale = len(flat) / len(chosen)
    found = []
    for (what, bound, (furthest, number, _)), each in zip(rivals, theirs, strict=True):
        details = {
            "heads": [len(some) for some in lanes],
            "features": sorted({lane.known.shape[-1] for lane in flat}),
            "together": ours,
            "alone": [scale * taken for taken in each],
            "measured alone": len(chosen),
            "threads together and alone": [threads, number],
            "ratio of processor time": scale * each.cpu / ours.cpu,
            "products alone": least,
            "ratio with nothing but products": scale * each.cpu / least.cpu,
            "weights apart": furthest,
        }
        name = f"{study.name}: heads together, times as fast as {what}"
        found.append(Measured(name, scale * each.wall / ours.wall, bound, False, details))
    return found


def fastest(run: Callable[[int], object], threads: int) -> int:
    """With how many threads a rival takes less, one or all of them; each is tried once."""
    if threads == 1:
        return 1
    return min((1, threads), key=lambda number: seconds(partial(run, number)).wall)


def _products(lanes: Sequence[Lane]) -> list[tuple[Tensor, Tensor, int]]:
    """The matrix products of all steps: weights of heads on one batch, its states, and how often.

    No training of these heads by such products takes less; here the operands are near the processor, too.
    """
    groups: dict[tuple[object, ...], list[Lane]] = {}
    for lane in lanes:
        groups.setdefault((*lane.batch_key, lane.shape), []).append(lane)
    found = []
    for same in groups.values():
        lane, (outputs, width) = same[0], same[0].head["head.weight"].shape
        sizes = Counter(map(len, batches(len(lane.rows_N), lane.recipe, lane.seed)))
        for size, times in sizes.items():
            found.append((torch.randn(len(same) * outputs, width), torch.randn(size, width), times))
    return found


def _multiply(weight_CD: Tensor, states_ND: Tensor, times: int) -> None:
    """What so many steps say of their batches, and the gradients."""
    for _ in range(times):
        (weight_CD @ states_ND.T) @ states_ND


def _apart(trained: object, other: HeadState) -> float:
    assert isinstance(trained, Trained)
    return max(float((value - other[name]).abs().max()) for name, value in trained.head.items())


def against_scikit_learn(
    study: Study, store: Store, work: Path, rounds: int, threads: int, every: int = 1
) -> list[Measured]:
    """The heads with cross-entropy on hard labels by L-BFGS, against a loop of LogisticRegression.

    Both minimise the same: the mean cross-entropy and a penalty on squared weights, not on biases. Of the
    loop every so many heads are measured, and the time is multiplied.
    """
    from threadpoolctl import threadpool_limits

    methods = tuple(method for method in PLAIN if method in study.methods)
    plain = study.replace(recipe=NEWTON, labels="hard", methods=methods, early_stopping=False)
    run(all_targets(plain), store, settings=Settings(threads=threads))
    heads = [head for some in heads_of(plain, store, work) for head in some]
    lanes = [head.lane for head in heads]
    problems = [(lane.known[lane.rows_N].numpy(), lane) for lane in lanes[::every]]

    def one_by_one(number: int, some: Sequence[Any] = problems) -> list[Any]:
        # For this side alone: the limit would hold for torch too.
        with threadpool_limits(number):
            return [_logistic(*problem) for problem in some]

    theirs, ours = one_by_one(1), fit_heads(lanes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Its threads wait for each other in loops; on a busy machine two took a hundred times as long as one.
        number = fastest(partial(one_by_one, some=problems[::3]), threads)
        mine, loop = in_turns([partial(fit_heads, lanes), lambda: one_by_one(number)], rounds)
    differences = _differences(plain, store, heads[::every], ours[::every], theirs)
    scale = len(lanes) / len(problems)
    details = {
        "heads": len(heads),
        "together": mine,
        "scikit-learn": [scale * each for each in loop],
        "measured with scikit-learn": len(problems),
        "threads together and of scikit-learn": [threads, number],
        "iterations": [sum(len(each.losses) for each in ours) / len(ours), _iterations(theirs)],
        "ratio of processor time": scale * loop.cpu / mine.cpu,
        "furthest of one head": max(map(abs, differences)),
        "mean": float(np.mean(differences)),
    }
    return [
        Measured(
            f"{study.name}: L-BFGS, times as fast as scikit-learn",
            scale * loop.wall / mine.wall,
            1,
            False,
            details,
        ),
        Measured(
            f"{study.name}: L-BFGS, accuracy from scikit-learn's",
            abs(details["mean"]),
            0.2,
            True,
            {},
            "points",
        ),
    ]


def _logistic(states: np.ndarray[Any, Any], lane: Lane) -> Any:
    from sklearn.linear_model import LogisticRegression

    labels_N = np.array([row.argmax() for row in lane.labels.probs])
    # Two classes have one vector of weights there, which is the difference of the two here.
    share = 2 if len(lane.labels.probs[0]) == 2 else 1
    model = LogisticRegression(C=share / (DECAY * len(labels_N)), max_iter=1000)
    return model.fit(states, labels_N, sample_weight=lane.labels.weight_N)


def _iterations(models: Sequence[Any]) -> float:
    return float(np.mean([model.n_iter_ for model in models]))


def _differences(
    study: Study, store: Store, heads: Sequence[Head], ours: Sequence[object], theirs: Sequence[Any]
) -> list[float]:
    """Accuracy on the test examples of each head less that of scikit-learn's, points."""
    test = study.test_examples
    context = Context(find=finder(study, store), out=store.root, work=store.root)
    truth = pq.read_table(context.find(test).file("truth.parquet"))
    truth_N, ids = truth["truth"].to_numpy(), truth["id"].to_pylist()
    states: dict[str, Tensor] = {}
    found = []
    for head, trained, model in zip(heads, ours, theirs, strict=True):
        assert isinstance(trained, Trained)
        name = head.fit.model
        if name not in states:
            states[name] = read_states(context, Features(source=name, examples=test), ids)
        seen = states[name]
        own_N = head_logits(trained.head, seen).argmax(1).numpy()
        found.append(100 * float((own_N == truth_N).mean() - (model.predict(seen.numpy()) == truth_N).mean()))
    return found


def warm(study: Study, store: Store) -> float:
    """Run a study for what it imports; seconds."""
    return seconds(lambda: run(all_targets(study), store)).wall
