"""What language models are read for, and the linear maps that read it from their states.

Classes are scored by one output each. Of a pair of texts, each is scored alone by the same single output, its
reward; as logits of the two, rewards say with sigma(r_A - r_B) that the first is better.

Source: Burns et al. 2023, appendices A.1 and A.3.

Shape suffixes: N examples, C classes, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor, nn

from surpass.models.texts import num_classes_of

_SMALL = 0.02


class Scored(NamedTuple):
    """What is scored: classes of texts, or the two texts of each pair."""

    num_classes: int
    pairs: bool

    @property
    def num_outputs(self) -> int:
        """Rows of a head."""
        return 1 if self.pairs else self.num_classes


def scored_of(inputs: pa.Table) -> Scored:
    """What of these examples is scored, by their columns.

    Raises:
        DataError: Their numbers of candidates differ, or there are no examples.
    """
    pairs = "texts" in inputs.column_names and "text" not in inputs.column_names
    return Scored(num_classes_of(inputs), pairs)


def new_head(width: int, scored: Scored) -> nn.Linear:
    """Small weights from torch's generator, and biases of zero; rewards have none, as they only differ."""
    head = nn.Linear(width, scored.num_outputs, bias=not scored.pairs)
    new_weights(head)
    return head


def with_hidden(head: nn.Linear, hidden: int) -> nn.Sequential:
    """A new head of the same shape with rectified units between, as torch draws them."""
    last = nn.Linear(hidden, head.out_features)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(head.in_features, hidden), nn.ReLU(), last)


def new_weights(head: nn.Linear) -> None:
    """Draw a head anew, in place: small weights, and biases of zero."""
    nn.init.normal_(head.weight, std=_SMALL)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


@torch.no_grad()
def set_rows(head: nn.Linear, unembedding: nn.Module, tokens: Sequence[int]) -> None:
    """Let a head be the unembedding of its outputs' tokens: of the classes' answers, or of the first."""
    rows = list(tokens)[: head.out_features]
    head.weight.copy_(unembedding.weight[rows])  # type: ignore[index]
    if head.bias is not None:
        head.bias.copy_(unembedding.bias[rows])  # type: ignore[index]


def logits_of(head: nn.Linear, states: Tensor, scored: Scored) -> Tensor:
    """Logits float32 (N, C) of states (N, D), or (N, 2) of states (N, 2, D) of pairs."""
    scores: Tensor = head(states)
    return scores.squeeze(-1) if scored.pairs else scores
