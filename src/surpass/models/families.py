"""Families of models: what loads and runs the models of each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, Self

from surpass.models.sources import ModelSource

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    from torch import Tensor, nn


class ChoiceModel(Protocol):
    """A module that scores the candidates of examples.

    Shape suffixes: N examples, C candidates, D features.
    """

    @classmethod
    def load(cls, source: ModelSource, inputs: pa.Table) -> Self:
        """The pretrained model; shapes that it has not of itself come from the inputs.

        New weights are drawn from torch's own generator, which the caller seeds.
        """
        ...

    def encode(self, inputs: pa.Table) -> Any:
        """Examples in the form that `forward` and `embed` take."""
        ...

    def forward(self, examples: Any, rows: npt.NDArray[np.int64]) -> Tensor:
        """Logits (N, C) of these rows, -inf where a row has no such candidate."""
        ...

    def embed(self, examples: Any, rows: npt.NDArray[np.int64]) -> Tensor:
        """The hidden state below the head, (N, D)."""
        ...

    def head_parameters(self) -> list[nn.Parameter]:
        """What a linear probe trains."""
        ...


FAMILIES = {
    "policy": "surpass.models.moves:MoveChoice",
    "tabular": "surpass.models.tabular:TabularChoice",
    "language": "surpass.models.language:LanguageChoice",
}


def load_model(source: ModelSource, inputs: pa.Table) -> Any:
    """A pretrained model for these inputs: a module that is a `ChoiceModel`."""
    module, _, name = FAMILIES[source.family].partition(":")
    return getattr(import_module(module), name).load(source, inputs)
