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
