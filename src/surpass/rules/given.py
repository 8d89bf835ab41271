"""What a relabelling rule is given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class Given(NamedTuple):
    """Label tables and what belongs to them.

    Attributes:
        labels: One or more label tables of the same examples, row for row (equal id columns).
        inputs: The examples' inputs, row for row (`id`, `candidates`, columns of the task), if asked for.
        features_ND: Frozen features, float32 (N, D), row for row, if asked for.
        reference: Label tables of another set of examples, row for row among themselves: for
            what is estimated where truth is known. The truth comes first.
        num_classes: Number of classes shared by all examples; None where candidates differ.
    """

    labels: tuple[pa.Table, ...]
    inputs: pa.Table | None
    features_ND: npt.NDArray[np.float32] | None
    reference: tuple[pa.Table, ...]
    num_classes: int | None
