"""Slow twins of learning and writing completions, and tiny tasks of prompts and completions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from reference.language import save_tiny, word_tokenizer

LIMIT = 5
"""Tokens that completions have at most in these tests, the end token included."""


def ending_tokenizer(*, bos: bool = False) -> Any:
    """The tokenizer of words, which knows where a text ends."""
    tokenizer = word_tokenizer(bos=bos)
    tokenizer.eos_token = "w59"
    return tokenizer


def save_writer(folder: Path, kind: str, **changes: Any) -> Path:
    """A tiny model with random weights whose tokenizer has an end token; returns its folder."""
    return save_tiny(folder, kind, tokenizer=ending_tokenizer(bos=kind == "llama"), **changes)


def prompts_of(prompts: list[str], *, limit: int = LIMIT, **columns: list[Any]) -> pa.Table:
    ids = [f"p{number}" for number in range(len(prompts))]
    limits = pa.array([limit] * len(prompts), pa.int32())
    return pa.table({"id": ids, "prompt": prompts, "max_new_tokens": limits} | columns)


def copying(num: int, *, seed: int = 0) -> tuple[list[str], list[str]]:
    """Prompts of one to six words, completed with their last word, and with a second if it is below w5."""
    rng = np.random.default_rng(seed)
    rows = [[f"w{n}" for n in rng.integers(0, 10, rng.integers(1, 7))] for _ in range(num)]
    prompts = [f"{' '.join(row)} :" for row in rows]
    return prompts, [f" {row[-1]}" + (" w20" if int(row[-1][1:]) < 5 else "") for row in rows]


def write_copying(path: Path, num: int, *, seed: int = 0) -> Path:
    """The same as a file of JSON lines, with ids."""
    pairs = zip(*copying(num, seed=seed), strict=True)
    rows = [
        {"id": f"c{number}", "prompt": f"w{10 + number % 40} {prompt}", "completion": completion}
        for number, (prompt, completion) in enumerate(pairs)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def log_likelihood(causal: Any, prompt: list[int], completion: list[int]) -> float:
    """The log-probability of a completion behind its prompt, token by token, each from a pass of its own."""
    total = 0.0
    for place, wanted in enumerate(completion):
        with torch.no_grad():
            row = (
                causal(input_ids=torch.tensor([prompt + completion[:place]])).logits[0, -1].double().tolist()
            )
        top = max(row)
        total += row[wanted] - top - math.log(sum(math.exp(value - top) for value in row))
    return total


def greedy(causal: Any, prompt: list[int], *, end: int, limit: int) -> list[int]:
    """The greedy completion of one prompt, computed anew for every token."""
    said: list[int] = []
    while len(said) < limit:
        with torch.no_grad():
            row = causal(input_ids=torch.tensor([prompt + said])).logits[0, -1].tolist()
        token = row.index(max(row))
        if token == end:
            break
        said.append(token)
    return said


def mean_loss_gradient(
    causal: Any, rows: list[tuple[list[int], list[int]]], weights: list[float]
) -> tuple[float, list[torch.Tensor]]:
    """The weighted mean over examples of minus the log-likelihood, and its gradient, example by example."""
    causal.zero_grad()
    total = 0.0
    for (prompt, completion), weight in zip(rows, weights, strict=True):
        logits_TV = causal(input_ids=torch.tensor([prompt + completion])).logits[0]
        loss = torch.zeros(())
        for place, wanted in enumerate(completion):
            log_probs_V = torch.log_softmax(logits_TV[len(prompt) + place - 1], dim=0)
            loss = loss - weight * log_probs_V[wanted] / len(rows)
        loss.backward()
        total += float(loss.detach())
    return total, [value.grad.clone() for value in causal.parameters() if value.grad is not None]
