"""Rows of unequal length side by side in memory, and as a rectangle.

Shape suffixes: P numbers, N rows, C the longest row.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", bound=np.generic)


def rectangle(
    values_P: npt.NDArray[Number], sizes_N: npt.NDArray[np.int64], *, fill: float = 0
) -> npt.NDArray[Number]:
    """Rows as a rectangle (N, C) of the same type, filled behind the end of each.

    Args:
        values_P: The rows, one behind the other.
        sizes_N: How long each is.
        fill: What stands where a row has nothing.
    """
    inside_NC = np.arange(sizes_N.max(initial=0)) < sizes_N[:, None]
    rows_NC = np.full(inside_NC.shape, fill, values_P.dtype)
    rows_NC[inside_NC] = values_P
    return rows_NC
