"""Training the upper layers alone, of every family that has layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from reference.bench import Bench, state_of, table_of
from reference.completions import ending_tokenizer
from reference.language import CAUSAL, ENCODERS, inputs_of, pairs_of, save_tiny, some_texts
from reference.pictures import SHAPES, images_of, save_tiny_vision, some_files
from reference.studies import CHESS
from surpass.errors import ConfigError
from surpass.models import winograd
from surpass.models.adapters import find_adapter, settle
from surpass.models.convnets_known import NETWORKS
from surpass.models.depth import blocks_at, blocks_read
from surpass.models.families import load_model
from surpass.models.layers import states_of_layers
from surpass.models.moves import MoveChoice
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Blend, Examples, Fit, Label, Stop
from surpass.tasks.chess import ChessTask
from surpass.train.below import pretrained_below
from surpass.train.recipe import Recipe
from surpass.train.run import load_fitted, save_weights

NUM = 6
LAYERS = {"gemma3_text": 2, "swin": 2, "resnet": 4, "convnext": 4, "mobilenet_v2": 16, "cnn:8": 3}
LAYERS |= {"vit": 3, "policy": 3}
IMAGES = ("vit", "dinov2_with_registers", "swin", "resnet", "convnext", "mobilenet_v2", "cnn:8")
KINDS = (*CAUSAL, *ENCODERS, *IMAGES, "policy")
_NAMES = {"gpt2": "n_layer", "distilbert": "n_layers"}


def deep(folder: Path, kind: str) -> Path:
    """A tiny language model of three layers, where its layers are alike."""
    changes = {} if kind == "gemma3_text" else {_NAMES.get(kind, "num_hidden_layers"): 3}
    return save_tiny(folder, kind, **changes)


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> dict[str, tuple[str, pa.Table]]:
    root = tmp_path_factory.mktemp("models")
    texts, images = inputs_of(some_texts(NUM)), images_of(some_files(NUM))
    found = {kind: (f"dir:{deep(root / kind, kind)}", texts) for kind in (*CAUSAL, *ENCODERS)}
    for kind in IMAGES:
        name = f"dir:{save_tiny_vision(root / kind, kind)}" if kind in SHAPES else kind
        found[kind] = (name, images)
    found["policy"] = ("ladder:chess-4", ChessTask().examples(part="student", size=NUM, seed=0).inputs)
    return found


def loaded(problem: tuple[str, pa.Table], adapter: str) -> Any:
    torch.manual_seed(0)
    model = load_model(resolve(problem[0]), problem[1])
    find_adapter(adapter)(model)
    return model


def num_layers(kind: str) -> int:
    return LAYERS.get(kind, 3)


def learnt(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if value.requires_grad}


def gradients(model: Any, inputs: pa.Table) -> set[str]:
    """The parameters that a loss of these examples has a gradient for, whatever is trained."""
    model.requires_grad_(True)
    logits_NC = model(model.encode(inputs), np.arange(NUM))
    logits_NC[logits_NC.isfinite()].square().sum().backward()
    return {name for name, value in model.named_parameters() if value.grad is not None}


def states_at(model: Any, inputs: pa.Table, layer: int) -> Tensor:
    blocks, examples = blocks_read(model, "a test"), model.encode(inputs)
    rows = np.arange(NUM)
    with torch.no_grad():
        return states_of_layers(blocks_at(model, blocks, layer), [layer], lambda: model(examples, rows))[
            layer
        ]


@pytest.mark.parametrize("kind", KINDS)
class TestEveryFamily:
    def test_what_lies_below_is_all_that_stands_still(self, problems, kind):
        """Of what the logits depend on: with other weights above, the states at the cut are the same."""
        used = gradients(loaded(problems[kind], "full"), problems[kind][1])
        for layers in {1, num_layers(kind)}:
            model = loaded(problems[kind], f"last(layers={layers})")
            trained = learnt(model)
            assert trained <= used
            assert model.cut.layer == num_layers(kind) - layers
            before = states_at(model, problems[kind][1], model.cut.layer)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.mul_(1.5).add_(0.1)
            assert torch.equal(states_at(model, problems[kind][1], model.cut.layer), before)
            for name, value in model.named_parameters():
                if name in used - trained:
                    was = value.detach().clone()
                    with torch.no_grad():
                        value.add_(torch.rand_like(value))
                        assert not torch.equal(
                            states_at(model, problems[kind][1], model.cut.layer), before
                        ), name
                        value.copy_(was)

    def test_blocks_above_are_trained_whole(self, problems, kind):
        model = loaded(problems[kind], "last(layers=1)")
        above = model.blocks[-1]
        assert all(parameter.requires_grad for parameter in above.parameters())
        assert all(parameter.requires_grad for parameter in model.head_parameters())
        assert not any(value.requires_grad for block in model.blocks[:-1] for value in block.parameters())

    def test_no_gradient_goes_below(self, problems, kind):
        model = loaded(problems[kind], "last(layers=1)")
        seen: list[Tensor] = []
        model.blocks[-2].register_forward_hook(
            lambda _m, _i, given: seen.append(given[0] if isinstance(given, tuple) else given)
        )
        model(model.encode(problems[kind][1]), np.arange(NUM))
        assert seen
        assert not any(states.requires_grad for states in seen)

    def test_low_rank_changes_above_alone(self, problems, kind, monkeypatch):
        # The same convolutions for policies before they are settled and after, so that rounding is the same.
        monkeypatch.setattr(winograd, "pays", lambda: False)
        model = loaded(problems[kind], "lora(rank=2, layers=1)")
        plain = loaded(problems[kind], "last(layers=1)")
        changed = {name.partition(".parametrizations")[0] for name in learnt(model) if "param" in name}
        assert changed
        assert {f"{name}.weight" for name in changed} <= learnt(plain)
        assert model.cut.layer == plain.cut.layer
        examples = model.encode(problems[kind][1])
        with torch.no_grad():
            wanted = plain(examples, np.arange(NUM))
            torch.testing.assert_close(model(examples, np.arange(NUM)), wanted)
            for name, value in model.named_parameters():
                value.add_(0.3) if name.endswith("up_OR") else None
            expected = model(examples, np.arange(NUM))
            assert not torch.equal(expected, wanted)
            settle(model)
            torch.testing.assert_close(model(examples, np.arange(NUM)), expected)
        moved = {
            name
            for name, value in loaded(problems[kind], "full").named_parameters()
            if not torch.equal(value, dict(model.named_parameters())[name])
        }
        assert moved == {f"{name}.weight" for name in changed}

    @pytest.mark.parametrize("adapter", ["last(layers=1)", "lora(rank=2, layers=1)"])
    def test_what_is_trained_is_all_that_need_be_kept(self, problems, kind, adapter, tmp_path):
        model = loaded(problems[kind], adapter)
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.05) if value.requires_grad else None
        examples, rows = model.encode(problems[kind][1]), np.arange(NUM)
        kept = {name: value for name, value in model.named_parameters() if value.requires_grad}
        save_weights(kept | dict(model.named_buffers()), tmp_path / "changes.safetensors")
        again = loaded(problems[kind], "full")
        load_fitted(again, adapter, tmp_path / "changes.safetensors")
        with torch.no_grad():
            torch.testing.assert_close(again(examples, rows), model(examples, rows), atol=1e-5, rtol=1e-5)

    def test_more_layers_than_there_are(self, problems, kind):
        count = num_layers(kind)
        message = rf"adapter last\(layers={count + 1}\): this model has {count} layers, .* from 1 to {count};"
        with pytest.raises(ConfigError, match=message):
            loaded(problems[kind], f"last(layers={count + 1})")
        with pytest.raises(ConfigError, match=rf"adapter lora\(layers=99\): this model has {count} layers"):
            loaded(problems[kind], "lora(layers=99)")


@pytest.mark.parametrize("network", NETWORKS)
def test_all_stages_are_all_but_the_stem(network):
    """What a stage begins with is above it, though blocks are named by where stages end."""
    with torch.device("meta"):
        body = NETWORKS[network].build()
    stem = {"mobilenetv2": ["features.0."], "resnet50": ["conv1.", "bn1."], "alexnet": []}.get(
        network, ["_conv_stem.", "_bn0."]
    )
    first = next(name for name, module in body.named_modules() if module is body.first)
    names = [name for name, _ in body.named_parameters()]
    begin = next(place for place, name in enumerate(names) if name.startswith(f"{first}."))
    assert names[:begin] == [name for name in names if name.startswith(tuple(stem or ["none"]))]


def test_layers_above_the_one_that_is_read_are_none(problems):
    """`layer=2` of three: the last of those that run is the second."""
    name, inputs = problems["bert"]
    model = loaded((f"{name}(layer=2)", inputs), "last(layers=1)")
    trained = {name for name in learnt(model) if "layer." in name}
    assert trained
    assert all("layer.1." in name for name in trained)
    with pytest.raises(ConfigError, match="this model has 2 layers"):
        loaded((f"{name}(layer=2)", inputs), "last(layers=3)")


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_pairs(problems, kind):
    texts = some_texts(2 * NUM)
    pairs = pairs_of(list(zip(texts[:NUM], texts[NUM:], strict=True)))
    assert learnt(loaded((problems[kind][0], pairs), "last")) - {"head.bias"} == learnt(
        loaded(problems[kind], "last")
    ) - {"head.bias"}


@pytest.mark.parametrize(("kind", "unembedding"), [("gpt2", False), ("gpt_neox", True)])
def test_of_a_generator(problems, kind, unembedding):
    """The unembedding is trained unless it is the embedding, which lies below."""
    prompts = pa.table({"id": ["a"], "prompt": ["w1 w2"], "max_new_tokens": [3]})
    folder = Path(problems[kind][0].removeprefix("dir:"))
    ending_tokenizer().save_pretrained(folder)
    model = loaded((f"dir:{folder}", prompts), "last(layers=1)")
    names = learnt(model)
    assert ("unembedding_VD" in names) == unembedding
    assert not any("wte" in name or "embed_in" in name for name in names)
    assert any(".2." in name for name in names)
    assert not any(".1." in name or ".0." in name for name in names)


def test_models_without_layers():
    table = inputs_of(some_texts(4), features=[[0.0, 1.0]] * 4)
    for adapter in ("last", "lora(layers=1)"):
        with pytest.raises(ConfigError, match="counts the layers of a model, and a TabularChoice has none"):
            loaded(("mlp:all", table), adapter)


EXAMPLES = Examples(task=CHESS, part="validation", size=24, seed=0)
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=1e-3)
LAST = Fit(
    model="ladder:chess-4", examples=EXAMPLES, labels=TRUTH, recipe=RECIPE, seed=1, adapter="last(layers=1)"
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.run(EXAMPLES)
    return bench


def labels_of(bench: Bench, fit: Fit) -> np.ndarray:
    return np.concatenate(
        table_of(bench.run(Label(source=fit, examples=EXAMPLES)), "labels")["probs"].to_numpy()
    )


class TestStages:
    def test_a_fit_keeps_what_it_trained(self, bench):
        state = state_of(bench.run(LAST))
        assert all(
            ".blocks.2." in name or "origin" in name or "target" in name or "under" in name for name in state
        )
        assert sum("blocks" in name for name in state) == 4

    def test_the_head_first(self, bench):
        """LP-FT: all weights are written, and those below are the pretrained ones."""
        head = replace(LAST, adapter="frozen")
        both = replace(LAST, start=head)
        bench.run(head)
        state = state_of(bench.run(both))
        pretrained = MoveChoice.load(resolve(LAST.model)).state_dict()
        assert state.keys() == pretrained.keys()
        moved = {name for name, value in state.items() if not torch.equal(value, pretrained[name])}
        seldom = {f"policy.underpromotion.{name}" for name in ("weight", "bias")}
        assert moved | seldom == state_of(bench.run(LAST)).keys()
        assert pretrained_below(both) == pretrained_below(LAST) is not None
        assert np.isfinite(labels_of(bench, both)).all()

    def test_whose_lower_layers_are_the_pretrained_ones(self):
        digest = resolve(LAST.model).digest
        full = replace(LAST, adapter="full")
        assert pretrained_below(LAST) == digest
        assert pretrained_below(replace(LAST, adapter="lora(rank=2, layers=1)")) == digest
        assert pretrained_below(Stop(fit=LAST, examples=EXAMPLES, labels=TRUTH)) == digest
        assert pretrained_below(replace(LAST, start=LAST)) == digest
        assert pretrained_below(full) is None
        for start in (replace(LAST, adapter="last(layers=2)"), full, replace(LAST, start=full)):
            assert pretrained_below(replace(LAST, start=start)) is None
        assert pretrained_below(replace(LAST, model="cnn:8")) is None
        blend = Blend(model=LAST.model, examples=EXAMPLES, fits=(LAST,), weights=(0.5, 0.5))
        assert pretrained_below(blend) is None
