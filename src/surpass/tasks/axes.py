"""Points and directions of planted problems.

Shape suffixes: C classes, D features, U = C - 1 axes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def simplex(num_points: int) -> Floats:
    """Points (C, C - 1) around 0, any two sqrt(2) apart."""
    points_CU = np.zeros((num_points, num_points - 1))
    for axis in range(num_points - 1):
        points_CU[: axis + 1, axis], points_CU[axis + 1, axis] = 1, -(axis + 1)
    simplex_CU: Floats = points_CU / np.linalg.norm(points_CU, axis=0)
    return simplex_CU


def rotation(rng: np.random.Generator, width: int) -> Floats:
    """A random orthogonal matrix; the signs make it the same for every implementation of QR."""
    orthogonal, triangle = np.linalg.qr(rng.standard_normal((width, width)))
    rotation: Floats = orthogonal * np.sign(np.diag(triangle))
    return rotation


def beside(weights_UD: Floats, rng: np.random.Generator) -> Floats:
    """Random directions, orthonormal and orthogonal to those of the concept, float64 (U, D)."""
    num_axes, num_features = weights_UD.shape
    random_DU = rng.standard_normal((num_features, num_axes))
    orthogonal, triangle = np.linalg.qr(np.concatenate([weights_UD.T, random_DU], axis=1))
    # The signs make it the same for every implementation of QR.
    signed: Floats = (orthogonal * np.sign(np.diag(triangle)))[:, num_axes:].T
    return signed
