"""Overlap density: examples that are easy for the supervisor and look like its hard ones.

Shape suffixes: N examples, D features, E examples that are not hard, H hard examples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.rules.given import Given
from surpass.rules.padded import Bools, Floats, highest, margins, only, padded, whole_share
from surpass.rules.rule import FEATURES, rule, share

_AT_ONCE = 1024


@rule(needs=[FEATURES])
def overlap_density(given: Given, *, keep: float = 0.5) -> pa.Table:
    """The examples from which a student can learn the supervisor's hard cases.

    Confidence is the lead of the likeliest candidate over the second (|2 p - 1| of two). The one change point
    of the sorted confidences, by least squares, parts hard examples from the others; of these, the
    largest absolute cosine between their features and those of a hard example is the overlap, and its
    change point parts overlap points from easy ones.

    All overlap points are kept. If they are fewer than `keep`, easy examples follow by overlap (reliable
    labels), then hard ones by confidence.

    Args:
        given: One table of weak labels, and features.
        keep: Least share kept, rounded up.

    Raises:
        ConfigError: `keep` is outside [0, 1].

    Source:
        Shin et al. 2024, "Weak-to-strong generalization through the data-centric lens". Differs: there
        the points' density chooses among sources of data; the order in which the share is filled up is
        ours.
    """
    share("keep", keep)
    assert given.features_ND is not None
    confidence_N = margins(padded(given.labels).probs_MNC[0])
    hard_N = ~_upper_part(confidence_N)
    score_N = confidence_N - 2.0  # Hard ones rank behind all others, whose scores are cosines.
    num_overlap = 0
    if hard_N.any():
        overlap_E = _largest_cosine(given.features_ND[~hard_N], given.features_ND[hard_N])
        score_N[~hard_N] = overlap_E
        num_overlap = int(_upper_part(overlap_E).sum()) if _parts(overlap_E) else 0
    return only(given.labels[0], highest(score_N, max(num_overlap, whole_share(keep, len(score_N)))))


def _parts(value_N: Floats) -> bool:
    return len(value_N) > 0 and bool(value_N.min() < value_N.max())


def _upper_part(value_N: Floats) -> Bools:
    """Which values lie above the change point of the sorted values; all where they are equal.

    The change point makes the squared distances from the means of the two parts least, and equal
    values stay together.
    """
    if not _parts(value_N):
        return np.ones(len(value_N), np.bool_)
    ordered_N = np.sort(value_N)
    low_N = np.arange(1, len(ordered_N))
    total_N = np.cumsum(ordered_N - ordered_N.mean())
    # The squared distance that two means explain, of values whose overall mean is 0.
    gain_N = total_N[:-1] ** 2 / low_N + total_N[:-1] ** 2 / (len(ordered_N) - low_N)
    gain_N[ordered_N[1:] == ordered_N[:-1]] = -1.0
    upper: Bools = value_N >= ordered_N[int(gain_N.argmax()) + 1]
    return upper


def _largest_cosine(easy_ED: npt.NDArray[np.float32], hard_HD: npt.NDArray[np.float32]) -> Floats:
    """The largest absolute cosine of each row with any of the other rows, float64 (E,); 0 of a zero row."""
    easy_ED, hard_HD = (
        rows_ND / np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-12)
        for rows_ND in (easy_ED, hard_HD)
    )
    parts = [
        np.abs(easy_ED[start : start + _AT_ONCE] @ hard_HD.T).max(axis=1)
        for start in range(0, len(easy_ED), _AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float64)
