"""Logistic regression towards soft labels.

scikit-learn's takes hard labels only; with soft ones every example would have to be there once for each
class.

Shape suffixes: N examples, D features, C classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surpass.rules.padded import Floats
from surpass.rules.rule import optional

_STEPS = 200
_TOLERANCE = 1e-7


def fit_predict(
    features_ND: npt.NDArray[np.floating],
    target_NC: Floats,
    new_ND: npt.NDArray[np.floating],
    *,
    l2: float,
) -> Floats:
    """Fit on some examples and predict others, float64 (new examples, C).

    Features are brought to mean 0 and deviation 1 by those of the examples that it is fitted on. Minimises
    the mean cross-entropy in nats plus 2 l2 times the squared weights, without the intercepts. Of two
    classes the softmax holds half the weights of a sigmoid, so l2 means there what it means for the sigmoid.

    Args:
        features_ND: Features of the examples it is fitted on.
        target_NC: Their label probabilities; rows sum to 1.
        new_ND: Features of the examples it predicts.
        l2: The penalty, at least 0.

    Raises:
        ConfigError: scipy is not installed.
    """
    mean_D, deviation_D = features_ND.mean(axis=0), features_ND.std(axis=0)
    deviation_D = np.where(deviation_D > 1e-9, deviation_D, 1.0)
    scaled_ND = ((features_ND - mean_D) / deviation_D).astype(np.float64)
    num_rows, num_features = scaled_ND.shape
    shape = (num_features + 1, target_NC.shape[1])

    def objective(flat: Floats) -> tuple[float, Floats]:
        weights_DC, intercept_C = flat.reshape(shape)[:-1], flat.reshape(shape)[-1]
        log_probs_NC = _log_softmax(scaled_ND @ weights_DC + intercept_C)
        error_NC = (np.exp(log_probs_NC) - target_NC) / num_rows
        loss = -(target_NC * log_probs_NC).sum() / num_rows + 2 * l2 * (weights_DC**2).sum()
        slope = np.vstack([scaled_ND.T @ error_NC + 4 * l2 * weights_DC, error_NC.sum(axis=0)])
        return float(loss), slope.ravel()

    found = optional("scipy.optimize").minimize(
        objective,
        np.zeros(shape[0] * shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _STEPS, "gtol": _TOLERANCE, "ftol": 0.0},
    )
    fitted = found.x.reshape(shape)
    scaled_new_ND = ((new_ND - mean_D) / deviation_D).astype(np.float64)
    return np.exp(_log_softmax(scaled_new_ND @ fitted[:-1] + fitted[-1]))


def _log_softmax(logits_NC: Floats) -> Floats:
    shifted_NC = logits_NC - logits_NC.max(axis=1, keepdims=True)
    return np.asarray(shifted_NC - np.log(np.exp(shifted_NC).sum(axis=1, keepdims=True)))
