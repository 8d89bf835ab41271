"""Rules that replace a supervisor's errors by errors of another kind, or by the truth.

All of them see the truth of the examples they label.

Shape suffixes: N examples, C candidates, E errors.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from surpass.errors import ConfigError
from surpass.rules.difficulty import lengths
from surpass.rules.given import Given
from surpass.rules.padded import Bools, Floats, Ints, Padded, highest, one_hot, padded, picked, whole_share
from surpass.rules.rule import draws, one_of, rule, share

_STRUCTURES = ("random", "longest", "shortest", "unconfident", "confident", "labels")
_KINDS = ("uniform", "class", "instance")
_PICKS = ("random", "errors")
_LEAST = 1e-6


def _other(truth_N: Ints, size_N: Ints, draw_N: Floats) -> Ints:
    """A wrong candidate, all equally likely; the only one where there is no other."""
    skipped_N = np.minimum((draw_N * (size_N - 1)).astype(np.int64), np.maximum(size_N - 2, 0))
    other_N: Ints = np.where(size_N > 1, skipped_N + (skipped_N >= truth_N), 0)
    return other_N


def _hard(tables: Padded, label_N: Ints) -> pa.Table:
    return tables._replace(weight_N=None).table(one_hot(label_N, tables.probs_MNC.shape[2]))


@rule(tables=(2, 3))
def simulate(given: Given, *, by: str = "random", seed: int = 0) -> pa.Table:
    """Hard labels with exactly as many errors as the supervisor's, on examples of another choice.

    * "random": any examples.
    * "longest", "shortest": those of extreme length (`choosing.lengths`), which features give away easily.
    * "unconfident": those whose truth the strong model thinks least likely, so the errors look natural to it.
    * "confident": those that the strong model is surest of and right about; if these are too few, then
      those it is wrong about, the likeliest truths first. Errors that go against what it knows.
    * "labels": the supervisor's own errors, for comparison.

    The wrong candidate is the strong model's likeliest one for "unconfident" and "confident" (the first
    of equals), and any other one with equal probability for "random", "longest" and "shortest". An
    example with one candidate cannot be wrong.

    Args:
        given: The truth; the weak labels; for "unconfident" and "confident" the labels of the strong
            model trained on truth. Inputs for "longest" and "shortest".
        by: Which examples become wrong.
        seed: Of which examples ("random", and among equals) and which wrong candidates.

    Raises:
        ConfigError: `by` is unknown, or what it needs is not there.

    Source:
        Burns et al. 2023, appendix E.2. Differs: which wrong label is not an issue there, with two classes.
    """
    one_of("by", by, _STRUCTURES)
    if by in ("unconfident", "confident") and len(given.labels) < 3:
        raise ConfigError(f"simulate(by={by}) takes a third label table: the strong model trained on truth")
    if by in ("longest", "shortest") and given.inputs is None:
        raise ConfigError(f"simulate(by={by}) needs the inputs of the examples; ask for them")
    tables = padded(given.labels)
    truth_N, weak_N = tables.best_MN[:2]
    if by == "labels":
        return _hard(tables, weak_N)
    score_N = np.zeros(len(truth_N))
    wrong_N = _other(truth_N, tables.size_N, draws(tables.ids, seed=seed, purpose="wrong"))
    if given.inputs is not None and by in ("longest", "shortest"):
        score_N = lengths(given.inputs) * (1 if by == "longest" else -1)
    elif by != "random":
        strong_NC = tables.probs_MNC[2]
        belief_N = picked(strong_NC, truth_N)
        score_N = (tables.best_MN[2] == truth_N) + belief_N if by == "confident" else -belief_N
        wrong_N = np.where(
            tables.real_NC & (one_hot(truth_N, strong_NC.shape[1]) == 0), strong_NC, -1
        ).argmax(1)
    chosen_N = _chosen(tables, score_N, int((weak_N != truth_N).sum()), seed)
    return _hard(tables, np.where(chosen_N, wrong_N, truth_N))


def _chosen(tables: Padded, score_N: Floats, count: int, seed: int) -> Bools:
    """Examples of the highest scores that can be wrong, equal ones at random by id."""
    able_N = np.flatnonzero(tables.size_N > 1)
    chance_N = draws([tables.ids[row] for row in able_N], seed=seed, purpose="errors")
    chosen_N = np.zeros(len(tables.ids), np.bool_)
    chosen_N[able_N[np.lexsort((chance_N, -score_N[able_N]))[:count]]] = True
    return chosen_N


@rule(tables=(2, 2))
def noise(given: Given, *, kind: str = "uniform", seed: int = 0) -> pa.Table:
    """Hard labels with synthetic noise, exactly as accurate as the supervisor's.

    * "uniform": any examples, any wrong candidate.
    * "class": of each true class as many become each other class as in the weak labels (fixed classes only).
    * "instance": an example becomes wrong with a probability in proportion to 1 - its weak confidence, at
      most 1, scaled to the number of errors; the wrong candidate is drawn by the weak probabilities.

    An example with one candidate cannot be wrong.

    Args:
        given: The truth; the weak labels.
        kind: As above.
        seed: Of all that is random.

    Raises:
        ConfigError: `kind` is unknown, or "class" without fixed classes.

    Source:
        Burns et al. 2023, appendix E (random flips); Patrini et al. 2017 (class-conditional noise); Xia
        et al. 2020 (instance-dependent noise), whose flip rates come from random projections instead.
    """
    one_of("kind", kind, _KINDS)
    if kind == "class" and given.num_classes is None:
        raise ConfigError("noise(kind=class) needs fixed classes; use uniform or instance for this task")
    tables = padded(given.labels)
    truth_N, weak_N = tables.best_MN
    count = int((weak_N != truth_N).sum())
    draw_N = draws(tables.ids, seed=seed, purpose="wrong")
    if kind == "class":
        return _hard(tables, _like_confusion(tables, draws(tables.ids, seed=seed, purpose="errors")))
    if kind == "uniform":
        chosen_N = _chosen(tables, np.zeros(len(truth_N)), count, seed)
        return _hard(tables, np.where(chosen_N, _other(truth_N, tables.size_N, draw_N), truth_N))
    doubt_N = np.where(tables.size_N > 1, np.maximum(1 - tables.probs_MNC[1].max(axis=1), _LEAST), 0.0)
    chosen_N = _systematic(_inclusion(doubt_N, count), tables.ids, seed)
    wrong_NC = np.where(tables.real_NC, np.maximum(tables.probs_MNC[1], _LEAST), 0.0)
    wrong_NC[np.arange(len(truth_N)), truth_N] = 0.0
    reached_NC = np.cumsum(wrong_NC, axis=1)
    drawn_N = (reached_NC <= (draw_N * reached_NC[:, -1])[:, None]).sum(axis=1)
    return _hard(tables, np.where(chosen_N, np.minimum(drawn_N, tables.size_N - 1), truth_N))


def _like_confusion(tables: Padded, chance_N: Floats) -> Ints:
    """The truth with the errors of each kind dealt out anew among the examples of a class."""
    truth_N, weak_N = tables.best_MN
    label_N: Ints = truth_N.copy()
    for label in np.unique(truth_N):
        rows_M = np.flatnonzero(truth_N == label)
        errors_E = np.sort(weak_N[rows_M][weak_N[rows_M] != label])
        shuffled_M = rows_M[np.argsort(chance_N[rows_M], kind="stable")]
        label_N[shuffled_M[: len(errors_E)]] = errors_E
    return label_N


def _inclusion(doubt_N: Floats, count: int) -> Floats:
    """Probabilities in proportion to the doubts, at most 1, that sum to `count`."""
    prob_N = np.zeros(len(doubt_N))
    free_N = doubt_N > 0
    while free_N.any():
        prob_N[free_N] = doubt_N[free_N] * ((count - (~free_N & (prob_N > 0)).sum()) / doubt_N[free_N].sum())
        over_N = free_N & (prob_N > 1)
        if not over_N.any():
            break
        prob_N[over_N] = 1.0
        free_N &= ~over_N
    return prob_N


def _systematic(prob_N: Floats, ids: list[str], seed: int) -> Bools:
    """Draw as many examples as the probabilities sum to, each with its own, in a random order of ids."""
    order_N = np.argsort(draws(ids, seed=seed, purpose="errors"), kind="stable")
    reached_N = np.concatenate([[0.0], np.cumsum(prob_N[order_N])])
    steps_N = np.floor(reached_N - draws([""], seed=seed, purpose="first error"))
    chosen_N = np.zeros(len(prob_N), np.bool_)
    chosen_N[order_N] = np.diff(steps_N) > 0
    return chosen_N


@rule(tables=(3, 3))
def match(given: Given, *, seed: int = 0) -> pa.Table:
    """A model's hard labels, brought to the supervisor's number of errors.

    Right labels of random examples become wrong (any wrong candidate), or wrong ones right: a supervisor
    whose errors are those that this model makes, and otherwise noise.

    Args:
        given: The truth; the weak labels; the model's labels.
        seed: Of which examples and which wrong candidates.

    Source:
        Burns et al. 2023, appendix E.1 (perfectly simulatable errors, mixed with noise). Differs: exact
        numbers.
    """
    tables = padded(given.labels)
    truth_N, weak_N, model_N = tables.best_MN
    missing = int((weak_N != truth_N).sum()) - int((model_N != truth_N).sum())
    right_N = model_N == truth_N
    if missing < 0:
        chosen_N = _chosen(tables, (~right_N).astype(np.float64), -missing, seed)
        return _hard(tables, np.where(chosen_N, truth_N, model_N))
    chosen_N = _chosen(tables, right_N.astype(np.float64), missing, seed)
    wrong_N = _other(truth_N, tables.size_N, draws(tables.ids, seed=seed, purpose="wrong"))
    return _hard(tables, np.where(chosen_N, wrong_N, model_N))


@rule(tables=(2, 2))
def mix_truth(given: Given, *, frac: float = 0.1, pick: str = "random", seed: int = 0) -> pa.Table:
    """Weak labels, a share of them replaced by the truth.

    Args:
        given: The weak labels; the truth.
        frac: Share replaced, rounded up.
        pick: "random" examples, or "errors": those whose weak label is wrong first, which only an oracle
            knows.
        seed: Of which examples, and among equals.

    Raises:
        ConfigError: `frac` is outside [0, 1], or `pick` is unknown.

    Source:
        Public replications of Burns et al. 2023 that mix in a share of ground truth, at random and by oracle.
    """
    share("frac", frac)
    one_of("pick", pick, _PICKS)
    tables = padded(given.labels)
    chance_N = draws(tables.ids, seed=seed, purpose="truth")
    first_N = (tables.best_MN[0] != tables.best_MN[1]) if pick == "errors" else np.zeros(len(chance_N))
    replaced_N = highest(first_N - chance_N, whole_share(frac, len(chance_N)))
    weak_NC, truth_NC = tables.probs_MNC
    return tables.table(np.where(replaced_N[:, None], truth_NC, weak_NC), tables.weight_N)
