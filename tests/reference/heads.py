"""Slow twins of heads on frozen states: one head, example by example, in float64, and by the plain loop.

A head is a dict of arrays, of one linear layer (`head.weight`, `head.bias`) or of two with rectified units
between (`head.0.weight`, ...). States are (N, D), or (N, 2, D) of pairs, each of which is scored alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reference.losses import TWINS
from reference.training import rate
from surpass.calls import parse
from surpass.losses import find_loss
from surpass.models.heads import Scored, new_head, with_hidden
from surpass.train.lanes import Lane
from surpass.train.loop import Labels, Running, batches, fit
from surpass.train.recipe import Recipe

Head = dict[str, np.ndarray]


class Held:
    """States as heads ask for them, out of an array; `asked` are the rows of each time."""

    def __init__(self, states: np.ndarray) -> None:
        self.states = states.astype(np.float32)
        self.shape = self.states.shape[1:]
        self.asked: list[np.ndarray] = []
        self.held: Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        self.asked.append(rows)
        return torch.from_numpy(self.states[rows])

    def chunks(self, size: int) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            yield part, torch.from_numpy(self.states[part])


@dataclass
class Problem:
    """What one head learns, on which states; `rows` are those that have a label."""

    held: Held
    probs: list[np.ndarray]
    loss: str = "xent"
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=3, batch_size=8, learning_rate=1e-2))
    seed: int = 0
    ema: float = 0.0
    hidden: int = 0
    rows: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.rows is None:
            self.rows = np.arange(len(self.held))
        if self.weights is None:
            self.weights = np.ones(len(self.rows), np.float32)

    @property
    def labels(self) -> Labels:
        return Labels(self.probs, self.weights.astype(np.float32))

    @property
    def pairs(self) -> bool:
        return len(self.held.shape) == 2

    def head(self) -> dict[str, Tensor]:
        """Where it begins."""
        torch.manual_seed(self.seed + 77)
        made: Any = new_head(self.held.shape[-1], Scored(len(self.probs[0]), self.pairs))
        if self.hidden:
            made = with_hidden(made, self.hidden)
        return {f"head.{name}": value.detach().clone() for name, value in made.state_dict().items()}

    def lane(self, **more: Any) -> Lane:
        return Lane(
            known=self.held,
            rows_N=self.rows,
            labels=self.labels,
            loss=self.loss,
            recipe=self.recipe,
            seed=self.seed,
            ema=self.ema,
            head=self.head(),
            **more,
        )


class PlainHead(nn.Module):
    """The same head as a module, for the loop that trains whole models."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        width, pairs = problem.held.shape[-1], problem.pairs
        self.head: Any = nn.Linear(width, 1 if pairs else len(problem.probs[0]), bias=not pairs)
        if problem.hidden:
            self.head = with_hidden(self.head, problem.hidden)
        self.pairs = pairs
        self.load_state_dict(problem.head())

    def forward(self, states: Tensor, rows: np.ndarray) -> Tensor:
        scores = self.head(states[torch.from_numpy(rows)])
        return scores.squeeze(-1) if self.pairs else scores


def trained_by_the_loop(problem: Problem, **running: Any) -> tuple[PlainHead, Tensor]:
    """A head alone through `surpass.train.loop.fit`, and the loss of each step."""
    model = PlainHead(problem)
    states = torch.from_numpy(problem.held.states[problem.rows])
    losses = fit(
        model,
        states,
        problem.labels,
        loss=problem.loss,
        recipe=problem.recipe,
        seed=problem.seed,
        ema=problem.ema,
        running=Running(**running),
    )
    return model, losses


def logits_of(head: Head, states: np.ndarray) -> np.ndarray:
    """What a head says, (N, C), or (N, 2) of pairs."""
    if "head.weight" in head:
        scores = states @ head["head.weight"].T + head.get("head.bias", 0.0)
    else:
        hidden = np.maximum(states @ head["head.0.weight"].T + head["head.0.bias"], 0)
        scores = hidden @ head["head.2.weight"].T + head["head.2.bias"]
    return scores[..., 0] if states.ndim == 3 else scores


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def gradient(head: Head, states: np.ndarray, slopes: np.ndarray) -> Head:
    """By each array of a head, summed example by example; `slopes` (N, C) are by the logits."""
    found = {name: np.zeros_like(value) for name, value in head.items()}
    if states.ndim == 3:
        states, slopes = states.reshape(-1, states.shape[-1]), slopes.reshape(-1, 1)
    for state, slope in zip(states, slopes, strict=True):
        if "head.weight" in head:
            found["head.weight"] += np.outer(slope, state)
            if "head.bias" in head:
                found["head.bias"] += slope
            continue
        hidden = head["head.0.weight"] @ state + head["head.0.bias"]
        back = (head["head.2.weight"].T @ slope) * (hidden > 0)
        found["head.2.weight"] += np.outer(slope, np.maximum(hidden, 0))
        found["head.2.bias"] += slope
        found["head.0.weight"] += np.outer(back, state)
        found["head.0.bias"] += back
    return found


def slopes_of(
    text: str, logits: np.ndarray, labels: np.ndarray, progress: float, memory: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each example, (N,), and its gradient by the logits, (N, C).

    Of a loss with a target by its twin; of another by its own function in float64.
    """
    call = parse(text)
    if call.name in TWINS:
        target, weight = TWINS[call.name](logits.tolist(), labels.tolist(), progress, **dict(call.settings))
        target, weight = np.array(target), np.array(weight)
        probs = softmax(logits)
        losses = -(np.where(target > 0, target * np.log(probs), 0)).sum(axis=1) * weight
        return losses, (probs - target) * weight[:, None]
    loss = find_loss(text)
    variable = torch.from_numpy(logits).requires_grad_()
    kept = torch.from_numpy(memory)
    more = {"memory_NC": kept} if loss.memory else {}
    given = loss.function(variable, torch.from_numpy(labels), progress, **more)
    (slopes,) = torch.autograd.grad(given.sum(), variable)
    memory[:] = kept.numpy()
    return given.detach().numpy(), slopes.numpy()


def trained_slowly(problem: Problem) -> tuple[Head, np.ndarray]:
    """The head after AdamW, or its average, and the loss of each step."""
    head = {name: value.double().numpy() for name, value in problem.head().items()}
    mean = {name: value.copy() for name, value in head.items()}
    first, second = ({name: np.zeros_like(value) for name, value in head.items()} for _ in range(2))
    states = problem.held.states[problem.rows].astype(np.float64)
    labels = np.array(problem.probs, np.float64)
    memory, losses = np.zeros_like(labels), []
    recipe, num_steps = problem.recipe, problem.recipe.num_steps(len(labels))
    for step, rows in enumerate(batches(len(labels), recipe, problem.seed)):
        kept = memory[rows]
        each, slopes = slopes_of(
            problem.loss, logits_of(head, states[rows]), labels[rows], step / num_steps, kept
        )
        memory[rows] = kept
        share = problem.weights[rows].astype(np.float64) / len(rows)
        losses.append(float((each * share).sum()))
        speed = rate(recipe, step, num_steps)
        decay = min(problem.ema, (1 + step) / (10 + step))
        for name, slope in gradient(head, states[rows], slopes * share[:, None]).items():
            first[name] = 0.9 * first[name] + 0.1 * slope
            second[name] = 0.999 * second[name] + 0.001 * slope**2
            spread = np.sqrt(second[name] / (1 - 0.999 ** (step + 1))) + 1e-8
            head[name] = head[name] * (1 - speed * recipe.weight_decay)
            head[name] = head[name] - speed * first[name] / (1 - 0.9 ** (step + 1)) / spread
            mean[name] = decay * mean[name] + (1 - decay) * head[name]
    return mean if problem.ema else head, np.array(losses)


def some_states(num: int, width: int = 12, *, pairs: bool = False, seed: int = 0) -> Held:
    rng = np.random.default_rng((num, width, pairs, seed))
    return Held(rng.standard_normal((num, 2, width) if pairs else (num, width)))


def some_labels(num: int, num_classes: int = 3, *, seed: int = 0, hard: bool = False) -> list[np.ndarray]:
    rng = np.random.default_rng((num, num_classes, seed))
    if hard:
        return list(np.eye(num_classes, dtype=np.float32)[rng.integers(0, num_classes, num)])
    return list(rng.dirichlet(np.ones(num_classes), num).astype(np.float32))


def probs_of(head: dict[str, Tensor], held: Held) -> np.ndarray:
    """What a trained head says of all states, in float64."""
    return softmax(logits_of({name: value.double().numpy() for name, value in head.items()}, held.states))


def alone_and_together(problems: Sequence[Problem]) -> Any:
    """Each head trained alone, and all at once."""
    from surpass.train.heads import fit_heads

    alone = [fit_heads([problem.lane()])[0] for problem in problems]
    return alone, fit_heads([problem.lane() for problem in problems])
