"""A model that scores a fixed set of classes by the leading features of each example.

Features come as the task gives them, on a scale of about one: nothing is standardised here.

Shape suffixes: N examples, C classes, D features that the model reads, H hidden units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn
from torch.nn import functional

from surpass.errors import ConfigError, DataError
from surpass.models.names import tabular_shape

if TYPE_CHECKING:
    from surpass.models.sources import ModelSource

HINT = "hint"
"""Column of a weak label's probabilities that are shown to the model (Burns et al. 2023, appendix E.3)."""


class TabularChoice(nn.Module):
    """Logistic regression, or one hidden layer of rectified units, over the leading features.

    Args:
        num_leading: How many leading features of an example are read.
        num_hints: How many probabilities of the column `hint` follow them; 0 reads no such column.
        num_classes: How many classes are scored.
        hidden: Width of the hidden layer; None for none. A linear model starts at zero; the layers
            of another from torch's global generator, as `nn.Linear` does.
    """

    def __init__(self, num_leading: int, num_hints: int, num_classes: int, hidden: int | None) -> None:
        super().__init__()
        self.num_leading, self.num_hints = num_leading, num_hints
        width = num_leading + num_hints
        self.body = None if hidden is None else nn.Linear(width, hidden)
        self.head = nn.Linear(width if hidden is None else hidden, num_classes)
        if hidden is None:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    @classmethod
    def load(cls, source: ModelSource, inputs: pa.Table) -> Self:
        """The untrained model of a name, with as many classes and features as these examples have.

        Raises:
            ConfigError: The name is no tabular model's, or asks for more features than there are.
            DataError: The examples lack what it reads, or differ in the number of classes.
        """
        num_leading, hidden = tabular_shape(source.name)
        num_features = _width(inputs, "features")
        if num_leading is not None and num_leading > num_features:
            raise ConfigError(
                f"{source.name} reads {num_leading} features and examples have {num_features}; "
                f"name at most {num_features}, or all"
            )
        num_hints = _width(inputs, HINT) if HINT in inputs.column_names else 0
        return cls(num_leading or num_features, num_hints, _width(inputs, "candidates"), hidden)

    def encode(self, inputs: pa.Table) -> Tensor:
        """What the model reads of each example, float32 (N, D): leading features, then the hint.

        Raises:
            DataError: The examples lack a column, or have too few features.
        """
        features_ND = _matrix(inputs, "features")
        if len(inputs) and features_ND.shape[1] < self.num_leading:
            raise DataError(
                f"examples have {features_ND.shape[1]} features and the model reads {self.num_leading}; "
                "label what it was made for"
            )
        parts = [features_ND[:, : self.num_leading]]
        if self.num_hints:
            parts.append(_matrix(inputs, HINT))
            if len(inputs) and parts[1].shape[1] != self.num_hints:
                raise DataError(
                    f"hints have {parts[1].shape[1]} probabilities and the model reads {self.num_hints}"
                )
        if not len(inputs):
            return torch.zeros(0, self.num_leading + self.num_hints)
        return torch.from_numpy(np.ascontiguousarray(np.concatenate(parts, axis=1)))

    def embed(self, examples: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
        """What the head reads of some examples, float32: features (N, D), or hidden units (N, H)."""
        chosen_ND = examples[torch.from_numpy(rows)]
        return chosen_ND if self.body is None else functional.relu(self.body(chosen_ND))

    def forward(self, examples: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
        """Logits of the classes of some examples, float32 (N, C)."""
        return self.from_states(self.states(examples, rows), examples, rows)

    def states(self, examples: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
        """What the head reads of some examples: as `embed`."""
        return self.embed(examples, rows)

    def from_states(self, states: Tensor, examples: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
        """Logits of the classes of the examples whose states these are, float32 (N, C)."""
        logits_NC: Tensor = self.head(states)
        return logits_NC

    def head_parameters(self) -> list[nn.Parameter]:
        """What a linear probe trains."""
        return list(self.head.parameters())


def _width(inputs: pa.Table, name: str) -> int:
    """The one length that all lists of a column have."""
    _require(inputs, name)
    lengths = pc.min_max(pc.list_value_length(inputs[name])).as_py()
    if lengths["min"] is None:
        raise DataError(f"no examples to tell the length of {name} from; give the model at least one")
    if lengths["min"] != lengths["max"]:
        raise DataError(
            f"{name} has from {lengths['min']} to {lengths['max']} entries; a tabular model needs the same "
            "number for every example"
        )
    return int(lengths["min"])


def _require(inputs: pa.Table, name: str) -> None:
    if name not in inputs.column_names:
        raise DataError(
            f"examples have no column {name!r}, which a tabular model reads; they have "
            f"{', '.join(inputs.column_names)}"
        )


def _matrix(inputs: pa.Table, name: str) -> npt.NDArray[np.float32]:
    """A column of lists of equal length as float32 (N, length); (0, 0) for no examples."""
    _require(inputs, name)
    if not len(inputs):
        return np.zeros((0, 0), np.float32)
    width = _width(inputs, name)
    column = inputs[name].combine_chunks()
    values: npt.NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return values.reshape(len(inputs), width)
