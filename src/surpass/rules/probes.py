"""Rules that hold weak labels against a probe on the frozen features of a strong model.

Shape suffixes: N examples, D features, C classes, K neighbours, P examples of a pool, R rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.errors import DataError
from surpass.rules.given import Given
from surpass.rules.linear import fit_predict
from surpass.rules.padded import Bools, Floats, Ints, Padded, highest, only, padded, whole_share
from surpass.rules.rule import CLASSES, FEATURES, at_least, one_of, optional, rule, share

_AT_ONCE = 256
_USES = ("filter", "relabel", "predict")


def _checked(given: Given, use: str, drop: float, sure: float) -> Padded:
    one_of("use", use, _USES)
    share("drop", drop)
    share("sure", sure)
    weak = padded(given.labels)
    if (weak.size_N != given.num_classes).any():
        raise DataError(
            f"every example must have {given.num_classes} candidates here; they have {weak.size_N}"
        )
    return weak


def _used(given: Given, weak: Padded, probe_NC: Floats, use: str, drop: float, sure: float) -> pa.Table:
    """What the probe's opinion is used for."""
    weak_NC = weak.probs_MNC[0]
    if use == "predict":
        return weak.table(probe_NC, weak.weight_N)
    if use == "relabel":
        differs_N = (probe_NC.argmax(axis=1) != weak.best_MN[0]) & (probe_NC.max(axis=1) >= sure)
        return weak.table(np.where(differs_N[:, None], probe_NC, weak_NC), weak.weight_N)
    distance_N = np.abs(probe_NC - weak_NC).sum(axis=1) / 2
    return only(given.labels[0], highest(-distance_N, whole_share(1 - drop, len(distance_N))))


def _nearest(features_ND: npt.NDArray[np.float32], pool_P: Ints, k: int) -> tuple[Ints, Bools]:
    """The k nearest others of each example among a pool, by Euclidean distance; of equals the first.

    Returns:
        Their rows, int64 (N, K), in any order, and which of them count, bool (N, K): an example is no
        neighbour of itself, so where the pool holds no more than k examples one entry may not count.
    """
    count = min(k, len(pool_P))
    centred_ND = features_ND - features_ND.mean(axis=0)
    square_P = (centred_ND[pool_P] ** 2).sum(axis=1)
    pool_DP = np.ascontiguousarray(-2 * centred_ND[pool_P].T)
    own_N = np.full(len(features_ND), -1)
    own_N[pool_P] = np.arange(len(pool_P))
    found_NK = np.empty((len(features_ND), count), np.int64)
    counts_NK = np.empty((len(features_ND), count), np.bool_)
    for start in range(0, len(features_ND), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        # The squared distance but for the example's own square, which is the same for all.
        far_RP = centred_ND[rows] @ pool_DP
        far_RP += square_P
        inside_R = np.flatnonzero(own_N[rows] >= 0)
        far_RP[inside_R, own_N[rows][inside_R]] = np.inf
        near_RK = _smallest(far_RP, count)
        found_NK[rows] = pool_P[near_RK]
        counts_NK[rows] = np.isfinite(np.take_along_axis(far_RP, near_RK, axis=1))
    return found_NK, counts_NK


def _smallest(value_RP: npt.NDArray[np.float32], count: int) -> Ints:
    """The columns of the smallest values of each row, int64 (R, count); of equal ones the first."""
    last_R1 = np.partition(value_RP, count - 1, axis=1)[:, count - 1 : count]
    inside_RP = value_RP <= last_R1
    for row in np.flatnonzero(inside_RP.sum(axis=1) > count):
        equal_E = np.flatnonzero(value_RP[row] == last_R1[row])
        below = int((value_RP[row] < last_R1[row]).sum())
        inside_RP[row, equal_E[count - below :]] = False
    return np.nonzero(inside_RP)[1].reshape(len(value_RP), count)


def _mean_label(label_NC: Floats, found_NK: Ints, counts_NK: Bools) -> Floats:
    """The mean label of each example's neighbours; its own where it has none."""
    sum_NC = np.zeros_like(label_NC)
    for found_N, counts_N in zip(found_NK.T, counts_NK.T, strict=True):
        sum_NC += np.where(counts_N[:, None], label_NC[found_N], 0.0)
    count_N1 = counts_NK.sum(axis=1, keepdims=True)
    return np.where(count_N1 > 0, sum_NC / np.maximum(count_N1, 1), label_NC)


@rule(needs=[FEATURES, CLASSES])
def knn(given: Given, *, k: int = 50, use: str = "filter", drop: float = 0.1, sure: float = 0.8) -> pa.Table:
    """Weak labels held against the mean label of the k nearest other examples.

    Args:
        given: One table of weak labels, and features.
        k: Number of neighbours, by Euclidean distance; fewer where there are fewer others.
        use: "filter" drops the examples with the greatest distance between label and probe (half
            the sum of absolute differences). "relabel" takes the probe's probabilities where its
            likeliest class is another one and it is sure. "predict" takes them everywhere.
        drop: Share dropped by "filter", rounded down.
        sure: The least probability of the likeliest class at which the probe counts as sure.

    Raises:
        ConfigError: A setting is out of range.
        DataError: An example has another number of candidates than there are classes.

    Source:
        EleutherAI 2024, "Experiments in weak-to-strong generalization" (k 50, drop 0.1). Differs: an
        example is no neighbour of itself; "relabel" asks for a sure probe.
    """
    at_least("k", k, 1)
    weak = _checked(given, use, drop, sure)
    assert given.features_ND is not None
    near = _nearest(given.features_ND, np.arange(len(weak.ids)), k)
    return _used(given, weak, _mean_label(weak.probs_MNC[0], *near), use, drop, sure)


@rule(needs=[FEATURES, CLASSES])
def logistic(
    given: Given,
    *,
    l2: float = 1e-3,
    folds: int = 5,
    use: str = "filter",
    drop: float = 0.1,
    sure: float = 0.8,
) -> pa.Table:
    """Weak labels held against a logistic regression on features, cross-fitted.

    The examples are dealt out to folds of equal size (but for one); each fold is predicted by a
    regression fitted on the others towards their weak probabilities. A single example keeps its label.

    Args:
        given: One table of weak labels, and features.
        l2: Penalty on squared weights, as in `linear.fit_predict`.
        folds: Number of folds, at least 2.
        use: As for `knn`.
        drop: As for `knn`.
        sure: As for `knn`.

    Raises:
        ConfigError: A setting is out of range, or scipy is not installed.
        DataError: An example has another number of candidates than there are classes.

    Source:
        EleutherAI 2024, "Experiments in weak-to-strong generalization" (l2 1e-3 in its code). Differs:
        cross-fitted, on features of mean 0 and deviation 1.
    """
    at_least("l2", l2, 0)
    at_least("folds", folds, 2)
    weak = _checked(given, use, drop, sure)
    assert given.features_ND is not None
    probe_NC = weak.probs_MNC[0].copy()
    fold_N = np.arange(len(weak.ids)) % folds
    for fold in range(min(folds, len(fold_N)) if len(fold_N) > 1 else 0):
        own_N = fold_N == fold
        probe_NC[own_N] = fit_predict(
            given.features_ND[~own_N], weak.probs_MNC[0][~own_N], given.features_ND[own_N], l2=l2
        )
    return _used(given, weak, probe_NC, use, drop, sure)


@rule(needs=[FEATURES, CLASSES])
def topological(
    given: Given, *, k: int = 50, use: str = "filter", drop: float = 0.1, sure: float = 0.8
) -> pa.Table:
    """Weak labels held against the connected heart of each class.

    Each example points to its k nearest others. Within each class (likeliest weak label) only the largest
    strongly connected component counts; the probe is the mean label of the k nearest others within these.

    Args:
        given: One table of weak labels, and features.
        k: Number of neighbours in either step.
        use: "filter" drops the examples outside the components and then, as long as fewer than `drop` of
            all are gone, those furthest from the probe. Others as for `knn`.
        drop: As for `knn`; the components may cost more than this.
        sure: As for `knn`.

    Raises:
        ConfigError: A setting is out of range, or scipy is not installed.
        DataError: An example has another number of candidates than there are classes.

    Source:
        Wu et al. 2020, "A topological filter for learning with label noise", as in the code of
        EleutherAI 2024 (`drop` in place of a threshold zeta).
    """
    at_least("k", k, 1)
    weak = _checked(given, use, drop, sure)
    assert given.features_ND is not None
    everyone = np.arange(len(weak.ids))
    heart_N = _hearts(weak.best_MN[0], *_nearest(given.features_ND, everyone, k))
    near = _nearest(given.features_ND, everyone[heart_N], k)
    probe_NC = _mean_label(weak.probs_MNC[0], *near)
    if use != "filter":
        return _used(given, weak, probe_NC, use, drop, sure)
    distance_N = np.abs(probe_NC - weak.probs_MNC[0]).sum(axis=1) / 2
    distance_N[~heart_N] = np.inf
    keep = min(whole_share(1 - drop, len(distance_N)), int(heart_N.sum()))
    return only(given.labels[0], highest(-distance_N, keep))


def _hearts(label_N: Ints, found_NK: Ints, counts_NK: Bools) -> Bools:
    """Which examples are in the largest strongly connected component of their label."""
    sparse = optional("scipy.sparse")
    same_NK = counts_NK & (label_N[found_NK] == label_N[:, None])
    start_E = np.broadcast_to(np.arange(len(label_N))[:, None], same_NK.shape)[same_NK]
    edges = (np.ones(len(start_E), np.bool_), (start_E, found_NK[same_NK]))
    graph = sparse.coo_matrix(edges, shape=(len(label_N), len(label_N)))
    _, part_N = optional("scipy.sparse.csgraph").connected_components(graph, connection="strong")
    size_N = np.bincount(part_N)[part_N]
    inside_N = np.zeros(len(label_N), np.bool_)
    for label in np.unique(label_N):
        rows_M = np.flatnonzero(label_N == label)
        heart = part_N[rows_M[size_N[rows_M].argmax()]]
        inside_N |= part_N == heart
    return inside_N
