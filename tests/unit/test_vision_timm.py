"""Models of timm, against a stand-in with what is used of it: timm itself needs torchvision."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reference.pictures import file_of, images_of, picture, some_files
from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.models.families import load_model
from surpass.models.image_examples import in_colour, prepared
from surpass.models.names import ReadOut
from surpass.models.sources import resolve

FILES = some_files(4)
CONFIG = {
    "input_size": (3, 24, 24),
    "interpolation": "bicubic",
    "mean": (0.4, 0.5, 0.6),
    "std": (0.2, 0.3, 0.4),
    "crop_pct": 0.9,
    "crop_mode": "center",
}


class Convolutions(nn.Module):
    """As timm's ResNet: maps, pooled at the end."""

    feature_info = ({"num_chs": 6}, {"num_chs": 8})

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2)
        self.last = nn.Conv2d(6, 8, 3, 2)
        self.drop = nn.Dropout(0.5)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.stem(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        assert pre_logits
        return x.mean(dim=(2, 3))

    def forward_intermediates(
        self, x: Tensor, indices: list[int], norm: bool, output_fmt: str, intermediates_only: bool
    ) -> Any:
        assert (norm, output_fmt) == (False, "NCHW")
        maps = [torch.relu(self.stem(x))]
        maps.append(self.last(maps[0]))
        given = [maps[index] for index in indices]
        return given if intermediates_only else (maps[-1], given)


class Tokens(nn.Module):
    """As timm's VisionTransformer: tokens behind a class token; of blocks, maps and the tokens before."""

    feature_info = ({"num_chs": 8}, {"num_chs": 8}, {"num_chs": 8})
    num_prefix_tokens = 1

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))
        self.blocks = nn.Sequential(*(nn.Linear(8, 8) for _ in range(3)))
        self.norm = nn.LayerNorm(8)
        self.size = (24, 24)

    def set_input_size(self, img_size: tuple[int, int]) -> None:
        self.size = img_size

    def _blocks(self, x: Tensor) -> list[Tensor]:
        assert x.shape[2:] == self.size
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        states = [torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1)]
        for block in self.blocks:
            states.append(states[-1] + block(states[-1].mean(dim=1, keepdim=True)))
        return states[1:]

    def forward_features(self, x: Tensor) -> Tensor:
        return self.norm(self._blocks(x)[-1])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        assert pre_logits
        return x[:, 0]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: list[int],
        return_prefix_tokens: bool,
        norm: bool,
        output_fmt: str,
        intermediates_only: bool,
    ) -> Any:
        assert (norm, output_fmt, return_prefix_tokens) == (False, "NCHW", True)
        states, side = self._blocks(x), x.shape[2] // 8
        given = []
        for index in indices:
            maps = states[index][:, 1:].transpose(1, 2).unflatten(2, (side, side))
            given.append((maps, states[index][:, :1]))
        return given if intermediates_only else (self.norm(states[-1]), given)


@pytest.fixture
def timm(monkeypatch, tmp_path) -> Any:
    """The stand-in, which can be imported and lies in a folder."""
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").touch()
    (tmp_path / "timm" / "data.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    models = {"resnet": Convolutions, "vit": Tokens}
    asked: list[tuple[str, dict]] = []

    def create_model(name: str, **settings: Any) -> nn.Module:
        asked.append((name, settings))
        if name not in models:
            raise RuntimeError(f"Unknown model ({name})")
        torch.manual_seed(5)
        return models[name]()

    import timm
    import timm.data

    config = dict(CONFIG)
    timm.create_model = create_model
    timm.data.resolve_model_data_config = lambda model: config
    yield SimpleNamespace(asked=asked, config=config)
    for name in ("timm", "timm.data"):
        sys.modules.pop(name, None)


def load(name: str, num_classes: int = 3) -> Any:
    torch.manual_seed(0)
    return load_model(resolve(name), images_of(FILES, num_classes=num_classes))


def pixels(files: list[bytes], model: Any) -> Tensor:
    found = np.stack(
        [prepared(in_colour(file), model.encode(images_of(files)).preparation) for file in files]
    )
    mean, std = (torch.tensor(CONFIG[key])[:, None, None] for key in ("mean", "std"))
    return (torch.from_numpy(found).permute(0, 3, 1, 2) / 255 - mean) / std


@torch.no_grad()
def test_the_state_at_the_end(timm):
    for name in ("resnet", "vit"):
        model = load(f"timm:{name}")
        assert timm.asked.pop() == (name, {"pretrained": True, "num_classes": 0})
        found = model.states(model.encode(images_of(FILES)), np.arange(4))
        wanted = model.body.forward_head(model.body.forward_features(pixels(FILES, model)), pre_logits=True)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        assert (model.head.in_features, model.initial_head()) == (8, None)


@torch.no_grad()
def test_the_states_of_blocks(timm):
    convolutions, tokens = load("timm:resnet"), load("timm:vit")
    assert (len(convolutions.blocks), len(tokens.blocks)) == (2, 3)
    places = [ReadOut(1), ReadOut(), ReadOut(1, "mean")]
    first, last, again = convolutions.states_at(convolutions.encode(images_of(FILES)), np.arange(4), places)
    x = pixels(FILES, convolutions)
    torch.testing.assert_close(
        first, torch.relu(convolutions.body.stem(x)).mean(dim=(2, 3)), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(
        last, convolutions.body.forward_features(x).mean(dim=(2, 3)), atol=1e-5, rtol=1e-5
    )
    places = [ReadOut(3), ReadOut(1), ReadOut(1, "mean"), ReadOut(None, "mean"), ReadOut(None, "first")]
    found = tokens.states_at(tokens.encode(images_of(FILES)), np.arange(4), places)
    states = tokens.body._blocks(pixels(FILES, tokens))
    end = tokens.body.norm(states[2])
    wanted = [states[2][:, 0], states[0][:, 0], states[0][:, 1:].mean(1), end[:, 1:].mean(1), end[:, 0]]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    alone = load("timm:vit(layer=1)")
    torch.testing.assert_close(alone.states(alone.encode(images_of(FILES)), np.arange(4)), found[1])


def test_it_is_trained_without_dropout(timm):
    model = load("timm:resnet")
    assert model.body.drop.p == 0.0
    logits = model.train()(model.encode(images_of(FILES)), np.arange(4))
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_how_it_sees_an_image(timm):
    preparation = load("timm:resnet").encode(images_of(FILES)).preparation
    assert preparation == (26, None, (24, 24), 3, 1 / 255, CONFIG["mean"], CONFIG["std"], True)
    timm.config["crop_mode"] = "squash"
    assert load("timm:resnet").encode(images_of(FILES)).preparation[:3] == (None, (26, 26), (24, 24))


@pytest.mark.parametrize(("width", "height"), [(26, 26), (27, 26), (26, 29), (31, 26), (26, 33), (37, 26)])
def test_the_middle_is_that_of_torchvision(timm, width, height):
    """As `torchvision.transforms.CenterCrop`, which rounds the half to the even pixel."""
    image = picture(np.random.default_rng(0), height, width)
    preparation = load("timm:resnet").encode(images_of(FILES)).preparation
    top, left = round((height - 24) / 2.0), round((width - 24) / 2.0)
    whole = np.asarray(image)
    np.testing.assert_array_equal(prepared(image, preparation), whole[top : top + 24, left : left + 24])


def test_pixels(timm):
    timm.config["crop_pct"] = 1.0
    model = load("timm:vit(pixels=32)")
    assert model.body.size == (32, 32)
    assert model.encode(images_of(FILES)).preparation.sides == (32, 32)
    assert load("timm:resnet(pixels=32)").encode(images_of(FILES)).preparation.sides == (32, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_mode": "border"}, r"what is not known \(crop_mode=border\)"),
        ({"interpolation": "random"}, r"what is not known \('random'\)"),
        ({"mean": None}, "timm:resnet says of its images what is not known"),
    ],
)
def test_an_odd_configuration(timm, change, message):
    timm.config.update(change)
    with pytest.raises(DataError, match=message):
        load("timm:resnet")


def test_what_there_is_not(timm):
    with pytest.raises(
        ConfigError, match=r"timm:none cannot be had \(Unknown model \(none\)\); see timm.list_models"
    ):
        load("timm:none")
    with pytest.raises(ConfigError, match="timm:vit has layers 1 to 3, and layer=4 is none of them"):
        load("timm:vit(layer=4)")
    for name in ("timm:resnet(pooling=first)", "timm:resnet(layer=1, pooling=first)"):
        with pytest.raises(
            ConfigError, match=r"timm:resnet (has no first token|gives maps, which have no first)"
        ):
            load(name)


def test_without_blocks(timm, monkeypatch):
    monkeypatch.delattr(Convolutions, "forward_intermediates")
    model = load("timm:resnet")
    assert model.blocks == []
    with pytest.raises(ConfigError, match="timm:resnet has no layers to choose from"):
        load("timm:resnet(layer=1)")


@pytest.mark.parametrize(
    "error", [ImportError("no torchvision"), RuntimeError("operator torchvision::nms does not exist")]
)
def test_a_timm_that_cannot_be_imported(timm, monkeypatch, error):
    def broken(name: str) -> ModuleType:
        raise error

    monkeypatch.setattr("surpass.models.vision_timm.import_module", broken)
    with pytest.raises(
        MissingExtraError, match=r"cannot be imported \(.*torchvision.*\); pip install 'surpass\[timm\]'"
    ):
        load("timm:resnet")


def test_a_picture_of_its_own_size(timm):
    timm.config["crop_pct"] = 1.0
    image = picture(np.random.default_rng(0), 24, 24)
    model = load("timm:resnet")
    preparation = model.encode(images_of([file_of(image)])).preparation
    np.testing.assert_array_equal(prepared(image, preparation), np.asarray(image))
