"""Methods side by side: each over all pairs of models, against naive fine-tuning.

Shape suffixes: S seeds, N test examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from surpass.errors import DataError
from surpass.rows import Key, Row, Summary, correct_of
from surpass.stats import PgrAggregate, aggregate_pgr
from surpass.stats.comparison import MethodComparison, compare_methods
from surpass.stats.paired import adjusted

BASELINE = "naive"

Correct = Mapping[str, npt.NDArray[Any]]
Rows = Mapping[Key, Sequence[Row]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rank:
    """One method over all pairs for which it has results.

    `pgr` is the median over pairs, with what is undefined left out and counted; `comparison` is with naive
    fine-tuning on the same pairs, seeds and test examples, its p value corrected for the number of
    methods (Holm); None for naive itself, and where nothing can be compared.
    """

    method: str
    labels: str
    oracle: bool
    num_pairs: int
    pgr: PgrAggregate
    comparison: MethodComparison | None


def ranking(summaries: Sequence[Summary], rows: Rows, correct: Correct) -> list[Rank]:
    """Rank methods, in the order of the summaries.

    Args:
        summaries: PGR per task, pair and method.
        rows: The rows of each, sorted by seed.
        correct: From score id to correctness, (N,).

    Raises:
        DataError: Scores of one test set differ in length.
    """
    groups: dict[tuple[str, str, bool], list[Summary]] = {}
    for summary in summaries:
        key = summary.key
        groups.setdefault((key.method, key.labels, key.oracle), []).append(summary)
    ranks = [
        Rank(
            method=method,
            labels=labels,
            oracle=oracle,
            num_pairs=len(group),
            pgr=aggregate_pgr([summary.estimate for summary in group]),
            comparison=_against_naive(group, rows, correct),
        )
        for (method, labels, oracle), group in groups.items()
    ]
    compared = [rank.comparison.p_value for rank in ranks if rank.comparison is not None]
    corrected = iter(adjusted(compared, "holm"))
    return [
        rank
        if rank.comparison is None
        else replace(rank, comparison=replace(rank.comparison, adjusted_p=next(corrected), correction="holm"))
        for rank in ranks
    ]


def _against_naive(group: Sequence[Summary], rows: Rows, correct: Correct) -> MethodComparison | None:
    """The method on those of its pairs where naive fine-tuning has the same seeds and test examples.

    Of these pairs, on the seeds that all have.
    """
    method = group[0].key.method
    pairs: list[tuple[Sequence[Row], Sequence[Row]]] = []
    tests: list[tuple[str, str]] = []
    # Sorted, as sums over pairs in another order could differ in the last digit.
    for summary in sorted(group, key=lambda summary: astuple(summary.key)):
        ours = rows[summary.key]
        theirs = rows.get(replace(summary.key, method=BASELINE, oracle=False), ())
        same = [(row.seed, row.test_id) for row in ours] == [(row.seed, row.test_id) for row in theirs]
        test_ids = {(row.task, row.test_id) for row in ours}
        if method != BASELINE and same and len(test_ids) == 1:
            pairs.append((ours, theirs))
            tests += test_ids
    shared = len(set(tests)) == 1
    seeds = set.intersection(*({row.seed for row in ours} for ours, _ in pairs)) if pairs else set()
    # Pairs of which some share their test examples are neither design; none is better than too narrow.
    if not seeds or not (shared or len(set(tests)) == len(tests)):
        return None

    def bits(chosen: Sequence[Row]) -> npt.NDArray[Any]:
        return np.stack([correct_of(row.student_score_id, correct) for row in chosen if row.seed in seeds])

    arrays = {method: [bits(ours) for ours, _ in pairs], BASELINE: [bits(theirs) for _, theirs in pairs]}
    lengths = {array.shape[1] for array in arrays[method]}
    if shared and len(lengths) > 1:
        raise DataError(
            f"{method}: scores of {sorted(lengths)} examples on one test set; "
            "give each test set a test_id of its own"
        )
    (comparison,) = compare_methods(
        arrays,
        baseline=BASELINE,
        correction="none",
        examples="shared" if shared else "separate",
    )
    return comparison
