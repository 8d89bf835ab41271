"""Confident learning: label errors from the predictions of a model that did not learn from the labels.

Shape suffixes: N examples, C classes.
"""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa

from surpass.errors import DataError
from surpass.rules.given import Given
from surpass.rules.padded import only, padded
from surpass.rules.rule import CLASSES, one_of, optional, rule

_USES = ("filter", "weight")


@rule(tables=(2, 2), needs=[CLASSES])
def confident_learning(given: Given, *, use: str = "filter") -> pa.Table:
    """Weak labels without those that confident learning takes for errors, or weighted by their quality.

    Threshold t_j is the mean predicted probability of j over the examples labelled j. The confident joint
    counts examples labelled i whose likeliest class with p_j >= t_j is j. As many examples as it
    has off its diagonal are errors, those with the largest p_j - p_i, if j is also their likeliest class.

    Args:
        given: Weak labels (their likeliest class counts), and a model's predictions of the same examples,
            out of sample: by a student that did not learn from these labels (see `stitch`).
        use: "filter" drops the errors; "weight" keeps all, weighted by the predicted probability of the weak
            label, brought to a mean of 1.

    Raises:
        ConfigError: cleanlab is not installed, or `use` is unknown.
        DataError: An example has another number of candidates than there are classes.

    Source:
        Northcutt et al. 2021, "Confident learning" (prune by noise rate), through cleanlab.
    """
    one_of("use", use, _USES)
    cleaning, ranking = optional("cleanlab.filter"), optional("cleanlab.rank")
    both = padded(given.labels)
    if (both.size_N != given.num_classes).any():
        raise DataError(
            f"every example must have {given.num_classes} candidates here; they have {both.size_N}"
        )
    weak_N, probs_NC = both.best_MN[0], both.probs_MNC[1]
    if use == "weight":
        return both.weighed(both.probs_MNC[0], ranking.get_label_quality_scores(weak_N, probs_NC))
    if len(np.unique(weak_N)) < 2:
        return given.labels[0]
    with warnings.catch_warnings():
        # Said of a class with a single example, which is kept.
        warnings.filterwarnings("ignore", message="May not flag all label issues")
        wrong_N = cleaning.find_label_issues(weak_N, probs_NC, filter_by="prune_by_noise_rate", n_jobs=1)
    return only(given.labels[0], ~np.asarray(wrong_N, np.bool_))
