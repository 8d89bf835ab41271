"""Gradients of embeddings added in place are those of several passes added up."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from reference.language import CAUSAL, ENCODERS, inputs_of, save_tiny, some_texts
from surpass.losses import find_loss
from surpass.models.embedding import added_in_place, can_add_in_place
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.train import gradient
from surpass.train.gradient import Batch, accumulate_gradient

TEXTS = some_texts(13)


@pytest.mark.parametrize("padding", [None, 3])
def test_of_a_table_alone(padding):
    torch.manual_seed(0)
    table = torch.nn.Embedding(9, 4, padding_idx=padding)
    tokens = torch.tensor([[3, 1, 1], [8, 3, 0]])
    slope = torch.randn(2, 3, 4)
    (table(tokens) * slope).sum().backward()
    wanted = 2 * table.weight.grad
    table.weight.grad = None
    can_add_in_place(_Body(table))
    can_add_in_place(_Body(table))
    with added_in_place():
        for _ in range(2):
            (table(tokens) * slope).sum().backward()
            kept = table.weight.grad.data_ptr()
        assert table.weight.grad.data_ptr() == kept
    torch.testing.assert_close(table.weight.grad, wanted)
    table.weight.grad = None
    (table(tokens) * slope).sum().backward()
    torch.testing.assert_close(2 * table.weight.grad, wanted)


def test_a_table_that_does_not_learn_and_one_that_is_made_of_others():
    table = torch.nn.Embedding(9, 4)
    can_add_in_place(_Body(table))
    table.weight.requires_grad_(False)
    with added_in_place():
        assert not table(torch.tensor([1])).requires_grad
    other = _Scaled(9, 4)
    can_add_in_place(_Body(other))
    assert other(torch.tensor([1])).allclose(2 * other.weight[1])


class _Body:
    def __init__(self, table: torch.nn.Embedding) -> None:
        self.get_input_embeddings = lambda: table


class _Scaled(torch.nn.Embedding):
    def forward(self, tokens):
        return 2 * super().forward(tokens)


@pytest.mark.parametrize("kind", [*CAUSAL, *ENCODERS])
def test_micro_batches_of_every_family(tmp_path, kind, monkeypatch):
    """Against the same step with what autograd does by itself."""
    model = load_model(resolve(f"dir:{save_tiny(tmp_path, kind)}"), inputs_of(TEXTS))
    examples = model.encode(inputs_of(TEXTS))
    labels_NC = torch.eye(2)[torch.arange(13) % 2]
    found = []
    for in_place in (True, False):
        if not in_place:
            monkeypatch.setattr(gradient, "added_in_place", nullcontext)
        model.zero_grad(set_to_none=True)
        batch = Batch(np.arange(13)[::-1].copy(), labels_NC, torch.ones(13), None)
        accumulate_gradient(model, examples, batch, find_loss("xent"), 0.5, 4)
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert any("embed" in name or "wte" in name for name in found[0])
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], atol=1e-6, rtol=1e-5)
