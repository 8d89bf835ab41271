"""Convolutional networks in plain torch, against those of transformers and against slow twins."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from reference import convolutions as twins
from surpass.errors import DataError
from surpass.models.convnets import AlexNet, ConvNet, MobileNetV2, ResNet50, multiply_adds
from surpass.models.convnets_folding import folded, pairs
from surpass.models.convnets_known import NETWORKS, network_of
from surpass.models.convnets_lite import EfficientNetLite
from surpass.models.convnets_small import SmallNet
from surpass.models.image_configs import cost_of_convolution
from surpass.models.packaged.from_pth import convert
from surpass.models.sources import resolve


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SURPASS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _no_gradient():
    with torch.no_grad():
        yield


def lively(network: nn.Module) -> nn.Module:
    """With weights that keep maps from dying out, and statistics of all kinds."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.dim() > 1:
                nn.init.kaiming_normal_(value)
            elif name.endswith(("running_var", "weight")):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point():
                value.normal_(std=0.2)
    return network.eval()


def near(found: Tensor, wanted: Tensor) -> None:
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=2e-4)


def images(num: int, pixels: int) -> Tensor:
    return torch.randn(num, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))


class TestAgainstTwins:
    def test_mobilenetv2(self):
        import transformers

        config = transformers.MobileNetV2Config(tf_padding=False, layer_norm_eps=1e-5, image_size=64)
        other = transformers.MobileNetV2Model(config).eval()
        network = lively(MobileNetV2())
        other.load_state_dict(twins.transformers_mobilenet(network.state_dict()))
        near(network(images(2, 64)), other(images(2, 64)).pooler_output)

    def test_resnet50(self):
        import transformers

        other = transformers.ResNetModel(transformers.ResNetConfig()).eval()
        network = lively(ResNet50())
        other.load_state_dict(twins.transformers_resnet(network.state_dict()))
        near(network(images(2, 64)), other(images(2, 64)).pooler_output.flatten(1))

    @pytest.mark.parametrize(("width", "depth"), [(1.0, 1.0), (1.1, 1.2)])
    def test_efficientnet_lite(self, width, depth):
        network = lively(EfficientNetLite(width, depth))
        first = {1.0: [1, 2, 2, 3, 3, 4, 1], 1.2: [1, 3, 3, 4, 4, 5, 1]}[depth]
        strides = [
            (1, 2, 2, 2, 1, 2, 1)[stage] if not n else 1
            for stage, count in enumerate(first)
            for n in range(count)
        ]
        for pixels in (33, 48):
            wanted = twins.efficientnet_lite(network.state_dict(), strides, images(2, pixels))
            near(network(images(2, pixels)), wanted)

    def test_alexnet(self):
        network = lively(AlexNet())
        for pixels in (224, 96):
            near(network(images(1, pixels)), twins.alexnet(network.state_dict(), images(1, pixels)))

    @pytest.mark.parametrize("width", [1, 8, 12])
    def test_a_small_one(self, width):
        network = lively(SmallNet(width))
        for image in images(3, 19).split(1):
            near(network(image), twins.small_network(network.state_dict(), image))


class TestShape:
    @pytest.mark.parametrize(
        ("name", "channels"),
        [
            ("mobilenetv2", [16, 24, 32, 64, 96, 160, 320]),
            ("efficientnet-lite0", [16, 24, 40, 80, 112, 192, 320]),
            ("efficientnet-lite2", [16, 24, 48, 88, 120, 208, 352]),
            ("alexnet", [64, 192, 384, 256, 256]),
            ("resnet50", [256, 512, 1024, 2048]),
        ],
    )
    def test_stages(self, name, channels):
        with torch.device("meta"):
            network = NETWORKS[name].build()
            seen = []
            for block in network.blocks:
                block.register_forward_hook(lambda _module, _inputs, given: seen.append(given.shape))
            network(torch.zeros(2, 3, 64, 64))
        assert [shape[:2] for shape in seen] == [(2, channel) for channel in channels]

    def test_its_cost_is_what_the_makers_say(self):
        """Multiply-adds at the usual size, in millions; classifier included."""
        wanted = {"mobilenetv2": 301, "alexnet": 714, "resnet50": 4089}  # torchvision's tables
        for name, millions in wanted.items():
            with torch.device("meta"):
                network = NETWORKS[name].build()
                width = network(torch.zeros(1, 3, 224, 224)).shape[1]
                heads = [nn.Linear(width, 1000)]
            assert round(multiply_adds(network, heads, 224) / 1e6) == millions

    @pytest.mark.parametrize("width", [1, 6, 16])
    def test_the_cost_of_a_small_one(self, width):
        network = SmallNet(width)
        for pixels in (32, 33):
            cost = cost_of_convolution(width, pixels)
            assert cost.parameters == sum(value.numel() for value in network.parameters())
            assert cost.flops == 2 * multiply_adds(network, [], pixels)

    def test_an_image_alone_is_as_among_others(self):
        networks: list[ConvNet] = [lively(SmallNet(8)), lively(MobileNetV2())]
        for network in networks:
            batch = network(images(5, 32))
            near(torch.cat([network(one) for one in images(5, 32).split(1)]), batch)


class TestFiles:
    def save(self, folder: Path, name: str, classes: int | None = 7, **more: Tensor) -> tuple[Path, dict]:
        known = NETWORKS[name]
        network = lively(known.build())
        state = dict(network.state_dict())
        if classes is not None:
            width = {"alexnet": 4096, "resnet50": 2048}.get(name, 1280)
            state[f"{known.classifier}.weight"] = torch.randn(classes, width)
            state[f"{known.classifier}.bias"] = torch.randn(classes)
        path = folder / f"{name}-0123.pth"
        torch.save(state | more, path)
        return path, state

    @pytest.mark.parametrize("name", NETWORKS)
    def test_a_file_is_known_by_its_weights(self, name):
        with torch.device("meta"):
            state = NETWORKS[name].build().state_dict()
        assert network_of(state) == name
        assert (
            network_of({key: value for key, value in state.items() if "batches_tracked" not in key}) == name
        )
        key = next(iter(state))
        assert network_of(state | {key: torch.zeros(3, device="meta")}) is None
        assert network_of({other: value for other, value in state.items() if other != key}) is None
        assert network_of(state | {"more": torch.zeros(1)}) is None

    def test_becomes_a_folder(self, tmp_path):
        path, state = self.save(tmp_path, "mobilenetv2")
        source = resolve(f"dir:{path}(weights=bin)")
        assert (source.family, source.short_name, source.num_classes) == ("vision", "mobilenetv2-0123", 7)
        assert source.pickled is False
        assert source.parameters == sum(
            value.numel() for key, value in state.items() if not key.endswith(("mean", "var", "tracked"))
        )
        assert source.flops == pytest.approx(2 * (300_774_272 - 1280 * 993))
        assert source.skills == {"zero_shot"}
        saved = load_file(source.path / "model.safetensors")
        assert saved.keys() == state.keys()
        assert all(torch.equal(saved[key], state[key]) for key in state)
        again = resolve(f"dir:{path}(weights=bin, layer=3)")
        assert (again.path, again.base_digest) == (source.path, source.digest)
        assert again.short_name == "mobilenetv2-0123-layer3"

    def test_without_a_classifier(self, tmp_path):
        path, _ = self.save(tmp_path, "resnet50", None)
        source = resolve(f"dir:{path}(weights=bin)")
        assert (source.num_classes, source.skills) == (None, frozenset())

    def test_inside_another(self, tmp_path):
        path, state = self.save(tmp_path, "mobilenetv2")
        torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
        (tmp_path / "out").mkdir()
        convert(path, tmp_path / "out")
        assert load_file(tmp_path / "out" / "model.safetensors").keys() == state.keys()
        assert json.loads((tmp_path / "out" / "config.json").read_text())["network"] == "mobilenetv2"

    def test_an_old_form_of_file(self, tmp_path):
        path, state = self.save(tmp_path, "mobilenetv2")
        torch.save(state, path, _use_new_zipfile_serialization=False)
        (tmp_path / "out").mkdir()
        convert(path, tmp_path / "out")
        assert load_file(tmp_path / "out" / "model.safetensors").keys() == state.keys()

    def test_what_is_none(self, tmp_path, cache):
        path = tmp_path / "odd.pth"
        cases = {
            r"holds weights of no network that is known \(mobilenetv2, .*; its names are a; save": {
                "a": torch.ones(1)
            },
            r"holds weights of no network that is known .* its names are none": {},
            r"holds more than weights; save the model's state_dict\(\)": {"a": torch.ones(1), "b": "text"},
            "odd.pth holds more than weights": torch.ones(3),
        }
        for message, content in cases.items():
            torch.save(content, path)
            with pytest.raises(DataError, match=message) as caught:
                resolve(f"dir:{path}(weights=bin)")
            assert "\n" not in str(caught.value)
        assert not [found for found in cache.rglob("*") if found.is_dir() and found.parent.name == "models"]

    def test_code_in_a_pickle_is_not_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "was-here",))

        path = tmp_path / "evil.pth"
        path.write_bytes(pickle.dumps({"a": Evil()}))
        for content in (path.read_bytes(), b"", b"text"):
            path.write_bytes(content)
            with pytest.raises(DataError, match=r"evil.pth cannot be read as pickled weights alone \("):
                resolve(f"dir:{path}(weights=bin)")
        torch.save({"a": Evil()}, path)
        with pytest.raises(DataError, match="cannot be read as pickled weights alone"):
            resolve(f"dir:{path}(weights=bin)")
        assert not (tmp_path / "was-here").exists()


class TestFolded:
    @pytest.mark.parametrize(
        "build", [MobileNetV2, lambda: EfficientNetLite(1.0, 1.0), ResNet50, AlexNet, lambda: SmallNet(8)]
    )
    def test_states_are_the_same_up_to_rounding(self, build):
        network, given = lively(build()), images(3, 65)
        for numbers, most in ((torch.float32, 1e-4), (torch.float64, 1e-12)):
            network, given = network.to(numbers), given.to(numbers)
            plain = network(given)
            with folded(network):
                found = network(given)
            torch.testing.assert_close(found, plain, rtol=0, atol=most * float(plain.abs().max()))
            assert torch.equal(network(given), plain)
        assert not any("forward" in vars(module) for module in network.modules())

    @pytest.mark.parametrize("build", [MobileNetV2, lambda: EfficientNetLite(1.1, 1.2), ResNet50])
    def test_every_normalisation_has_its_convolution(self, build):
        network = build()
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        found = pairs(network)
        assert {id(norm) for _, norm in found} == set(map(id, norms))
        assert all(layer.out_channels == norm.num_features for layer, norm in found)

    def test_a_convolution_that_already_runs_otherwise_does_so_again_afterwards(self):
        network = lively(MobileNetV2())
        layer = pairs(network)[0][0]
        layer.forward = before = layer.forward
        with folded(network):
            assert layer.forward is not before
        assert layer.forward is before

    def test_other_networks_stay_as_they_are(self):
        other = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)).eval()
        with folded(other):
            assert not any("forward" in vars(module) for module in other.modules())


def test_without_gradient_nothing_that_was_given_changes():
    for build in (MobileNetV2, lambda: EfficientNetLite(1.0, 1.0), ResNet50, lambda: SmallNet(8)):
        network, given = lively(build()), images(2, 64)
        before = given.clone()
        found = network(given)
        assert torch.equal(given, before)
        with torch.enable_grad():
            assert torch.equal(network(given).detach(), found)
