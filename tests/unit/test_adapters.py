from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from surpass.errors import ConfigError
from surpass.models.adapters import ADAPTERS, find_adapter, settle
from surpass.models.low_rank import LowRank, merged_state
from surpass.models.moves import MoveChoice
from surpass.models.sources import resolve

LORA = "lora(rank=2, alpha=3.0)"


class Small(nn.Module):
    """A convolution and a linear layer below a head, with all that is no weight of a layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.norm = nn.LayerNorm(5)
        self.hidden = nn.Linear(5, 4, bias=False)
        self.shift = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 2)
        self.to(memory_format=torch.channels_last)

    def head_parameters(self) -> list[nn.Parameter]:
        return list(self.head.parameters())

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.norm(torch.relu(self.conv(images)).mean((2, 3)))
        return self.head(torch.relu(self.hidden(pooled)) + self.shift)


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(6, 3, 4, 4)


def adapted(text: str) -> Small:
    model = Small()
    torch.manual_seed(2)
    find_adapter(text)(model)
    return model


def train(model: nn.Module, images: Tensor, steps: int = 5) -> None:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.05, weight_decay=0.0, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        model(images).square().sum().backward()
        optimizer.step()


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def learnt(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if value.requires_grad}


HEAD = {"head.weight", "head.bias"}


class TestWhatIsTrained:
    def test_full(self):
        assert learnt(adapted("full")) == set(Small().state_dict())

    def test_frozen(self, images):
        model, before = adapted("frozen"), Small().state_dict()
        assert learnt(model) == HEAD
        train(model, images)
        after = model.state_dict()
        assert {name for name in after if not torch.equal(after[name], before[name])} == HEAD

    def test_lora(self, images):
        model, before = adapted(LORA), Small().state_dict()
        changes = {
            f"{layer}.parametrizations.weight.0.{part}"
            for layer in ("conv", "hidden")
            for part in ("down_RI", "up_OR")
        }
        assert learnt(model) == HEAD | changes
        train(model, images)
        settle(model)
        after = model.state_dict()
        moved = {name for name in after if not torch.equal(after[name], before[name])}
        assert moved == HEAD | {"conv.weight", "hidden.weight"}

    def test_shapes_of_the_changes(self):
        model = adapted(LORA)
        shapes = {
            name: tuple(value.shape)
            for name, value in model.named_parameters()
            if "_RI" in name or "_OR" in name
        }
        assert sorted(shapes.values()) == [(2, 5), (2, 27), (4, 2), (5, 2)]


class TestLora:
    @pytest.mark.parametrize("rank", [1, 2, 100])
    def test_begins_as_the_pretrained_function(self, images, rank):
        model = adapted(f"lora(rank={rank})")
        assert torch.equal(model(images), Small()(images))

    def test_is_w_plus_alpha_over_rank_times_b_a(self, images):
        model, pretrained = adapted(LORA), Small().state_dict()
        train(model, images)
        for layer, name in ((model.conv, "conv"), (model.hidden, "hidden")):
            change = layer.parametrizations.weight[0]
            up, down = change.up_OR.detach().numpy(), change.down_RI.detach().numpy()
            weight = pretrained[f"{name}.weight"].double().numpy()
            expected = weight.copy()
            for output in range(weight.shape[0]):
                for place, where in enumerate(np.ndindex(weight.shape[1:])):
                    product = sum(float(up[output, r]) * float(down[r, place]) for r in range(2))
                    expected[(output, *where)] += 3.0 / 2 * product
            assert np.abs(expected - weight).max() > 0.01
            np.testing.assert_allclose(layer.weight.detach(), expected, atol=1e-6)

    def test_scale_of_its_beginning(self):
        """A's entries have variance 1 / inputs, so A x is about as large as an entry of x."""
        torch.manual_seed(0)
        down_RI = LowRank(torch.zeros(7, 40, 5, 5), rank=64, alpha=1.0).down_RI
        assert down_RI.shape == (64, 1000)
        assert down_RI.std().item() == pytest.approx(1 / math.sqrt(1000), rel=0.02)

    def test_the_seed_decides(self):
        one, two = adapted(LORA), adapted(LORA)
        assert torch.equal(
            one.conv.parametrizations.weight[0].down_RI, two.conv.parametrizations.weight[0].down_RI
        )
        torch.manual_seed(3)
        other = Small()
        torch.manual_seed(3)
        find_adapter(LORA)(other)
        assert not torch.equal(
            one.conv.parametrizations.weight[0].down_RI, other.conv.parametrizations.weight[0].down_RI
        )

    @pytest.mark.parametrize("micro", [1, 4])
    def test_gradients_do_not_depend_on_the_layout(self, micro):
        """Convolutions in channels-last and plain layout learn the same."""
        images = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(4))
        last, plain = adapted(LORA), adapted(LORA)
        plain.to(memory_format=torch.contiguous_format)
        for model in (last, plain):
            for part in images.split(micro):
                model(part).square().sum().backward()
        for one, two in zip(last.parameters(), plain.parameters(), strict=True):
            if one.requires_grad:
                torch.testing.assert_close(one.grad, two.grad, atol=1e-4, rtol=1e-4)


class TestSettle:
    @pytest.mark.parametrize("text", ["full", "frozen", LORA])
    def test_leaves_a_plain_model_with_the_same_outputs(self, images, text):
        model = adapted(text)
        train(model, images)
        expected = model(images)
        settle(model)
        assert torch.equal(model(images), expected)
        assert {name: value.shape for name, value in model.state_dict().items()} == {
            name: value.shape for name, value in Small().state_dict().items()
        }
        assert learnt(model) == set(Small().state_dict())
        fresh = Small()
        fresh.load_state_dict(model.state_dict())
        torch.testing.assert_close(fresh(images), expected, atol=1e-6, rtol=1e-6)
        assert type(model.conv) is nn.Conv2d

    @pytest.mark.parametrize("text", ["full", "frozen", LORA])
    def test_a_merged_state_leaves_the_model_as_it_is(self, images, text):
        model = adapted(text)
        train(model, images)
        names = list(model.state_dict())
        merged = copied(merged_state(model))
        assert list(model.state_dict()) == names
        train(model, images)
        again = adapted(text)
        train(again, images)
        settle(again)
        assert merged.keys() == again.state_dict().keys()
        assert all(torch.equal(value, merged[name]) for name, value in again.state_dict().items())

    def test_of_a_layer_that_is_the_whole_model(self):
        model = nn.Linear(3, 2)
        model.head_parameters = list  # type: ignore[assignment]
        find_adapter(LORA)(model)
        assert set(merged_state(model)) == {"weight", "bias"}

    def test_twice_does_no_harm(self, images):
        model = adapted(LORA)
        settle(model)
        expected = model(images)
        settle(model)
        assert torch.equal(model(images), expected)


def test_of_a_chess_policy():
    """Everything but the head is a convolution in channels-last layout."""
    model = MoveChoice.load(resolve("ladder:chess-1"))
    before = copied(model.state_dict())
    torch.manual_seed(0)
    find_adapter("lora(rank=1)")(model)
    assert sum("up_OR" in name for name in model.state_dict()) == 3
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "up_OR" in name:
                parameter.fill_(0.5)
    settle(model)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {f"policy.{layer}.weight" for layer in ("stem", "blocks.0.conv1", "blocks.0.conv2")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("head", "no adapter 'head'; there are: frozen, full, last, lora"),
        ("loar", r"no adapter 'loar'; did you mean lora\?"),
        ("qqq", "no adapter 'qqq'; there are: frozen, full, last, lora"),
        ("full(rank=1)", "adapter full has no setting 'rank'; it has none"),
        ("lora(model=1)", "adapter lora has no setting 'model'"),
        ("lora(rank=0)", r"lora\(rank=0\): rank must be a whole number of at least 1"),
        ("lora(rank=-1)", r"lora\(rank=-1\): rank must"),
        ("lora(rank=1.5)", r"lora\(rank=1\.5\): rank must"),
        ("lora(rank=True)", r"lora\(rank=True\): rank must"),
        ("lora(rank=low)", r"lora\(rank='low'\): rank must"),
        ("lora(alpha=0)", r"lora\(alpha=0\): alpha must be a number above 0 and finite"),
        ("lora(alpha=-1.0)", r"lora\(alpha=-1\.0\): alpha must"),
        ("lora(alpha=1e999)", r"lora\(alpha=inf\): alpha must"),
        ("lora(alpha=nan)", r"lora\(alpha='nan'\): alpha must"),
        ("lora(layers=-1)", r"lora\(layers=-1\): layers must be a whole number of at least 0"),
        ("lora(layers=1.0)", r"lora\(layers=1\.0\): layers must"),
        ("last(layers=0)", r"last\(layers=0\): layers must be a whole number of at least 1"),
        ("last(layers=True)", r"last\(layers=True\): layers must"),
        ("last(layers=all)", r"last\(layers='all'\): layers must"),
        ("last(rank=2)", "adapter last has no setting 'rank'; it has layers"),
        ("frozen(hidden=-1)", r"frozen\(hidden=-1\): hidden must be a whole number of at least 0"),
        ("frozen(hidden=2.0)", r"frozen\(hidden=2\.0\): hidden must"),
        ("frozen(hidden=True)", r"frozen\(hidden=True\): hidden must"),
        ("frozen(hidden=many)", r"frozen\(hidden='many'\): hidden must"),
        ("frozen(rank=2)", "adapter frozen has no setting 'rank'; it has hidden"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_loaded(text, message):
    with pytest.raises(ConfigError, match=message):
        find_adapter(text)


def test_bad_settings_given_directly():
    with pytest.raises(ConfigError, match=r"lora\(rank=0\)"):
        ADAPTERS["lora"](Small(), rank=0)


class TestHidden:
    """A head of two layers in place of the model's own."""

    def test_it_is_what_is_trained(self, images):
        model = Small()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        find_adapter("frozen(hidden=7)")(model)
        assert learnt(model) == {"head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"}
        assert [tuple(value.shape) for value in model.head.parameters()] == [(7, 4), (7,), (2, 7), (2,)]
        assert model.head[2].bias.eq(0).all()
        assert model(images).shape == (6, 2)
        state = model.state_dict()
        for name in before.keys() & state.keys():
            assert torch.equal(state[name], before[name])

    def test_nothing_hidden_is_the_plain_head(self):
        one, other = Small(), Small()
        find_adapter("frozen(hidden=0)")(one)
        find_adapter("frozen")(other)
        assert learnt(one) == learnt(other) == {"head.weight", "head.bias"}

    def test_a_second_time_changes_nothing(self):
        """As where a head that has been trained is loaded again."""
        model = Small()
        find_adapter("frozen(hidden=3)")(model)
        head = model.head
        find_adapter("frozen(hidden=3)")(model)
        assert model.head is head

    def test_a_head_that_is_no_linear_layer(self):
        model = MoveChoice.load(resolve("ladder:chess-1"))
        with pytest.raises(
            ConfigError, match=r"frozen\(hidden=3\): the head of this model is no linear layer"
        ):
            find_adapter("frozen(hidden=3)")(model)


def test_a_model_without_a_head_has_nothing_to_train_but_low_rank_changes():
    model = nn.Sequential(nn.Linear(3, 2))
    model.head_parameters = list  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="adapter frozen trains the head alone, and this model has none"):
        find_adapter("frozen")(model)
    find_adapter(LORA)(model)
    assert len(learnt(model)) == 2


def test_checking_a_name_imports_no_torch():
    code = (
        "import sys; from surpass.models.adapters import find_adapter; find_adapter('lora(rank=2)'); "
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
