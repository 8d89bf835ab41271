"""The posterior of the truth, given a weak label and what a strong model believed before.

Shape suffixes: N examples, C candidates, B bins.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from surpass.errors import ConfigError
from surpass.rules.given import Given
from surpass.rules.padded import Bools, Floats, Ints, padded, picked
from surpass.rules.rule import at_least, one_of, rule

_CHANNELS = ("accuracy", "confusion")


@rule(tables=(2, 2))
def em_posterior(given: Given, *, rounds: int = 2, bins: int = 10, channel: str = "accuracy") -> pa.Table:
    """Posterior of the truth: how weak labels come about, times a strong model's prior.

    The channel P(weak label | truth, bin) is estimated for each bin of the weak confidence. With channel
    "accuracy" the weak label is right with probability a and any wrong candidate is equally likely.
    Starting from the prior, each round estimates a as (1 + sum of posteriors of the weak labels) /
    (2 + number) for each bin, and then the posteriors, in proportion to channel times prior.

    Args:
        given: Weak labels (their likeliest candidate and its probability count), and the prior: a strong
            model's probabilities, zero-shot or out of sample.
        rounds: Number of rounds, at least 1.
        bins: Bins of equal numbers of examples; equal confidences share a bin.
        channel: "accuracy", or "confusion" for a full table of each bin, shrunk towards the accuracy
            channel by as many pseudo-examples of each class as there are classes (fixed classes only).

    Raises:
        ConfigError: A setting is out of range, or "confusion" without fixed classes.

    Source:
        Dawid and Skene 1979; as a method for weak supervision "EM posterior" in the report of Anthropic's
        automated weak-to-strong research, 2026, of which the exact features were not available to us.
    """
    at_least("rounds", rounds, 1)
    at_least("bins", bins, 1)
    one_of("channel", channel, _CHANNELS)
    if channel == "confusion" and given.num_classes is None:
        raise ConfigError("channel=confusion needs fixed classes; use channel=accuracy, the default")
    both = padded(given.labels)
    prior_NC, weak_N = both.probs_MNC[1], both.best_MN[0]
    bin_N = _bins(picked(both.probs_MNC[0], weak_N), bins)
    posterior_NC = prior_NC
    for _ in range(rounds):
        count_B = np.bincount(bin_N)
        hits_B = np.bincount(bin_N, picked(posterior_NC, weak_N))
        accuracy_B = (hits_B + 1) / (count_B + 2)
        channel_NC = _accuracy_channel(accuracy_B[bin_N], weak_N, both.size_N, both.real_NC)
        if channel == "confusion":
            channel_NC = _confusion_channel(posterior_NC, weak_N, bin_N, accuracy_B)
        joint_NC = channel_NC * prior_NC
        posterior_NC = joint_NC / joint_NC.sum(axis=1, keepdims=True)
    return both.table(posterior_NC, both.weight_N)


def _bins(confidence_N: Floats, bins: int) -> Ints:
    """The bin of each example: how many of the inner edges, which are confidences, it reaches."""
    places_B = np.arange(1, bins) * len(confidence_N) // bins
    return np.searchsorted(np.sort(confidence_N)[places_B], confidence_N, side="right").astype(np.int64)


def _accuracy_channel(accuracy_N: Floats, weak_N: Ints, size_N: Ints, real_NC: Bools) -> Floats:
    """P(weak label | each candidate true): a where it is the weak label, else an equal part of 1 - a."""
    wrong_N = (1 - accuracy_N) / np.maximum(size_N - 1, 1)
    channel_NC = np.where(real_NC, wrong_N[:, None], 0.0)
    channel_NC[np.arange(len(weak_N)), weak_N] = accuracy_N
    return channel_NC


def _confusion_channel(posterior_NC: Floats, weak_N: Ints, bin_N: Ints, accuracy_B: Floats) -> Floats:
    """The same from a table truth by weak label of each bin."""
    num_classes = posterior_NC.shape[1]
    channel_NC = np.empty_like(posterior_NC)
    for place, accuracy in enumerate(accuracy_B.tolist()):
        rows_M = np.flatnonzero(bin_N == place)
        expected_CC = np.full((num_classes, num_classes), (1 - accuracy) / max(num_classes - 1, 1))
        np.fill_diagonal(expected_CC, accuracy)
        counts_CC = np.zeros((num_classes, num_classes))
        np.add.at(counts_CC.T, weak_N[rows_M], posterior_NC[rows_M])
        table_CC = counts_CC + num_classes * expected_CC
        table_CC /= table_CC.sum(axis=1, keepdims=True)
        channel_NC[rows_M] = table_CC[:, weak_N[rows_M]].T
    return channel_NC
