"""Judges of steps that choose the best of n solutions, in a finished study with `best_of`.

Each judge scores all steps of all solutions of the same problems; a solution is worth the product of
P(correct) over its steps. A problem with more than n solutions counts with the mean over all subsets of n.

Source: Lightman et al. 2023, section 3.

Shape suffixes: K steps, S solutions, P problems.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from surpass import labels as lb
from surpass.reasoning.best_of_n import best_of_n
from surpass.reasoning.reductions import correctness, solution_scores
from surpass.store.artifact import Artifact

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def best_of(count: int) -> str:
    """What the metric is called."""
    return f"best of {count}"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Solutions among which judges choose.

    Attributes:
        ids: Of the steps; those of a solution, and solutions of a problem, are a stretch.
        num_classes: 2 or 3.
        lengths_S: How many steps each solution has.
        correct_S: Whether its final answer is right.
        counts_S: How often it is there; each counts.
        problem_S: The number of its problem, from 0.
        count: n.
    """

    ids: tuple[str, ...]
    num_classes: int
    lengths_S: Ints
    correct_S: npt.NDArray[np.bool_]
    counts_S: Ints
    problem_S: Ints
    count: int

    @classmethod
    def read(cls, examples: Artifact, count: int) -> Pool:
        """That of an artifact of examples with the mix of best-of-n."""
        columns = ["id", "solution", "step", "problem", "candidates"]
        table = pq.read_table(examples.file("inputs.parquet"), columns=columns)
        truth = pq.read_table(examples.file("truth.parquet"), columns=["correct", "count"])
        (starts_S,) = np.nonzero(table["step"].to_numpy() == 0)
        keys = [" ".join(text.split()) for text in table["problem"].to_pylist()]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return cls(
            ids=tuple(table["id"].to_pylist()),
            num_classes=len(table["candidates"][0]),
            lengths_S=np.diff(starts_S, append=len(keys)).astype(np.int64),
            correct_S=truth["correct"].to_numpy()[starts_S].astype(np.bool_),
            counts_S=truth["count"].to_numpy()[starts_S].astype(np.int64),
            problem_S=np.array([numbers[keys[start]] for start in starts_S.tolist()], np.int64),
            count=count,
        )

    @property
    def num_problems(self) -> int:
        """P."""
        return int(self.problem_S.max()) + 1

    def values(self, labels: Artifact) -> Floats:
        """The share of draws of n solutions whose best one by some labels is right, of each problem, (P,)."""
        table = pq.read_table(labels.file("labels.parquet"))
        probs_KC = np.stack(lb.rows(lb.join(list(self.ids), [self.num_classes] * len(self.ids), table)))
        probs_KC = probs_KC.astype(np.float64)
        probs_KC /= probs_KC.sum(axis=1, keepdims=True)
        scores_S = solution_scores(correctness(probs_KC), self.lengths_S)
        return self.chosen(scores_S)

    def chosen(self, scores_S: Floats) -> Floats:
        """The same by scores of solutions."""
        values = []
        for number in range(self.num_problems):
            (own,) = np.nonzero(self.problem_S == number)
            own = np.repeat(own, self.counts_S[own])
            values.append(best_of_n(scores_S[None, own], self.correct_S[None, own], [self.count])[0, 0])
        return np.array(values)
