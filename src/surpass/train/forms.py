"""The forms of labels, and what training does with each: the one place that asks which it is.

Labels are probabilities over candidates, or completions of prompts (see `labels`). What is said of whole
solutions is learned from each of their tokens. Everything else that is done with a model is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa
from torch import Tensor

from surpass import labels as lb
from surpass.models.outcome import STEPS
from surpass.train.completions import encoded_completions, fit_completions, label_completions
from surpass.train.loop import Labels, fit, label
from surpass.train.outcome import fit_outcomes

Encode = Callable[[pa.Table], Any]


class Form(NamedTuple):
    """What to do with one form of labels.

    Attributes:
        encode: Of a model, inputs and their labels, row for row, and what encodes inputs alone as the model
            does: what `fit` takes as examples and labels.
        fit: Trains a model in place; called as `loop.fit`.
        label: Of a model, what its `encode` gave, and inputs, a table of labels in their order; takes
            `micro_batch` and `report` by name.
    """

    encode: Callable[[Any, pa.Table, pa.Table, Encode], tuple[Any, Labels]]
    fit: Callable[..., Tensor]
    label: Callable[..., pa.Table]


def form_of(inputs: pa.Table) -> Form:
    """The form that the labels of these inputs have."""
    if STEPS in inputs.column_names:
        return _OUTCOMES
    return _COMPLETIONS if lb.num_candidates_of(inputs) is None else _CHOICES


def _encoded_choices(model: Any, inputs: pa.Table, labels: pa.Table, encode: Encode) -> tuple[Any, Labels]:
    return encode(inputs), Labels(lb.rows(labels), lb.weights(labels))


def _encoded_completions(
    model: Any, inputs: pa.Table, labels: pa.Table, encode: Encode
) -> tuple[Any, Labels]:
    return encoded_completions(model, inputs, labels)


def _label_choices(model: Any, examples: Any, inputs: pa.Table, **running: Any) -> pa.Table:
    num_candidates = lb.num_candidates_of(inputs)
    assert num_candidates is not None
    return lb.label_table(inputs["id"].to_pylist(), label(model, examples, num_candidates, **running))


_CHOICES = Form(_encoded_choices, fit, _label_choices)
_OUTCOMES = Form(_encoded_choices, fit_outcomes, _label_choices)
_COMPLETIONS = Form(_encoded_completions, fit_completions, label_completions)
