"""Rules of AdaBoost over weak supervisors: weights to train the next one with, and their weighted vote.

Shape suffixes: T learners, N examples, C candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from surpass.rules.given import Given
from surpass.rules.padded import Floats, Padded, one_hot, padded, padded_reference
from surpass.rules.rule import one_of, rule

_VOTES = ("soft", "hard")


class _Boosted(NamedTuple):
    """The say of each learner, float64 (T), and the weights of the examples after the last, summing to 1."""

    say_T: Floats
    weight_N: Floats


def _boosted(learners: Padded, multiclass: bool) -> _Boosted:
    """Run AdaBoost over predictions that are there already; the first table is the truth."""
    truth_N, num_rows = learners.best_MN[0], len(learners.ids)
    chance = float(np.mean(1 / learners.size_N))
    bonus = 0.5 * np.log(max(1 / chance - 1, 1.0)) if multiclass else 0.0
    weight_N = np.full(num_rows, 1 / num_rows)
    say = []
    for best_N in learners.best_MN[1:]:
        wrong_N = best_N != truth_N
        least = 1 / (2 * num_rows)
        error = min(max(float(weight_N[wrong_N].sum()), least), 1 - least)
        alpha = max(0.5 * np.log((1 - error) / error) + bonus, 0.0)
        weight_N = weight_N * np.exp(np.where(wrong_N, alpha, -alpha))
        weight_N = weight_N / weight_N.sum()
        say.append(alpha)
    return _Boosted(np.array(say), weight_N)


@rule(tables=(1, None))
def adaboost_weights(given: Given, *, multiclass: bool = False) -> pa.Table:
    """The truth, weighted for the next learner: more where the learners so far are wrong.

    Learner t has the weighted error e and the say alpha = ln((1 - e) / e) / 2; weights are multiplied by
    e^alpha where it is wrong and by e^-alpha where it is right. An error below half an example counts as
    half an example. A learner no better than chance has no say and changes no weight.

    Args:
        given: The truth of the supervisor's half, then the predictions there of learners 1 to t, in order.
        multiclass: Chance is a uniform guess among the candidates instead of one half: adds
            ln(K - 1) / 2 to alpha, with K the harmonic mean of the numbers of candidates.

    Source:
        Freund and Schapire 1997; multiclass: Zhu et al. 2009, "Multi-class AdaBoost" (SAMME). For weak
        supervision: Agrawal et al. 2024, "EnsemW2S".
    """
    learners = padded(given.labels)
    truth = learners._replace(weight_N=None)
    return truth.weighed(learners.probs_MNC[0], _boosted(learners, multiclass).weight_N)


@rule(tables=(1, None))
def adaboost_vote(given: Given, *, multiclass: bool = False, votes: str = "soft") -> pa.Table:
    """The vote of learners that were trained with `adaboost_weights`, each with its say.

    Args:
        given: Predictions of learners 1 to T, in order; the reference is the truth of the supervisor's
            half and then the learners' predictions there, in the same order.
        multiclass: As in `adaboost_weights`.
        votes: "soft" averages probabilities, "hard" counts likeliest candidates. Where no learner has a
            say, all have the same.

    Raises:
        ConfigError: `votes` is unknown, or the reference does not fit.
        DataError: The reference is empty.

    Source:
        As for `adaboost_weights`.
    """
    one_of("votes", votes, _VOTES)
    known = padded_reference(given, "adaboost_vote")
    say_T = _boosted(known, multiclass).say_T
    say_T = say_T / say_T.sum() if say_T.any() else np.full(len(say_T), 1 / len(say_T))
    learners = padded(given.labels)
    voices = learners.probs_MNC
    if votes == "hard":
        voices = np.stack([one_hot(best_N, voices.shape[2]) for best_N in learners.best_MN])
    return learners._replace(weight_N=None).table(np.einsum("t,tnc->nc", say_T, voices))
