"""Rules that judge how far a weak label can be relied on.

Shape suffixes: M variants, N examples, C candidates.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from surpass.errors import ConfigError
from surpass.rules.given import Given
from surpass.rules.linear import fit_predict
from surpass.rules.padded import (
    entropies,
    one_hot,
    only,
    padded,
    padded_reference,
    picked,
    whole_share,
)
from surpass.rules.rule import at_least, one_of, rule, share

_USES = ("filter", "weight")


@rule(tables=(2, None))
def reliability(
    given: Given, *, use: str = "filter", keep: float = 0.5, temperature: float = 0.2
) -> pa.Table:
    """Labels that a supervisor gives again when it is asked in other ways.

    The label is the mean of the variants. f_a is the share of variants whose likeliest candidate is a.
    Unreliability is the entropy of f; of equal ones the entropy of the mean decides.

    Args:
        given: Two or more tables of the same supervisor's labels, such as one for each wording of the prompt.
        use: "filter" keeps the most reliable examples. "weight" keeps all, with weight
            e^(f_a / temperature) / sum_b e^(f_b / temperature) over the answers b that were given,
            a being the mean's likeliest candidate; brought to a mean of 1.
        keep: Share kept by "filter", rounded up.
        temperature: For "weight".

    Raises:
        ConfigError: A setting is out of range.

    Source:
        Guo and Yang 2024, "Improving weak-to-strong generalization with reliability-aware alignment", and its
        code (median entropy; temperature 0.2). Differs: there every variant is an example of its own.
    """
    one_of("use", use, _USES)
    share("keep", keep)
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature}; use a number above 0 (0.2 is published)")
    several = padded(given.labels)._replace(weight_N=None)
    mean_NC = several.probs_MNC.mean(axis=0)
    width = several.probs_MNC.shape[2]
    votes_NC = np.mean([one_hot(best_N, width) for best_N in several.best_MN], axis=0)
    if use == "filter":
        order = np.lexsort((entropies(mean_NC), np.round(entropies(votes_NC), 9)))
        keep_N = np.zeros(len(order), np.bool_)
        keep_N[order[: whole_share(keep, len(order))]] = True
        return only(several.table(mean_NC), keep_N)
    best_N = mean_NC.argmax(axis=1)
    answers_NC = (votes_NC > 0) | (one_hot(best_N, width) > 0)
    force_NC = np.where(answers_NC, np.exp((votes_NC - 1) / temperature), 0.0)
    return several.weighed(mean_NC, picked(force_NC, best_N) / force_NC.sum(axis=1))


@rule()
def calibrated(given: Given, *, l2: float = 1e-3) -> pa.Table:
    """Weak labels, weighted by how likely they are right given their confidence.

    A logistic regression with one input, the probability of the likeliest candidate (brought to mean 0 and
    deviation 1 on the reference), learns on the reference whether that candidate is right. Weights
    are its probabilities, brought to a mean of 1.

    Args:
        given: One table of weak labels; the reference is the truth and then the supervisor's labels on
            examples that it did not learn from.
        l2: Penalty on the squared slope, added to the mean cross-entropy in nats.

    Raises:
        ConfigError: `l2` is negative, or the reference is not two tables.
        DataError: The reference is empty.

    Source:
        Platt 1999, "Probabilistic outputs for support vector machines"; as example weights in public
        replications of Burns et al. 2023.
    """
    at_least("l2", l2, 0)
    known = padded_reference(given, "calibrated")
    right_R = (known.best_MN[0] == known.best_MN[1]).astype(np.float64)
    weak = padded(given.labels)
    confidence_R, confidence_N = known.probs_MNC[1].max(axis=1), weak.probs_MNC[0].max(axis=1)
    target_RC = np.stack([1 - right_R, right_R], axis=1)
    probs_NC = fit_predict(confidence_R[:, None], target_RC, confidence_N[:, None], l2=l2)
    return weak.weighed(weak.probs_MNC[0], probs_NC[:, 1])
