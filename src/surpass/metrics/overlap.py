"""Whose mistakes a student repeats: agreement, errors passed on, and similarity beyond chance.

Shape suffixes: N examples, C candidates.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.errors import DataError
from surpass.metrics.checks import (
    Ints,
    Probs,
    column,
    mean_or_nan,
    pair_of,
    truth_of,
    whole_numbers,
    zero_one,
)

LEAST_DISAGREEMENT = 1e-12  # below it, agreement beyond chance is rounding


class AgreementSplit(NamedTuple):
    """Student-supervisor agreement as fractions; NaN where there is no such example."""

    overall: float
    when_right: float
    when_wrong: float


class ErrorTransfer(NamedTuple):
    """What became of the supervisor's answers, as fractions; NaN where there is no such example.

    Of the examples that the supervisor gets wrong, the student gives the same wrong answer (`inherited`),
    another wrong one (`changed`) or the truth (`corrected`): the three sum to 1. Of those that the
    supervisor gets right, the student gets `new` wrong.
    """

    inherited: float
    changed: float
    corrected: float
    new: float
    num_weak_wrong: int
    num_weak_right: int


class ErrorCorrelation(NamedTuple):
    """How far student and supervisor are right on the same examples: Pearson's phi and Cohen's kappa."""

    phi: float
    kappa: float


class Capa(NamedTuple):
    """Similarity corrected for chance, with the agreement observed and the agreement expected by chance."""

    kappa: float
    observed: float
    expected: float


def agreement(student_predictions_N: npt.ArrayLike, weak_predictions_N: npt.ArrayLike) -> float:
    """Return the fraction of examples on which student and weak supervisor predict the same.

    Raises:
        DataError: Nothing to compare, unequal lengths, or a NaN.

    Source:
        Burns et al. 2023, section 5.1.2.
    """
    student_N = column(student_predictions_N, "student predictions")
    return float(np.mean(student_N == column(weak_predictions_N, "weak predictions", len(student_N))))


def agreement_split(
    student_predictions_N: npt.ArrayLike, weak_predictions_N: npt.ArrayLike, weak_correct_N: npt.ArrayLike
) -> AgreementSplit:
    """Split agreement: overall, where the weak supervisor is right, and where it is wrong.

    Agreement with a wrong supervisor is imitation of its errors, which a good method avoids.

    Raises:
        DataError: Nothing to compare, unequal lengths, a NaN, or `weak_correct_N` not 0 or 1.

    Source:
        Burns et al. 2023, section 5.1.2.
    """
    overall = agreement(student_predictions_N, weak_predictions_N)
    same_N = np.equal(student_predictions_N, weak_predictions_N)
    right_N = zero_one(weak_correct_N, "weak correct", len(same_N))
    return AgreementSplit(overall, mean_or_nan(same_N[right_N]), mean_or_nan(same_N[~right_N]))


def error_transfer(
    student_predictions_N: npt.ArrayLike, weak_predictions_N: npt.ArrayLike, truth_N: npt.ArrayLike
) -> ErrorTransfer:
    """Follow the supervisor's errors into the student: inherited, changed, corrected; and new ones.

    `inherited` is agreement where the supervisor is wrong, and `new` is one minus agreement where it is
    right. With two candidates nothing can be `changed`, so `corrected` is one minus `inherited`.

    Raises:
        DataError: Nothing to compare, unequal lengths, or a NaN.
    """
    student_N = column(student_predictions_N, "student predictions")
    weak_N = column(weak_predictions_N, "weak predictions", len(student_N))
    truth_N = column(truth_N, "truth", len(student_N))
    student_right_N, weak_wrong_N = student_N == truth_N, weak_N != truth_N
    same_N = student_N == weak_N
    return ErrorTransfer(
        inherited=mean_or_nan(same_N[weak_wrong_N]),
        changed=mean_or_nan((~same_N & ~student_right_N)[weak_wrong_N]),
        corrected=mean_or_nan(student_right_N[weak_wrong_N]),
        new=mean_or_nan(~student_right_N[~weak_wrong_N]),
        num_weak_wrong=int(weak_wrong_N.sum()),
        num_weak_right=int((~weak_wrong_N).sum()),
    )


def error_correlation(student_correct_N: npt.ArrayLike, weak_correct_N: npt.ArrayLike) -> ErrorCorrelation:
    """Correlate being right or wrong, whatever the answers were; 0 for independent errors.

    phi can reach 1 only at equal accuracy. It is NaN where one model is always right or always wrong;
    kappa is NaN where both are always right or both always wrong.

    Raises:
        DataError: Nothing to compare, unequal lengths, or a value is not 0 or 1.

    Source:
        Cohen 1960; Geirhos et al. 2020, "Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and
        humans by measuring error consistency" (kappa of right and wrong).
    """
    student_N = zero_one(student_correct_N, "student correct")
    weak_N = zero_one(weak_correct_N, "weak correct", len(student_N))
    both, neither = int((student_N & weak_N).sum()), int((~student_N & ~weak_N).sum())
    student_only, weak_only = int((student_N & ~weak_N).sum()), int((~student_N & weak_N).sum())
    excess = both * neither - student_only * weak_only
    student_right, student_wrong = both + student_only, neither + weak_only
    weak_right, weak_wrong = both + weak_only, neither + student_only
    margins = student_right * student_wrong * weak_right * weak_wrong
    chance_apart = student_right * weak_wrong + student_wrong * weak_right
    return ErrorCorrelation(
        phi=excess / math.sqrt(margins) if margins else math.nan,
        kappa=2 * excess / chance_apart if chance_apart else math.nan,
    )


def capa(
    student_probs: Probs,
    weak_probs: Probs,
    truth_N: npt.ArrayLike,
    *,
    num_candidates_N: npt.ArrayLike | None = None,
) -> Capa:
    """Measure how alike two models are beyond what their accuracies explain (CAPA).

    kappa = (observed - expected) / (1 - expected). `observed` is the mean over examples of sum_c p_c q_c:
    the chance that both models, drawing their answers, draw the same. `expected` is that chance for two
    models of the same mean probabilities of the truth, a and b, whose errors are independent and spread
    evenly: a b + (1 - a)(1 - b) mean_n 1 / (C_n - 1).

    1 for models that are sure and always say the same, 0 for independent errors, negative for errors that
    avoid each other. Two equal models that are unsure stay below 1: their draws differ. One-hot rows give
    the discrete variant. NaN where `expected` is 1 (both always right; with two candidates also both
    always wrong). Examples with one candidate can tell nothing and are left out.

    Args:
        student_probs: Student, rows of candidates.
        weak_probs: Weak supervisor, the same candidates.
        truth_N: True candidate of each example.
        num_candidates_N: Number of candidates C_n where the rows are a padded array; without it all C count.

    Raises:
        DataError: As for `truth_probs`, or examples or candidates of the two differ in number, or
            probability lies behind an example's candidates.

    Source:
        Goel et al. 2025, "Great Models Think Alike and this Undermines AI Oversight" (arXiv 2502.04313).
        Written from the formula, which the authors' published code confirms. Differs: examples with one
        candidate, for which it has no value.
    """
    student_NC, weak_NC, counted_N = pair_of(student_probs, weak_probs)
    if num_candidates_N is not None:
        counted_N = _within(num_candidates_N, counted_N)
        behind_NC = np.arange(student_NC.shape[1]) >= counted_N[:, None]
        if student_NC[behind_NC].any() or weak_NC[behind_NC].any():
            raise DataError(
                "probability lies behind the last candidate of an example; check num_candidates_N"
            )
    truth_N = truth_of(truth_N, counted_N)
    kept_N = np.flatnonzero(counted_N > 1)
    if len(kept_N) == 0:
        return Capa(math.nan, math.nan, math.nan)
    observed = float((student_NC * weak_NC).sum(axis=1)[kept_N].mean())
    student_truth = float(student_NC[kept_N, truth_N[kept_N]].mean())
    weak_truth = float(weak_NC[kept_N, truth_N[kept_N]].mean())
    same_wrong = float((1 / (counted_N[kept_N] - 1)).mean())
    expected = student_truth * weak_truth + (1 - student_truth) * (1 - weak_truth) * same_wrong
    defined = 1 - expected > LEAST_DISAGREEMENT
    return Capa((observed - expected) / (1 - expected) if defined else math.nan, observed, expected)


def _within(num_candidates: npt.ArrayLike, width_N: Ints) -> Ints:
    num_candidates_N = whole_numbers(num_candidates, "num_candidates_N", len(width_N))
    if num_candidates_N.min() < 1 or (num_candidates_N > width_N).any():
        raise DataError(
            f"num_candidates_N is {num_candidates_N.min()} to {num_candidates_N.max()}; "
            f"rows have room for 1 to {width_N.max()}"
        )
    return num_candidates_N
