"""Judges of steps in a finished study: steps judged rightly, first errors found, best of n, and PGR on each.

Steps of a solution and solutions of a problem are judged rightly or wrongly together, so intervals are over
problems and seeds. Read from a finished study and its store; nothing is computed that takes a model.

Shape suffixes: K steps, S solutions, P problems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from surpass import labels as lb
from surpass.analyses.finding import found
from surpass.analyses.step_pool import Pool, best_of
from surpass.errors import DataError
from surpass.grouping import grouped
from surpass.models.sources import resolve
from surpass.reasoning.first_error import THRESHOLD, best_threshold, predicted_first_errors
from surpass.reasoning.reductions import correctness
from surpass.reasoning.solutions import NO_ERROR
from surpass.rows import JudgeScores
from surpass.stages import Label, Score
from surpass.stats.values import harmonic_values, share_values, value_pgr
from surpass.store import Store
from surpass.store.artifact import Artifact
from surpass.study import RowStages, Study

ACCURACY, BALANCED, FIRST_ERROR = "step accuracy", "balanced step accuracy", "first-error F1"
TUNED = f"{FIRST_ERROR}, threshold of validation"
ROLES = ("weak", "student", "ceiling")
_WRONG = 0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class StepValues(NamedTuple):
    """One metric of one method on one pair, as values of problems, (S, P), of each of `ROLES`."""

    weak_model: str
    strong_model: str
    method: str
    oracle: bool
    metric: str
    values: Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True)
class JudgedSteps:
    """The steps of a test, as a judge's labels are held against them.

    Attributes:
        ids: Of the steps.
        truth_K: The class of each.
        num_classes: 2 or 3.
        problem_K: The number of its problem, from 0.
        solution_K: The number of its solution, from 0; those of one are a stretch.
        first_error_S: The first wrong step of each solution, -1 where none is; None where some solutions
            lack steps that could tell.
        num_problems: P.
    """

    ids: tuple[str, ...]
    truth_K: Ints
    num_classes: int
    problem_K: Ints
    solution_K: Ints
    first_error_S: Ints | None
    num_problems: int

    @classmethod
    def read(cls, examples: Artifact) -> JudgedSteps:
        """Those of an artifact of examples, or of steps.

        Raises:
            DataError: The rows of a solution are not side by side.
        """
        columns = ["id", "solution", "step", "num_steps", "problem", "candidates"]
        table = pq.read_table(examples.file("inputs.parquet"), columns=columns)
        truth_K = pq.read_table(examples.file("truth.parquet"))["truth"].to_numpy().astype(np.int64)
        names = table["solution"].to_pylist()
        begins_K = np.array([name != before for name, before in zip(names, [None, *names], strict=False)])
        if int(begins_K.sum()) != len(set(names)):
            raise DataError("rows of a solution are not side by side; put them in the order of the solution")
        solution_K = np.cumsum(begins_K) - 1
        keys = [" ".join(text.split()) for text in table["problem"].to_pylist()]
        problem_K = np.unique(keys, return_inverse=True)[1].astype(np.int64)
        step_K, num_K = (table[name].to_numpy().astype(np.int64) for name in ("step", "num_steps"))
        return cls(
            ids=tuple(table["id"].to_pylist()),
            truth_K=truth_K,
            num_classes=len(table["candidates"][0]),
            problem_K=problem_K,
            solution_K=solution_K,
            first_error_S=_first_errors(truth_K, step_K, num_K, begins_K),
            num_problems=int(problem_K.max()) + 1,
        )

    @property
    def lengths_S(self) -> Ints:
        """How many steps of each solution are judged."""
        return np.bincount(self.solution_K)

    def probs_K(self, labels: Artifact) -> tuple[Ints, Floats]:
        """The most probable class of each step by some labels, and P(correct), neutral steps as correct."""
        table = pq.read_table(labels.file("labels.parquet"))
        joined = lb.join(list(self.ids), [self.num_classes] * len(self.ids), table)
        probs_KC = np.stack(lb.rows(joined)).astype(np.float64)
        probs_KC /= probs_KC.sum(axis=1, keepdims=True)
        return probs_KC.argmax(axis=1), correctness(probs_KC)

    def values(self, labels: Artifact, *, threshold: float = THRESHOLD) -> dict[str, Floats]:
        """By metric, the values of problems (`stats.values`) that some labels have, each (P,).

        First errors are there only where all steps up to each were judged: the steps behind it make no
        difference to them.

        Args:
            labels: With a label for each step.
            threshold: A step is called wrong where P(correct) is below it.
        """
        said_K, correct_K = self.probs_K(labels)
        hit_K = (said_K == self.truth_K).astype(np.float64)
        found = {ACCURACY: share_values(self._sums(hit_K), self._sums(np.ones(len(hit_K))))}
        classes = [self.truth_K == own for own in range(self.num_classes)]
        if all(own_K.any() for own_K in classes):
            of_class = [share_values(self._sums(hit_K * own_K), self._sums(own_K)) for own_K in classes]
            found[BALANCED] = np.mean(of_class, axis=0)
        if self.first_error_S is not None:
            predicted_S = predicted_first_errors(correct_K, self.lengths_S, threshold=threshold)
            found |= self._first_error_values(predicted_S)
        return found

    def _first_error_values(self, predicted_S: Ints) -> dict[str, Floats]:
        assert self.first_error_S is not None
        has_error_S = self.first_error_S != NO_ERROR
        if has_error_S.all() or not has_error_S.any():
            return {}
        hit_S = predicted_S == self.first_error_S
        problem_S = self.problem_K[np.unique(self.solution_K, return_index=True)[1]]
        shares = [
            share_values(
                np.bincount(problem_S, hit_S & own_S, self.num_problems),
                np.bincount(problem_S, own_S, self.num_problems),
            )
            for own_S in (has_error_S, ~has_error_S)
        ]
        return {FIRST_ERROR: harmonic_values(*shares)}

    def _sums(self, value_K: npt.NDArray[np.generic]) -> Floats:
        sums: Floats = np.bincount(self.problem_K, value_K, self.num_problems).astype(np.float64)
        return sums


def _first_errors(truth_K: Ints, step_K: Ints, num_K: Ints, begins_K: npt.NDArray[np.bool_]) -> Ints | None:
    starts = np.flatnonzero(begins_K)
    lengths = np.diff(starts, append=len(truth_K))
    place_K = np.arange(len(truth_K)) - np.repeat(starts, lengths)
    none = len(truth_K)
    first_S = np.minimum.reduceat(np.where(truth_K == _WRONG, place_K, none), starts)
    if (place_K != step_K).any() or ((first_S == none) & (lengths < num_K[starts])).any():
        return None
    return np.where(first_S == none, NO_ERROR, first_S)


def step_values(study: Study, store: Store, *, tuned: bool = False) -> list[StepValues]:
    """Of each pair, method and metric; none where the task is not about steps.

    Args:
        study: A finished one.
        store: Where its artifacts are.
        tuned: Whether a step counts as wrong below the threshold that gives the judge, each by itself, the
            best F1 on validation examples, in place of 0.5. What `validation_labels` names has to be there,
            and of the metrics only F1 is given: the others know no threshold.

    Raises:
        StoreError: The study is not finished, or labels of validation examples are not there.
        DataError: With `tuned`, validation examples have no F1.
    """
    if not getattr(study.task, "reads_steps", False):
        return []
    steps = JudgedSteps.read(found(study.test_examples, store))
    pool = None if tuned or study.pool is None else Pool.read(found(study.pool, store), study.best_of)
    on_validation = validation_labels(study) if tuned else {}
    known: dict[str, Mapping[str, Floats]] = {}

    def values(score: Score) -> Mapping[str, Floats]:
        if score.id not in known:
            labels = found(score.labels, store)
            if tuned:
                threshold = _best_threshold(on_validation[score.id], store)
                every = steps.values(labels, threshold=threshold)
                known[score.id] = {TUNED: every[FIRST_ERROR]} if FIRST_ERROR in every else {}
            else:
                known[score.id] = steps.values(labels)
        return known[score.id]

    entries = []
    for rows in grouped(study.rows(), lambda row: (row.pair, row.method)).values():
        for metric in values(rows[0].student_score):
            of_roles = {role: _of_role(rows, role, metric, values) for role in ROLES}
            entries.append(_entry(rows, metric, of_roles))
        if pool is not None:
            of_judge = [[pool.values(found(labels, store)) for labels in row.pooled] for row in rows]
            chosen = {
                role: np.stack(each) for role, each in zip(ROLES, zip(*of_judge, strict=True), strict=True)
            }
            entries.append(_entry(rows, best_of(pool.count), chosen))
    return entries


def _entry(rows: Sequence[RowStages], metric: str, values: Mapping[str, Floats]) -> StepValues:
    weak, strong = (resolve(model).short_name for model in rows[0].pair)
    return StepValues(weak, strong, rows[0].method, rows[0].oracle, metric, values)


def by_step(study: Study, store: Store, *, tuned: bool = False) -> list[JudgeScores]:
    """PGR and its interval of what `step_values` gives; arguments and errors as there."""
    return [
        JudgeScores(*entry[:-1], estimate=value_pgr(*(entry.values[role] for role in ROLES)))
        for entry in step_values(study, store, tuned=tuned)
    ]


def validation_labels(study: Study) -> dict[str, Label]:
    """The labels of validation examples by each judge of a study, by the id of its score.

    They are no part of the study: run them with `experiment.run_stage` before `by_step(..., tuned=True)`.
    """
    validation = study.setting(study.pairs[0], study.seeds[0]).validation
    scores = {
        score.id: score
        for row in study.rows()
        for score in (row.weak_score, row.student_score, row.ceiling_score)
    }
    return {name: cast(Label, score.labels.on(validation)) for name, score in scores.items()}


def _best_threshold(labels: Label, store: Store) -> float:
    steps = JudgedSteps.read(found(labels.examples, store))
    if steps.first_error_S is None:
        raise DataError("validation examples lack steps, so that first errors are not known; use mix all")
    return best_threshold(steps.probs_K(found(labels, store))[1], steps.lengths_S, steps.first_error_S)


def _of_role(
    rows: Sequence[RowStages], role: str, metric: str, values: Callable[[Score], Mapping[str, Floats]]
) -> Floats:
    return np.stack([values(getattr(row, f"{role}_score"))[metric] for row in rows])


def guessing_f1(steps: JudgedSteps) -> float:
    """The best F1 to expect of a judge that calls each step wrong with one probability, whatever it says.

    The probability is chosen with the answers in view, so that nobody who reads nothing does better.

    Raises:
        DataError: First errors are not known, or all solutions have one, or none has.
    """
    if steps.first_error_S is None or len(set(steps.first_error_S == NO_ERROR)) < 2:
        raise DataError("F1 needs all steps of solutions of both kinds, with an error and without")
    has_error_S = steps.first_error_S != NO_ERROR
    share = np.linspace(0, 1, 1001)[1:-1, None]
    on_wrong = (share * (1 - share) ** steps.first_error_S[has_error_S]).mean(axis=1)
    on_right = ((1 - share) ** steps.lengths_S[~has_error_S]).mean(axis=1)
    return float((2 * on_wrong * on_right / (on_wrong + on_right)).max())
