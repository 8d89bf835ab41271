"""Training the rows of a table that are read is training the table, to the bit."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from reference.language import CAUSAL, ENCODERS, inputs_of, save_tiny, some_texts
from surpass.errors import Stopped
from surpass.models.embedding import can_add_in_place, used_rows
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.models.tokens import TokenExamples
from surpass.train import loop
from surpass.train.adamw import AdamW
from surpass.train.loop import Labels, Running, fit
from surpass.train.recipe import Recipe

TEXTS = some_texts(13)
LABELS = Labels(list(np.eye(2, dtype=np.float32)[np.arange(13) % 2]), np.ones(13, np.float32))


@pytest.fixture
def load(tmp_path):
    def _load(kind: str):
        folder = tmp_path / kind
        source = resolve(f"dir:{folder if folder.exists() else save_tiny(folder, kind)}")
        torch.manual_seed(0)
        model = load_model(source, inputs_of(TEXTS))
        examples = model.encode(inputs_of([" ".join(text.split()[:2]) for text in TEXTS]))
        return model, examples

    return _load


def trained(model, examples, *, plain: bool, decay: float = 0.1, **running):
    recipe = Recipe(epochs=2, batch_size=5, learning_rate=1e-2, weight_decay=decay)
    with pytest.MonkeyPatch.context() as patch:
        if plain:
            patch.setattr(loop, "used_rows", lambda *_: nullcontext())
        else:
            with used_rows(model, examples) as used:
                assert used is not None
        losses = fit(model, examples, LABELS, loss="xent", recipe=recipe, seed=0, running=Running(**running))
    return {"losses": losses, **{name: value.clone() for name, value in model.state_dict().items()}}


def same(found, wanted) -> None:
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert torch.equal(value, wanted[name]), name


@pytest.mark.parametrize("kind", [kind for kind in (*CAUSAL, *ENCODERS) if kind != "gemma3_text"])
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_every_family(load, kind, micro_batch):
    found, wanted = (trained(*load(kind), plain=plain, micro_batch=micro_batch) for plain in (False, True))
    same(found, wanted)


def test_without_decay_rows_that_are_not_read_stay(load):
    model, examples = load("bert")
    before = model.body.get_input_embeddings().weight.detach().clone()
    found = trained(model, examples, plain=False, decay=0.0)
    same(found, trained(*load("bert"), plain=True, decay=0.0))
    read = np.unique(np.concatenate(examples.tokens))
    rest = np.setdiff1d(np.arange(len(before)), read)
    after = model.body.get_input_embeddings().weight
    assert torch.equal(before[rest], after[rest])
    assert not torch.equal(before[read], after[read])


def test_snapshots_read_any_token_with_the_weights_of_their_step(load):
    seen = []
    for plain in (False, True):
        model, examples = load("bert")
        everything = model.encode(inputs_of(TEXTS))

        def look(number, model=model, everything=everything):
            with torch.no_grad():
                seen.append(model(everything, np.arange(13)))

        trained(model, examples, plain=plain, snapshots=3, snapshot=look)
    assert len(seen) == 6
    for found, wanted in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("then", [False, True])
def test_a_training_that_was_stopped_goes_on_either_way(load, tmp_path, first, then):
    wanted = trained(*load("mpnet"), plain=True)
    path, asked = tmp_path / "checkpoint", []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 4

    with pytest.raises(Stopped):
        trained(*load("mpnet"), plain=first, checkpoint=path, stop=stop)
    same(trained(*load("mpnet"), plain=then, checkpoint=path), wanted)


def test_other_tokens_are_refused_and_the_table_is_itself_again(load):
    model, examples = load("bert")
    everything = model.encode(inputs_of(TEXTS))
    with used_rows(model, examples) as used:
        assert len(used.weight) < len(used.table.weight)
        with pytest.raises(IndexError):
            model(everything, np.arange(13))
        with used.whole():
            model(everything, np.arange(13))
    model(everything, np.arange(13))


class _Model(nn.Module):
    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.body = nn.Module()
        self.body.table = table
        self.body.get_input_embeddings = lambda: table
        can_add_in_place(self.body)


def test_not_where_it_does_not_pay_or_would_be_wrong():
    few, most = TokenExamples([np.array([1, 2])]), TokenExamples([np.arange(7)])

    def has_rows(model, examples=few) -> bool:
        with used_rows(model, examples) as used:
            return used is not None

    assert has_rows(_Model(nn.Embedding(9, 4)))
    assert not has_rows(_Model(nn.Embedding(9, 4)), most)
    assert not has_rows(_Model(nn.Embedding(9, 4)), TokenExamples([np.array([9])]))
    assert not has_rows(_Model(nn.Embedding(9, 4)), object())
    assert not has_rows(_Model(nn.Embedding(9, 4, max_norm=1.0)))
    assert not has_rows(nn.Linear(2, 2))
    frozen = _Model(nn.Embedding(9, 4))
    frozen.requires_grad_(False)
    assert not has_rows(frozen)
    tied = _Model(nn.Embedding(9, 4))
    tied.out = nn.Linear(4, 9, bias=False)
    tied.out.weight = tied.body.table.weight
    assert not has_rows(tied)


def test_steps_are_torchs_to_the_bit():
    found = []
    for make in (AdamW, lambda values, **named: torch.optim.AdamW(values, fused=True, **named)):
        torch.manual_seed(0)
        values = [nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.randn(7)), nn.Parameter(torch.ones(2))]
        optimizer = make(values, lr=0.1, weight_decay=0.01)
        for step in range(4):
            optimizer.zero_grad()
            (values[0].square().sum() + (values[1] * step).sin().sum()).backward()
            if step == 2:
                values[2].square().sum().backward()
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
            optimizer.step()
        found.append(
            [
                *values,
                *(
                    optimizer.state[value][name]
                    for value in values
                    for name in ("step", "exp_avg", "exp_avg_sq")
                ),
            ]
        )
    assert all(map(torch.equal, *found))


def test_a_fit_imports_no_compiler():
    code = """
import sys, torch, numpy as np
from surpass.train.loop import Labels, fit
from surpass.train.recipe import Recipe
class Model(torch.nn.Linear):
    def forward(self, examples, rows):
        return super().forward(examples[rows])
labels = Labels(list(np.eye(2, dtype=np.float32)), np.ones(2, np.float32))
fit(Model(3, 2), torch.ones(2, 3), labels, loss="xent", recipe=Recipe(epochs=2), seed=0)
print("torch._dynamo" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    assert said.stdout.split() == ["False"]
