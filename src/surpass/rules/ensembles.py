"""Rules that harden or soften labels, or make one label of several supervisors' labels.

Shape suffixes: M supervisors, N examples, C candidates.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from surpass.errors import ConfigError
from surpass.rules.given import Given
from surpass.rules.padded import (
    Floats,
    Padded,
    cross_entropies,
    highest,
    one_hot,
    only,
    padded,
    padded_reference,
    whole_share,
)
from surpass.rules.rule import one_of, rule, share

_FLOOR = 1e-6
_TRUSTS = ("equal", "accuracy")


@rule()
def harden(given: Given) -> pa.Table:
    """Probability 1 on the likeliest candidate (the first of equals): greedy labels.

    Args:
        given: One table of labels.

    Source:
        Burns et al. 2023, appendix A.2 (chess: greedy completions).
    """
    weak = padded(given.labels)
    return weak.table(one_hot(weak.best_MN[0], weak.probs_MNC.shape[2]), weak.weight_N)


@rule()
def soften(given: Given, *, temperature: float = 2.0) -> pa.Table:
    """Probabilities to the power 1 / temperature, brought to sum to 1.

    Args:
        given: One table of labels.
        temperature: Above 1 flattens, below 1 sharpens.

    Raises:
        ConfigError: `temperature` is not above 0.

    Source:
        Hinton et al. 2015, "Distilling the knowledge in a neural network", section 2.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature}; use a number above 0 (1 changes nothing)")
    weak = padded(given.labels)
    relative_NC = weak.probs_MNC[0] / weak.probs_MNC[0].max(axis=1, keepdims=True)
    return weak.table(relative_NC ** (1 / temperature), weak.weight_N)


@rule(tables=(1, None))
def average(given: Given, *, trust: str = "equal") -> pa.Table:
    """The arithmetic mean of the supervisors' probabilities.

    Args:
        given: One table of each supervisor. With trust "accuracy", the reference is the truth and then each
            supervisor's labels, in the same order.
        trust: "equal", or "accuracy" for weights in proportion to accuracy on the reference.

    Raises:
        ConfigError: `trust` is unknown, or the reference does not fit.
        DataError: The reference is empty.

    Source:
        Lakshminarayanan et al. 2017, "Deep ensembles", section 2.4.
    """
    several = padded(given.labels)
    return several.table(np.einsum("m,mnc->nc", _trusts(given, trust, "average"), several.probs_MNC))


@rule(tables=(1, None))
def vote(given: Given, *, trust: str = "equal") -> pa.Table:
    """Each candidate's share of the supervisors whose likeliest candidate it is.

    Args:
        given: As for `average`.
        trust: As for `average`.

    Raises:
        ConfigError: `trust` is unknown, or the reference does not fit.
        DataError: The reference is empty.

    Source:
        Hansen and Salamon 1990, "Neural network ensembles" (plurality).
    """
    several = padded(given.labels)
    width = several.probs_MNC.shape[2]
    ballots_MNC = np.stack([one_hot(best_N, width) for best_N in several.best_MN])
    return several.table(np.einsum("m,mnc->nc", _trusts(given, trust, "vote"), ballots_MNC))


@rule(tables=(1, None))
def log_average(given: Given, *, trust: str = "equal") -> pa.Table:
    """The geometric mean of the supervisors' probabilities, brought to sum to 1.

    Probabilities below 1e-6 count as 1e-6, so no supervisor alone can exclude a candidate.

    Args:
        given: As for `average`.
        trust: As for `average`.

    Raises:
        ConfigError: `trust` is unknown, or the reference does not fit.
        DataError: The reference is empty.

    Source:
        Hinton 2002, "Training products of experts", section 1.
    """
    several = padded(given.labels)
    log_MNC = np.log(np.maximum(several.probs_MNC, _FLOOR))
    log_NC = np.einsum("m,mnc->nc", _trusts(given, trust, "log_average"), log_MNC)
    log_NC[~several.real_NC] = -np.inf
    return several.table(np.exp(log_NC - log_NC.max(axis=1, keepdims=True)))


@rule(tables=(2, None))
def bayesian(given: Given, *, prior: float = 1.0) -> pa.Table:
    """The supervisors' probabilities, weighted by what is known of their accuracy, and how far they agree.

    A supervisor with r right and w wrong of the reference has a Beta(prior + r, prior + w) posterior
    of accuracy; the label is the mean of the distributions with weights in proportion to the posterior
    means. A Dirichlet with that mean and the same total variance as the M distributions has the precision
    S = sum_c m_c (1 - m_c) / sum_c var_c - 1; the example's weight is S / (S + C), which is 1 where all
    agree and 0 where all are certain and contradict one another, then brought to a mean of 1.

    Args:
        given: One table of each supervisor; the reference is the truth and then each supervisor's labels, not
            those it learned from.
        prior: Pseudo-counts of either kind; large values make the weights equal.

    Raises:
        ConfigError: `prior` is not above 0, or the reference does not fit.

    Source:
        Cui et al. 2024, "Bayesian WeakS-to-Strong", in spirit. Differs: the published formula was not
        available to us. There the Dirichlet is learned (evidential); here it is moment-matched.
    """
    if not prior > 0:
        raise ConfigError(f"prior is {prior}; use a number above 0 (1 is uniform)")
    several = padded(given.labels)
    known = padded_reference(given, "bayesian", may_be_empty=True)
    accuracy_M = (prior + _hits(known)) / (2 * prior + len(known.ids))
    trust_M = accuracy_M / accuracy_M.sum()
    mean_NC = np.einsum("m,mnc->nc", trust_M, several.probs_MNC)
    spread_N = np.einsum("m,mnc->n", trust_M, (several.probs_MNC - mean_NC) ** 2)
    uncertain_N = (mean_NC * (1 - mean_NC)).sum(axis=1)
    # S / (S + C) with both sides times the spread, so that full agreement divides by no zero.
    evidence_N = np.maximum(uncertain_N - spread_N, 0.0)
    total_N = evidence_N + several.size_N * spread_N
    agree_N = np.divide(evidence_N, total_N, out=np.ones_like(total_N), where=total_N > 1e-12)
    return several._replace(weight_N=None).weighed(mean_NC, agree_N)


def _hits(known: Padded) -> Floats:
    """How often each supervisor is right on the reference, float64 (M)."""
    hits_M: Floats = (known.best_MN[1:] == known.best_MN[0]).sum(axis=1).astype(np.float64)
    return hits_M


def _trusts(given: Given, trust: str, name: str) -> Floats:
    """The weights of the supervisors, which sum to 1."""
    one_of("trust", trust, _TRUSTS)
    if trust == "equal":
        return np.full(len(given.labels), 1 / len(given.labels))
    hits_M = _hits(padded_reference(given, f"{name}(trust=accuracy)"))
    return hits_M / hits_M.sum() if hits_M.any() else np.full(len(hits_M), 1 / len(hits_M))


@rule(tables=(2, None))
def assign(given: Given, *, reject: float = 0.1) -> pa.Table:
    """The label of the specialist that the student agrees with most, without the least consistent examples.

    The E step of an expectation maximisation whose M step trains the student on the result.

    Args:
        given: The student's predictions, then one table of each specialist.
        reject: Share dropped, rounded down: those with the highest cross-entropy of the student towards
            its best specialist.

    Raises:
        ConfigError: `reject` is outside [0, 1].

    Source:
        Liu and Alahi 2024, "Co-supervised learning". Differs: agreement is cross-entropy, and of the two
        rejections (teacher-student, local-global) only the first is there.
    """
    keep = 1 - share("reject", reject)
    several = padded(given.labels)
    student_NC, specialists_KNC = several.probs_MNC[0], several.probs_MNC[1:]
    loss_KN = np.stack([cross_entropies(labels_NC, student_NC) for labels_NC in specialists_KNC])
    chosen_N = loss_KN.argmin(axis=0)
    rows_N = np.arange(len(chosen_N))
    table = several._replace(weight_N=None).table(specialists_KNC[chosen_N, rows_N])
    return only(table, highest(-loss_KN[chosen_N, rows_N], whole_share(keep, len(rows_N))))
