"""A planted spurious attribute: it goes with the truth where models learn, and not where they are judged.

Shape suffixes: N examples, C classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surpass.errors import ConfigError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEARNED_FROM = ("weak", "student")
"""The parts in which the attribute goes with the truth; in others it says nothing."""


def require_spurious(strength: float, distance: float, *, num_classes: int, num_features: int) -> None:
    """Refuse settings that make no sense; a strength of 0 stands for no attribute.

    Raises:
        ConfigError: Names the value and what is allowed.
    """
    if not strength:
        return
    if not 1 / num_classes <= strength <= 1:
        raise ConfigError(
            f"spurious={strength!r} must be from 1 / C = {1 / num_classes:.4g}, where the attribute says "
            "nothing, to 1, where it is the truth; or 0 for no attribute"
        )
    if not 0 <= distance <= 100:
        raise ConfigError(f"spurious_distance={distance!r} must be from 0 to 100")
    if num_features < 2 * (num_classes - 1):
        raise ConfigError(
            f"num_features={num_features} must be at least 2 (C - 1) = {2 * (num_classes - 1)} with an "
            "attribute, whose directions are others than those of the concept"
        )


def attributes(
    truth_N: npt.NDArray[np.integer], uniform_N2: Floats, *, strength: float, num_classes: int
) -> Ints:
    """The attribute of each example, 0 to C - 1, int64 (N,).

    It is the truth with probability `strength`, else another class, drawn evenly.

    Args:
        truth_N: The right class.
        uniform_N2: Random numbers in [0, 1).
        strength: The probability; 1 / C makes the attribute independent of the truth.
        num_classes: C.
    """
    steps_N = 1 + np.floor(uniform_N2[:, 1] * (num_classes - 1)).astype(np.int64)
    moved_N: Ints = truth_N.astype(np.int64) + np.where(uniform_N2[:, 0] < strength, 0, steps_N)
    return moved_N % num_classes
