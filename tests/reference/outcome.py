"""Slow twins of outcome reward models: one token after another, without padding or batches."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import torch

from reference.language import scores_of


def solutions_of(solutions: list[tuple[str, list[str]]], **columns: list[Any]) -> pa.Table:
    """A table of whole solutions: problems with the texts of their steps."""
    candidates = pa.array([[0, 1]] * len(solutions), pa.list_(pa.uint16()))
    ids = [f"s{number}" for number in range(len(solutions))]
    steps = pa.array([steps for _, steps in solutions], pa.list_(pa.string()))
    problems = [problem for problem, _ in solutions]
    return pa.table({"id": ids, "problem": problems, "steps": steps, "candidates": candidates} | columns)


def verdicts_of(body: Any, head: Any, tokens: list[int]) -> list[list[float]]:
    """The probabilities behind each token, from a pass over just the tokens up to there."""
    weight = head.weight.double().tolist()
    bias = None if head.bias is None else head.bias.double().tolist()
    verdicts = []
    for end in range(1, len(tokens) + 1):
        with torch.no_grad():
            state = body(input_ids=torch.tensor([tokens[:end]])).last_hidden_state[0, -1].double().tolist()
        scores = scores_of(state, weight, bias)
        total = sum(math.exp(score) for score in scores)
        verdicts.append([math.exp(score) / total for score in scores])
    return verdicts


def loss_of(verdicts: list[list[float]], start: int, label: list[float]) -> float:
    """The mean cross-entropy towards a label of the verdicts from `start` on."""
    judged = verdicts[start:]
    losses = [-sum(q * math.log(p) for q, p in zip(label, verdict, strict=True)) for verdict in judged]
    return sum(losses) / len(losses)


def chosen_of(
    candidates: list[tuple[int, float, bool, float]], count: int, wrong_share: float | None
) -> list[int]:
    """Rows of candidates (row, mark, correct, score), one after the other; no share for uniform ones."""
    left = list(candidates)
    taken: list[int] = []
    while left and len(taken) < count:
        if wrong_share is None:
            best = min(left, key=lambda each: each[1])
        else:
            wrong = [each for each in left if not each[2]]
            wanted = int(wrong_share * count + 0.5)
            among = wrong if wrong and len(taken) < wanted else left
            best = max(among, key=lambda each: (each[3], -each[1]))
        taken.append(best[0])
        left.remove(best)
    return taken


def reduced_of(steps: list[list[float]]) -> dict[str, float]:
    """Scores of a solution from the probabilities of two or three classes of its steps."""
    scores = {}
    for behind, first in (("", 1), ("_neutral_wrong", 2)):
        if len(steps[0]) == 2 and behind:
            continue
        good = [sum(row[first:]) for row in steps]
        scores |= {
            f"product{behind}": math.prod(good),
            f"minimum{behind}": min(good),
            f"last{behind}": good[-1],
            f"mean{behind}": sum(good) / len(good),
        }
    return scores
