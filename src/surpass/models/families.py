"""Families of models: what loads and runs the models of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, Self

import pyarrow.compute as pc

from surpass.errors import ConfigError
from surpass.models.names import ReadOut
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


class SplitModel(ChoiceModel, Protocol):
    """A model whose head can be trained on states that are computed once."""

    def states(self, examples: Any, rows: npt.NDArray[np.int64]) -> Tensor:
        """Whatever the head reads of these rows, (N, ...); no parameter of the head has a part in it."""
        ...

    def from_states(self, states: Tensor, examples: Any, rows: npt.NDArray[np.int64]) -> Tensor:
        """What `forward` gives for these rows, whose states these are."""
        ...


class WrittenGradient(ChoiceModel, Protocol):
    """A model that knows the gradients of its parameters without autograd."""

    def passed(
        self, examples: Any, rows: npt.NDArray[np.int64]
    ) -> tuple[Tensor, Callable[[Tensor], None]] | None:
        """What `forward` gives, and what adds the gradients of the parameters that want some.

        That takes the gradient of a loss by the logits, and may be called once. None where autograd has to
        find them.
        """
        ...


class FeatureModel(SplitModel, Protocol):
    """A pretrained model whose states are worth keeping: encoders, causal language models, models of images.

    Attributes:
        head: What reads the states.
    """

    head: nn.Module

    def states_at(
        self, examples: Any, rows: npt.NDArray[np.int64], read_outs: Sequence[ReadOut]
    ) -> list[Tensor]:
        """States read at several places in one pass; `states` gives those at the model's own place."""
        ...

    def passes(self, examples: Any, num_examples: int) -> list[npt.NDArray[np.int64]]:
        """All examples, in the groups in which they are read fastest."""
        ...

    def initial_head(self) -> dict[str, Tensor] | None:
        """The head's weights where they are pretrained; None where they are drawn anew."""
        ...


FAMILIES = {
    "policy": "surpass.models.moves:MoveChoice",
    "tabular": "surpass.models.tabular:TabularChoice",
    "causal": "surpass.models.causal:CausalChoice",
    "encoder": "surpass.models.encoder:EncoderChoice",
    "vision": "surpass.models.vision:VisionChoice",
    "generator": "surpass.models.generation:Generator",
    "causal steps": "surpass.models.process:CausalSteps",
    "encoder steps": "surpass.models.process:EncoderSteps",
    "outcome": "surpass.models.outcome:CausalOutcome",
}


def load_model(source: ModelSource, inputs: pa.Table) -> Any:
    """A pretrained model for these inputs: a module that is a `ChoiceModel`, or completes their prompts.

    Where inputs have a column `before`, it judges steps of solutions; where they have a column `steps`, whole
    solutions.

    Raises:
        ConfigError: There are prompts to be completed, and the model generates no text; or steps to be
            judged, and it reads no text.
    """
    module, _, name = FAMILIES[_family(source, inputs)].partition(":")
    return getattr(import_module(module), name).load(source, inputs)


def shape_of(source: ModelSource, inputs: pa.Table) -> tuple[Any, ...]:
    """What of these inputs decides the model that is loaded for them: for equal shapes it is the same.

    Raises:
        ConfigError: As `load_model`.
    """
    family = _family(source, inputs)
    if family in ("policy", "generator"):
        return (family,)
    pairs = "texts" in inputs.column_names and "text" not in inputs.column_names
    lists = ("candidates", "features", "hint")
    return family, pairs, *(_lengths(inputs, name) for name in lists)


def _lengths(inputs: pa.Table, name: str) -> tuple[int, int] | None:
    """The least and the greatest length of a column's lists; None without it."""
    if name not in inputs.column_names:
        return None
    lengths = pc.min_max(pc.list_value_length(inputs[name])).as_py()
    return lengths["min"], lengths["max"]


def _family(source: ModelSource, inputs: pa.Table) -> str:
    """The key in `FAMILIES` of a model for these inputs."""
    family = source.family
    if "prompt" in inputs.column_names:
        if family != "causal":
            raise ConfigError(
                f"{source.name} is no causal language model, and only those complete prompts; name another"
            )
        return "generator"
    if "before" in inputs.column_names:
        if f"{family} steps" not in FAMILIES:
            raise ConfigError(f"{source.name} is no language model, and only those read steps; name another")
        return f"{family} steps"
    return "outcome" if "steps" in inputs.column_names else family
