"""Low-rank changes against those of PEFT, on models that it knows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from reference.language import WORDS, tiny_config
from surpass.models.low_rank import LowRank, add_low_rank

RANK, ALPHA = 3, 5.0
TARGETS = {
    "bert": ["query", "key", "value", "dense"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
}
"""Names of all linear layers."""


def tiny(kind: str) -> Any:
    import transformers

    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(tiny_config(kind, len(WORDS))).eval()
    if hasattr(model, "pooler"):
        model.pooler = None
    return model.requires_grad_(False)


def ours(kind: str) -> tuple[Any, dict[str, LowRank]]:
    model = tiny(kind)
    add_low_rank(model, RANK, ALPHA)
    ending = ".parametrizations.weight.0"
    changes = {
        name.removesuffix(ending): part for name, part in model.named_modules() if name.endswith(ending)
    }
    generator = torch.Generator().manual_seed(1)
    for change in changes.values():
        torch.nn.init.normal_(change.up_OR, std=0.5, generator=generator)
    return model, changes


def theirs(kind: str, changes: dict[str, LowRank]) -> tuple[Any, dict[str, tuple[Tensor, Tensor]]]:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=TARGETS[kind],
        fan_in_fan_out=kind == "gpt2",
    )
    model = peft.get_peft_model(tiny(kind), config).eval()
    factors = {}
    for name, layer in model.base_model.model.named_modules():
        if hasattr(layer, "lora_A"):
            factors[name] = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    for name, change in changes.items():
        with torch.no_grad():
            factors[name][0].copy_(change.down_RI)
            factors[name][1].copy_(change.up_OR)
    return model, factors


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")
@pytest.mark.parametrize("kind", TARGETS)
def test_equals_peft(kind):
    model, changes = ours(kind)
    other, factors = theirs(kind, changes)
    assert changes.keys() == factors.keys()
    assert len(changes) == {"bert": 12, "llama": 14, "gpt2": 8}[kind]
    tokens_NT = torch.randint(3, len(WORDS), (4, 11), generator=torch.Generator().manual_seed(2))
    plain = tiny(kind)(input_ids=tokens_NT).last_hidden_state
    states, expected = (one(input_ids=tokens_NT).last_hidden_state for one in (model, other))
    assert (expected - plain).abs().max() > 0.1
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
    pull = torch.randn(states.shape, generator=torch.Generator().manual_seed(3)) / states.numel() ** 0.5
    for one in (states, expected):
        (one * pull).sum().backward()
    for name, change in changes.items():
        down, up = factors[name]
        torch.testing.assert_close(change.down_RI.grad, down.grad, atol=5e-5, rtol=1e-5, msg=name)
        torch.testing.assert_close(change.up_OR.grad, up.grad, atol=5e-5, rtol=1e-5, msg=name)
    biggest = max(float(change.up_OR.grad.abs().max()) for change in changes.values())
    assert biggest > 1e-2
