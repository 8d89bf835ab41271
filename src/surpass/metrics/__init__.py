"""Metrics of choice tasks: how good predictions are, whose mistakes they repeat, what weak labels are worth.

A model spreads probability over the candidates of each example. Candidates may differ in number
(legal moves), so `probs` is either a padded array with zeros behind each row or a list of rows.
All are plain functions on arrays; a fraction of nothing is NaN. Formulas: docs/metrics.md.
"""

from surpass.metrics.calibration import CalibrationBins, calibration_bins, expected_calibration_error
from surpass.metrics.curves import Overfitting, Snapshot, overfitting
from surpass.metrics.effective_data import (
    EffectiveData,
    EffectiveDataInterval,
    effective_data,
    effective_data_interval,
    isotonic,
)
from surpass.metrics.groups import Groups, group_accuracy
from surpass.metrics.misfit import Misfit, kl_divergence, kl_misfit, squared_misfit
from surpass.metrics.overlap import (
    AgreementSplit,
    Capa,
    ErrorCorrelation,
    ErrorTransfer,
    agreement,
    agreement_split,
    capa,
    error_correlation,
    error_transfer,
)
from surpass.metrics.quality import accuracy, auroc, brier, confidences, log_loss, predictions, truth_probs

__all__ = [
    "AgreementSplit",
    "CalibrationBins",
    "Capa",
    "EffectiveData",
    "EffectiveDataInterval",
    "ErrorCorrelation",
    "ErrorTransfer",
    "Groups",
    "Misfit",
    "Overfitting",
    "Snapshot",
    "accuracy",
    "agreement",
    "agreement_split",
    "auroc",
    "brier",
    "calibration_bins",
    "capa",
    "confidences",
    "effective_data",
    "effective_data_interval",
    "error_correlation",
    "error_transfer",
    "expected_calibration_error",
    "group_accuracy",
    "isotonic",
    "kl_divergence",
    "kl_misfit",
    "log_loss",
    "overfitting",
    "predictions",
    "squared_misfit",
    "truth_probs",
]
