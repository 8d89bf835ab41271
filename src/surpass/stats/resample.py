"""Correctness brought into one form, and bootstrap resamples of it: the machinery below `stats`.

Crossed design (an array, seeds x examples): every seed answers the same test examples. Resampling
examples for each seed anew would treat an unlucky draw of the test set as if it averaged out
over seeds; it does not, and the interval would be too narrow. So each resample draws examples
once, for all seeds. Nested design (a list of arrays, one per seed): each seed has its own test
examples, of any number, and they are resampled within the seed.

All roles always get the same resample: they are paired by seed and example.

Seeds are not drawn from the few that there are: resampling three seeds can show no more than ten
different means and nothing of what a fourth would do. The level of seeds is a parametric bootstrap:
normal draws, scaled by the variance between seeds that `variance` estimates.

Shape suffixes: S seeds, N examples, B bootstrap resamples, R roles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.errors import ConfigError, DataError

Correct = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Counts = npt.NDArray[np.uint8]

ROWS_AT_ONCE = 250
_EXACT_SINGLES = 2**24  # whole numbers up to here are exact in float32


@lru_cache(maxsize=4)
def example_counts(num_examples: int, num_resamples: int, rng_seed: int) -> Counts:
    """Count how often each resample draws each example, uint8 (B, N), read-only; rows sum to N.

    Kept for the next call, since a study makes many estimates on one test set. One byte each is
    ample: of N draws, 256 hitting the same one of N examples does not happen.
    """
    rng = np.random.default_rng([rng_seed, 1, num_examples])
    counts_BN = np.empty((num_resamples, num_examples), np.uint8)
    for row_N in counts_BN:
        row_N[:] = np.bincount(rng.integers(num_examples, size=num_examples), minlength=num_examples)
    counts_BN.flags.writeable = False
    return counts_BN


@lru_cache(maxsize=4)
def normal_draws(num_resamples: int, rng_seed: int) -> Floats:
    """Return the B quantiles (b + 1/2) / B of the standard normal in random order, float64 (B,), read-only.

    One draw from each of B equally likely slices: no luck of the draw in mean, spread or symmetry.
    """
    normal = NormalDist()
    quantiles_B = np.array([normal.inv_cdf((b + 0.5) / num_resamples) for b in range(num_resamples)])
    draws_B = np.random.default_rng([rng_seed, 0]).permutation(quantiles_B)
    draws_B.flags.writeable = False
    return draws_B


class Panel(NamedTuple):
    """Correctness as float32 (N, S, R), one array for each group of seeds that shares test examples.

    One group of all seeds (crossed), or one group for each seed (nested).
    """

    groups: list[Singles]

    @property
    def num_seeds(self) -> int:
        """Seeds over all groups."""
        return sum(group.shape[1] for group in self.groups)

    @property
    def num_examples(self) -> int:
        """Distinct test examples over all groups."""
        return sum(len(group) for group in self.groups)


def panel_of(**roles: Correct) -> Panel:
    """Bring the correctness of one or more roles into one form, crossed (arrays) or nested (lists).

    Groups of a nested design are put into an order of their own, by size and content, so that the order
    of seeds changes no digit. (In a crossed design only sums over seeds are used, which are exact.)

    Raises:
        DataError: Shapes differ, nothing is there, or a value is not 0 or 1.
    """
    if all(isinstance(correct, np.ndarray) for correct in roles.values()):
        return Panel([_group(roles)])
    lengths = {name: len(correct) for name, correct in roles.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise DataError(f"every role needs the same seeds, at least one; got {lengths} arrays")
    per_seed = zip(*roles.values(), strict=True)
    groups = [_group(dict(zip(roles, arrays, strict=True))) for arrays in per_seed]
    if any(group.shape[1] > 1 for group in groups):
        raise DataError(
            "a list holds one array (examples,) for each seed; for seeds that share their test examples "
            "pass one array (seeds, examples)"
        )
    return Panel(sorted(groups, key=lambda group: (len(group), group.tobytes())))


def _group(roles: dict[str, Any]) -> Singles:
    arrays = [np.atleast_2d(correct) for correct in roles.values()]
    if len({array.shape for array in arrays}) > 1 or arrays[0].ndim != 2 or arrays[0].size == 0:
        shapes = ", ".join(f"{name} {np.shape(correct)}" for name, correct in roles.items())
        raise DataError(
            f"correctness must be (seeds, examples), alike for every role and not empty; got {shapes}"
        )
    correct_SNR = np.stack(arrays, axis=-1)
    if not ((correct_SNR == 0) | (correct_SNR == 1)).all():
        raise DataError(f"correctness of {', '.join(roles)} must be 0 or 1 (or false, true) for each example")
    return correct_SNR.swapaxes(0, 1).astype(np.float32)


def pooled_means(panel: Panel) -> Floats:
    """Return the mean accuracy of each role, float64 (R,); every seed counts equally."""
    per_group_GR = np.array([group.sum(axis=(0, 1), dtype=np.float64) for group in panel.groups])
    if len(panel.groups) == 1:
        return np.asarray(per_group_GR[0] / (panel.num_examples * panel.num_seeds))
    lengths_G1 = np.array([[len(group)] for group in panel.groups])
    return np.array([math.fsum(role_G) for role_G in (per_group_GR / lengths_G1).T]) / panel.num_seeds


def check_level(level: float) -> None:
    """Refuse what is no coverage.

    Raises:
        ConfigError: `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}; use a number between 0 and 1, such as 0.95")


def check_resampling(num_resamples: int, level: float) -> None:
    """Refuse settings that make no interval.

    Raises:
        ConfigError: `level` or `num_resamples` is out of range.
    """
    check_level(level)
    if num_resamples < 1:
        raise ConfigError(f"num_resamples is {num_resamples}; use at least 1 (2000 is customary)")


def resampled_deviations(panel: Panel, num_resamples: int, rng_seed: int) -> Floats:
    """Return mean accuracy in each resample of the examples, minus the observed one, float64 (B, R).

    Whole numbers are added and the divisions come last: equal accuracies stay equal to the last bit.
    Groups of equal size take the same draws, each from another row on, so that no two of them
    have the same draw in one resample.
    """
    means_BR = np.zeros((num_resamples, panel.groups[0].shape[2]))
    for place, group in enumerate(panel.groups):
        num_examples, num_seeds, _ = group.shape
        hits_BR = _hits(group.sum(axis=1), num_resamples, rng_seed, num_examples * num_seeds)
        means_BR += np.roll(hits_BR, -place, axis=0) / num_examples
    deviations_BR: Floats = means_BR / panel.num_seeds - pooled_means(panel)
    return deviations_BR


def _hits(sums_NR: Singles, num_resamples: int, rng_seed: int, most: int) -> Floats:
    counts_BN = example_counts(len(sums_NR), num_resamples, rng_seed)
    number = np.float32 if most <= _EXACT_SINGLES else np.float64
    parts = [
        counts_BN[start : start + ROWS_AT_ONCE].astype(number) @ sums_NR.astype(number)
        for start in range(0, num_resamples, ROWS_AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float64)
