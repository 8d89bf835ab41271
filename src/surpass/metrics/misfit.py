"""Misfit against gain: how far the student departs from its labels, and how much better it gets by that.

Theory: let the student be the member of a convex class that is closest to the supervisor, and the truth a
member too. Then the student is closer to the truth than the supervisor by at least its distance to the
supervisor: gain >= misfit. This is the Pythagorean inequality of projections, and the distance may be any
Bregman divergence whose first argument is the student. So one can predict the gain without any truth.

Observed numbers need not obey: real classes are not convex, training stops early or fits other examples,
the truth may be out of reach, and ordinary cross-entropy minimises KL(weak || student), whose first
argument is the supervisor. `excess` below 0 says that some assumption does not hold.

Sources: Charikar, Pabbaraju and Shiragur 2024, "Quantifying the gain in weak-to-strong generalization"
(arXiv 2405.15116), squared loss; Mulgund and Pabbaraju 2025, "Relating misfit to gain in weak-to-strong
generalization beyond the squared loss" (arXiv 2501.19105), Bregman divergences. Written from the inequality.

Shape suffixes: N examples, C candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.metrics.checks import Floats, Probs, pair_of, truth_of


class Misfit(NamedTuple):
    """Distance of student and supervisor (the gain predicted), the gain observed, and gain - misfit."""

    misfit: float
    gain: float
    excess: float


def squared_misfit(student_probs: Probs, weak_probs: Probs, truth_N: npt.ArrayLike) -> Misfit:
    """Compare in squared loss: misfit is the mean of |student - weak|^2, gain what the Brier score fell by.

    Misfit is in [0, 2], gain in [-2, 2].

    Raises:
        DataError: As for `truth_probs`, or examples or candidates of the two differ in number.

    Source:
        Charikar et al. 2024. Differs: their outputs are real numbers, ours are distributions.
    """
    student_NC, weak_NC, num_candidates_N = pair_of(student_probs, weak_probs)
    truth_NC = np.zeros_like(student_NC)
    truth_NC[np.arange(len(truth_NC)), truth_of(truth_N, num_candidates_N)] = 1
    misfit = float(((student_NC - weak_NC) ** 2).sum(axis=1).mean())
    error_N = ((weak_NC - truth_NC) ** 2).sum(axis=1) - ((student_NC - truth_NC) ** 2).sum(axis=1)
    gain = float(error_N.mean())
    return Misfit(misfit, gain, gain - misfit)


def kl_misfit(student_probs: Probs, weak_probs: Probs, truth_N: npt.ArrayLike) -> Misfit:
    """Compare in log loss, nats: misfit is the mean KL(student || weak), gain what the log loss fell by.

    No clipping: misfit is infinite where the supervisor excludes (probability 0, as in hard labels) what
    the student does not. Gain is infinite where one excludes the truth, and NaN where both do.

    Raises:
        DataError: As for `truth_probs`, or examples or candidates of the two differ in number.

    Source:
        Mulgund and Pabbaraju 2025, for KL, the Bregman divergence of negative entropy.
    """
    student_NC, weak_NC, num_candidates_N = pair_of(student_probs, weak_probs)
    truth_N = truth_of(truth_N, num_candidates_N)
    rows_N = np.arange(len(truth_N))
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = float(np.mean(np.log(student_NC[rows_N, truth_N]) - np.log(weak_NC[rows_N, truth_N])))
    misfit = float(_kl(student_NC, weak_NC).mean())
    return Misfit(misfit, gain, gain - misfit)


def kl_divergence(student_probs: Probs, weak_probs: Probs) -> float:
    """Return the mean KL(student || weak), nats, at least 0; exchange the arguments for the other direction.

    Infinite where the second excludes what the first does not.

    Raises:
        DataError: As for `predictions`, or examples or candidates of the two differ in number.
    """
    pair = pair_of(student_probs, weak_probs)
    return float(_kl(pair.student_NC, pair.weak_NC).mean())


def _kl(left_NC: Floats, right_NC: Floats) -> Floats:
    """KL of each row, with 0 log 0 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms_NC = left_NC * (np.log(left_NC) - np.log(right_NC))
    kl_N: Floats = np.where(left_NC > 0, terms_NC, 0.0).sum(axis=1)
    return kl_N
