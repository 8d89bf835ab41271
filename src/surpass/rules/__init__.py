"""Relabelling rules: from label tables to a label table. Methods are composed from them.

A rule may drop examples, change probabilities and add weights; it keeps the order of what it keeps. It
changes nothing that it was given, and the order of the examples does not matter to it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pyarrow as pa

from surpass.calls import find
from surpass.rules.boosting import adaboost_vote, adaboost_weights
from surpass.rules.choosing import fold, outside, small_loss, stitch, top_confident
from surpass.rules.confident import confident_learning
from surpass.rules.difficulty import band, easiest, easiest_for_models
from surpass.rules.ensembles import assign, average, bayesian, harden, log_average, soften, vote
from surpass.rules.given import Given
from surpass.rules.overlap import overlap_density
from surpass.rules.posterior import em_posterior
from surpass.rules.probes import knn, logistic, topological
from surpass.rules.reliability import calibrated, reliability
from surpass.rules.simulated import match, mix_truth, noise, simulate

__all__ = ["RULES", "Given", "find_rule"]

RULES: dict[str, Callable[..., pa.Table]] = {
    "adaboost_vote": adaboost_vote,
    "adaboost_weights": adaboost_weights,
    "assign": assign,
    "average": average,
    "band": band,
    "bayesian": bayesian,
    "calibrated": calibrated,
    "confident_learning": confident_learning,
    "easiest": easiest,
    "easiest_for_models": easiest_for_models,
    "em_posterior": em_posterior,
    "fold": fold,
    "harden": harden,
    "knn": knn,
    "log_average": log_average,
    "logistic": logistic,
    "match": match,
    "mix_truth": mix_truth,
    "noise": noise,
    "outside": outside,
    "overlap_density": overlap_density,
    "reliability": reliability,
    "simulate": simulate,
    "small_loss": small_loss,
    "soften": soften,
    "stitch": stitch,
    "top_confident": top_confident,
    "topological": topological,
    "vote": vote,
}


def find_rule(text: str) -> partial[pa.Table]:
    """The relabelling rule that a text names, with its settings bound.

    Raises:
        ConfigError: There is no such rule, or it has no such setting.
    """
    return find(text, RULES, "relabelling rule")
