"""Whether confidence can be taken at its word: reliability bins and the calibration error.

Shape suffixes: N examples, B bins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.errors import ConfigError
from surpass.metrics.checks import Floats, Ints, column, unit_interval, zero_one


class CalibrationBins(NamedTuple):
    """Mean confidence, accuracy, number of examples and edges (low, high] of each bin that is not empty."""

    confidence_B: Floats
    accuracy_B: Floats
    count_B: Ints
    low_B: Floats
    high_B: Floats

    @property
    def error(self) -> float:
        """Mean distance between confidence and accuracy, weighted by examples."""
        return float(np.average(np.abs(self.confidence_B - self.accuracy_B), weights=self.count_B))


def calibration_bins(
    confidence_N: npt.ArrayLike, correct_N: npt.ArrayLike, *, num_bins: int = 15
) -> CalibrationBins:
    """Compare confidence with accuracy in B bins of equal width.

    The bins are [0, 1/B], (1/B, 2/B], and so on. Equal width rather than equal mass, so that
    examples of equal confidence always share a bin and the order of the examples cannot matter.

    Args:
        confidence_N: Probability of the prediction, (N,), in [0, 1].
        correct_N: Whether the prediction is right, 0 or 1, (N,).
        num_bins: Number of bins before the empty ones are left out.

    Raises:
        DataError: Empty, NaN, unequal lengths, or confidence outside [0, 1].
        ConfigError: `num_bins` is below 1.
    """
    if num_bins < 1:
        raise ConfigError(f"num_bins is {num_bins}; use at least 1 (15 is customary)")
    confidence_N = unit_interval(column(confidence_N, "confidences"), "confidences")
    correct_N = zero_one(correct_N, "correct", len(confidence_N))
    edges = np.linspace(0, 1, num_bins + 1)
    bin_N = np.searchsorted(edges[1:-1], confidence_N, side="left")
    count_B = np.bincount(bin_N, minlength=num_bins)
    used = count_B > 0
    confidence_B = np.bincount(bin_N, confidence_N, num_bins)[used] / count_B[used]
    accuracy_B = np.bincount(bin_N, correct_N, num_bins)[used] / count_B[used]
    return CalibrationBins(confidence_B, accuracy_B, count_B[used], edges[:-1][used], edges[1:][used])


def expected_calibration_error(
    confidence_N: npt.ArrayLike, correct_N: npt.ArrayLike, *, num_bins: int = 15
) -> float:
    """Return the mean distance between confidence and accuracy over equal-width bins, weighted by examples.

    Args and errors are those of `calibration_bins`.

    Source:
        Guo et al. 2017, "On calibration of modern neural networks", eq. 3 (15 bins there too).
    """
    return calibration_bins(confidence_N, correct_N, num_bins=num_bins).error
