"""What `Retrain` runs: a new last layer, by logistic regression on balanced groups.

States are brought to mean 0 and deviation 1 (scikit-learn's `StandardScaler`, over all held-out examples).
Half of each group is for fitting and half for judging: for each strength of the penalty one balanced subset
of the first half is fitted, and the strength with the highest accuracy in the worst group of the second is
taken, the weakest penalty of equals. With it, balanced subsets of all held-out examples are fitted, and their
weights and intercepts averaged. A balanced subset holds as many examples of each group as there are in the
smallest. The scaling is folded into the head that is written.

Regressions have an L1 penalty (liblinear, in which the intercept is penalised too). With more than
two classes there is one for each class against all others. A class of which no example is held out is given
no chance. Of pairs of texts the difference of states is what is learned from, scaled alone and without
intercept, so that weights are those of a reward.

Source: Kirichenko et al. 2022, "Last layer re-training is sufficient for robustness to spurious
correlations" (strengths, penalty, 20 subsets). Differs: scaling is learned on the held-out examples alone;
halves hold half of every group; draws are by the ids of examples.

Shape suffixes: N examples, S examples of a subset, D features, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from surpass import labels as lb
from surpass.clock import spent
from surpass.errors import DataError, MissingExtraError
from surpass.hashing import unit
from surpass.train.features import read_states
from surpass.train.run import Inputs, read_labels

if TYPE_CHECKING:
    from surpass.stages import Context
    from surpass.stages.retraining import Retrain

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
"""Inverse strengths of the penalty, the weakest first."""

ATTRIBUTE = "attribute"
NO_CHANCE = -1e4
"""Logit of a class of which no example is held out."""

_TOLERANCE, _STEPS = 1e-6, 10_000


class Held(NamedTuple):
    """Held-out examples.

    Attributes:
        ids: Of the examples.
        states_ND: Standardised; of pairs, the first less the second, scaled.
        label_N: The class of each.
        group_N: The group of each, by any number.
        pairs: Whether they are pairs.
    """

    ids: Sequence[str]
    states_ND: Floats
    label_N: Ints
    group_N: Ints
    pairs: bool = False

    def some(self, rows: Ints) -> Held:
        """Those of some rows."""
        ids = [self.ids[row] for row in rows.tolist()]
        return Held(ids, self.states_ND[rows], self.label_N[rows], self.group_N[rows], self.pairs)


class Head(NamedTuple):
    """A linear head: logits are states @ weight.T + bias."""

    weight_CD: Floats
    bias_C: Floats

    def worst_group(self, held: Held) -> float:
        """The accuracy in the worst of the groups that these examples have; NaN for no examples."""
        if not held.ids:
            return float("nan")
        right_N = (held.states_ND @ self.weight_CD.T + self.bias_C).argmax(axis=1) == held.label_N
        return min(float(right_N[held.group_N == group].mean()) for group in np.unique(held.group_N))


def run_retrain(stage: Retrain, context: Context) -> dict[str, Any]:
    """Fit the head of a stage on the states of its examples."""
    scaling = _scikit("preprocessing").StandardScaler
    artifact = context.find(stage.examples)
    with spent("data"):
        inputs = Inputs.read(artifact)
        labels = read_labels(stage, artifact, inputs, context)
    if not labels.num_rows:
        raise DataError(f"no example of {stage.examples.label} has a label to retrain by; label some of them")
    inputs = inputs.having(labels)
    with spent("data"):
        states = read_states(context, stage.features, inputs.ids).double()
    pairs = states.ndim == 3
    states_ND = (states[:, 0] - states[:, 1] if pairs else states).numpy()
    scaler = scaling(with_mean=not pairs)
    scaled_ND: Floats = scaler.fit_transform(states_ND)
    label_N = np.array([int(probs.argmax()) for probs in lb.rows(labels)], np.int64)
    group_N, counts = _groups(label_N, inputs.table)
    held = Held(inputs.ids, scaled_ND, label_N, group_N, pairs)
    num_classes = max(inputs.num_candidates or [0])
    worst = tune(held, num_classes=num_classes, seed=stage.seed)
    strength = best_of(worst)
    head = averaged(
        held, strength=strength, num_subsets=stage.num_subsets, num_classes=num_classes, seed=stage.seed
    )
    weight_CD = head.weight_CD / scaler.scale_
    if pairs:
        written = {"head.weight": weight_CD[:1] - weight_CD[1:]}
    else:
        written = {"head.weight": weight_CD, "head.bias": head.bias_C - weight_CD @ scaler.mean_}
    save_file(
        {name: torch.from_numpy(values).float() for name, values in written.items()},
        context.out / "model.safetensors",
    )
    tuning = pa.table({"strength": list(worst), "worst_group": list(worst.values())})
    pq.write_table(tuning, context.out / "tuning.parquet")
    context.report(1.0)
    return {
        "num_examples": len(label_N),
        "groups": counts,
        "strength": strength,
        "num_features": int(weight_CD.shape[1]),
        "num_used": int((head.weight_CD != 0).any(axis=0).sum()),
    }


def _groups(label_N: Ints, inputs: pa.Table) -> tuple[Ints, dict[str, int]]:
    """The group of each example, and how many each has, by its name."""
    if ATTRIBUTE not in inputs.column_names:
        names = [f"class {label}" for label in label_N.tolist()]
    else:
        attributes = inputs[ATTRIBUTE].to_pylist()
        if None in attributes:
            missing = inputs["id"].to_pylist()[attributes.index(None)]
            raise DataError(f"{missing!r} has no {ATTRIBUTE}; every held-out example needs one")
        pairs = zip(label_N.tolist(), attributes, strict=True)
        names = [f"class {label}, {ATTRIBUTE} {attribute}" for label, attribute in pairs]
    found, group_N, counts = np.unique(names, return_inverse=True, return_counts=True)
    return group_N.astype(np.int64), dict(zip(found.tolist(), counts.tolist(), strict=True))


def tune(held: Held, *, num_classes: int, seed: int) -> dict[float, float]:
    """The accuracy in the worst group for each strength; NaN where no group has two examples."""
    first, second = halves(held, seed=seed)
    fitted, judging = held.some(first), held.some(second)
    subset = fitted.some(balanced(fitted, number=-1, seed=seed))
    return {
        strength: fit(subset, strength=strength, num_classes=num_classes).worst_group(judging)
        for strength in STRENGTHS
    }


def best_of(worst: dict[float, float]) -> float:
    """The first strength with the highest accuracy."""
    return max(worst, key=lambda strength: (worst[strength], strength))


def averaged(held: Held, *, strength: float, num_subsets: int, num_classes: int, seed: int) -> Head:
    """The mean of the heads of balanced subsets."""
    heads = [
        fit(held.some(balanced(held, number=number, seed=seed)), strength=strength, num_classes=num_classes)
        for number in range(num_subsets)
    ]
    return Head(
        np.mean([head.weight_CD for head in heads], axis=0), np.mean([head.bias_C for head in heads], axis=0)
    )


def halves(held: Held, *, seed: int) -> tuple[Ints, Ints]:
    """Rows of the first half of every group, with the odd one, and those of the second."""
    parts = [_shuffled(held, group, f"half/{seed}") for group in np.unique(held.group_N).tolist()]
    cut = [(len(rows) + 1) // 2 for rows in parts]
    first = np.concatenate([rows[:count] for rows, count in zip(parts, cut, strict=True)])
    second = np.concatenate([rows[count:] for rows, count in zip(parts, cut, strict=True)])
    return np.sort(first), np.sort(second)


def balanced(held: Held, *, number: int, seed: int) -> Ints:
    """Rows of a subset with as many of each group as the smallest has; another number is another subset."""
    parts = [_shuffled(held, group, f"{number}/{seed}") for group in np.unique(held.group_N).tolist()]
    least = min(len(rows) for rows in parts)
    return np.sort(np.concatenate([rows[:least] for rows in parts]))


def _shuffled(held: Held, group: int, draw: str) -> Ints:
    """The rows of a group in an order that their ids decide."""
    (rows,) = np.nonzero(held.group_N == group)
    keys = [unit(held.ids[row], seed=group, purpose=f"retrain/{draw}") for row in rows.tolist()]
    shuffled: Ints = rows[np.argsort(keys, kind="stable")]
    return shuffled


def fit(held: Held, *, strength: float, num_classes: int) -> Head:
    """The head of one subset: of two classes one regression, of more one for each against the others."""
    width = held.states_ND.shape[1]
    head = Head(np.zeros((num_classes, width)), np.full(num_classes, NO_CHANCE))
    present = np.unique(held.label_N).tolist()
    if len(present) == 1:
        head.bias_C[:] = 0 if held.pairs else NO_CHANCE
        head.bias_C[present] = 0
    elif len(present) == 2:
        weight_D, bias = _regression(
            held.states_ND, held.label_N == present[1], strength, intercept=not held.pairs
        )
        head.weight_CD[present] = np.stack([-weight_D, weight_D]) / 2
        head.bias_C[present] = np.array([-bias, bias]) / 2
    else:
        for label in present:
            head.weight_CD[label], head.bias_C[label] = _regression(
                held.states_ND, held.label_N == label, strength
            )
    return head


def _regression(
    states_SD: Floats, positive_S: npt.NDArray[np.bool_], strength: float, *, intercept: bool = True
) -> tuple[Floats, float]:
    """Weights and intercept with the least strength * sum of log losses + L1 norm, intercept included."""
    linear = _scikit("linear_model")
    # Settings of the penalty were renamed in scikit-learn 1.8, which warns of the old ones.
    renamed = linear.LogisticRegression().penalty == "deprecated"
    penalty = {"l1_ratio": 1.0} if renamed else {"penalty": "l1"}
    model = linear.LogisticRegression(
        C=strength,
        solver="liblinear",
        tol=_TOLERANCE,
        max_iter=_STEPS,
        fit_intercept=intercept,
        random_state=0,
        **penalty,
    )
    with warnings.catch_warnings():
        # Of a fit that stops before its tolerance: it is near enough.
        warnings.simplefilter("ignore", _scikit("exceptions").ConvergenceWarning)
        model.fit(states_SD, positive_S)
    return model.coef_[0], float(np.ravel(model.intercept_)[0])


def _scikit(module: str) -> Any:
    """A module of scikit-learn.

    Raises:
        MissingExtraError: It is not installed.
    """
    from importlib import import_module

    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise MissingExtraError(
            f"last-layer retraining needs scikit-learn ({error}); pip install 'surpass[probes]'"
        ) from None
