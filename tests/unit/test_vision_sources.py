"""Models of images as names, and where in a model its states are read. No torch, no transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import save_file

from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.identity import digest_of, file_digest
from surpass.models.folders import patterns
from surpass.models.image_configs import PREPROCESSOR as PREPROCESSOR_FILE
from surpass.models.image_configs import cost_of_convolution, flops_of
from surpass.models.names import ReadOut, base_name, read_name
from surpass.models.sources import resolve

PREPROCESSOR = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 64, "width": 64}}


def write_images(folder: Path, config: dict | None = None, preprocessor: dict | None = PREPROCESSOR) -> Path:
    folder.mkdir(parents=True)
    said = {"architectures": ["ViTModel"], "model_type": "vit", "patch_size": 8, "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(said if config is None else config))
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    weights = {"w": np.zeros((3, 5), np.float32), "norm.running_mean": np.zeros(7, np.float32)}
    save_file(weights | {"grid": np.zeros((1, 1, 2, 2), np.float32)}, folder / "model.safetensors")
    return folder


def write_texts(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["BertModel"]}')
    (folder / "tokenizer.json").write_text("{}")
    save_file({"w": np.zeros((3, 5), np.float32)}, folder / "model.safetensors")
    return folder


class TestReadOut:
    def test_names(self):
        assert read_name("package:mpnet").read_out == ReadOut() == (None, None)
        assert read_name("package:mpnet(layer=6)").read_out == (6, None)
        assert read_name("timm:a.b(pooling=mean, layer=1)").read_out == (1, "mean")
        assert read_name("cnn:16(pixels=64)").pixels == 64

    @pytest.mark.parametrize(
        ("name", "base"),
        [
            ("package:mpnet", "package:mpnet"),
            ("package:mpnet(layer=6)", "package:mpnet"),
            ("package:mpnet( pooling = mean ,layer=6)", "package:mpnet"),
            ("hub:o/n@v(layer=6, tokens=9)", "hub:o/n@v(tokens=9)"),
            ("hub:o/n( tokens=9 , pixels=3)", "hub:o/n( tokens=9 , pixels=3)"),
            ("dir:/a/b(c)(pooling=first, weights=bin, tokens=2)", "dir:/a/b(c)(weights=bin, tokens=2)"),
            ("linear:8", "linear:8"),
        ],
    )
    def test_base_name(self, name, base):
        assert base_name(name) == base

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("package:n(layer=0)", "layer is 0; name a whole number from 1"),
            ("package:n(layer=last)", "layer is 'last'; name a whole number from 1"),
            ("package:n(layer=True)", "layer is True; name a whole number from 1"),
            ("package:n(pixels=-3)", "pixels is -3; name a whole number from 1"),
            ("package:n(pooling=max)", "pooling is 'max'; it is one of mean, first, last"),
            ("cnn:16(tokens=3)", "no setting 'tokens'; it has layer, pooling and pixels"),
            ("timm:x(weights=bin)", "no setting 'weights'; it has layer, pooling and pixels"),
        ],
    )
    def test_what_is_none(self, name, message):
        with pytest.raises(ConfigError, match=message):
            read_name(name)

    def test_a_layer_of_a_model_is_another_model_with_the_same_base(self, tmp_path):
        name = f"dir:{write_texts(tmp_path / 'tiny')}"
        plain = resolve(name)
        assert (plain.read_out, plain.base_name, plain.base_digest) == (ReadOut(), name, plain.digest)
        sources = [
            resolve(name + f"({text})")
            for text in ("layer=2", "layer=3", "pooling=mean", "layer=2, pooling=mean")
        ]
        assert len({plain.digest, *(source.digest for source in sources)}) == 5
        assert {source.base_digest for source in sources} == {plain.digest}
        assert {source.base_name for source in sources} == {name}
        assert [source.short_name for source in sources] == [
            "tiny-layer2",
            "tiny-layer3",
            "tiny-mean",
            "tiny-layer2-mean",
        ]
        assert sources[3].read_out == (2, "mean")
        few = resolve(name + "(tokens=9, layer=2)")
        assert few.base_digest == resolve(name + "(tokens=9)").digest != plain.digest
        assert few.base_name == name + "(tokens=9)"

    def test_digests_of_old_names_are_what_they_were(self, tmp_path):
        folder = write_texts(tmp_path / "tiny")
        files = ("config.json", "model.safetensors", "tokenizer.json")
        weights = digest_of({file: file_digest(folder / file) for file in files})
        assert resolve(f"dir:{folder}").digest == weights
        assert resolve(f"dir:{folder}(tokens=9)").digest == digest_of({"weights": weights, "tokens": 9})
        assert resolve("linear:8").digest == digest_of("linear:8")
        # A preprocessor beside a model of texts is none of its business.
        (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
        assert resolve(f"dir:{folder}").digest == weights

    def test_untrained_answers_need_the_models_own_head(self, tmp_path):
        folder = write_texts(tmp_path / "tiny")
        (folder / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
        assert resolve(f"dir:{folder}").skills == {"zero_shot", "hint", "prompt", "generate"}
        assert resolve(f"dir:{folder}(layer=1)").skills == {"hint", "generate"}


class TestFolder:
    def test_what_it_is(self, tmp_path):
        source = resolve(f"dir:{write_images(tmp_path / 'tiny')}")
        assert (source.family, source.short_name, source.num_classes) == ("vision", "tiny", None)
        assert source.parameters == 3 * 5 + 4  # no statistics
        assert source.flops == pytest.approx(2 * 19 * (8 * 8 + 1))
        assert source.skills == frozenset()

    def test_its_digest_is_of_configuration_preprocessor_and_weights(self, tmp_path):
        folder = write_images(tmp_path / "tiny")
        files = ("config.json", "model.safetensors", "preprocessor_config.json")
        first = resolve(f"dir:{folder}").digest
        assert first == digest_of({file: file_digest(folder / file) for file in files})
        (folder / "vocab.json").write_text("{}")
        assert resolve(f"dir:{folder}").digest == first
        (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | {"resample": 3}))
        assert resolve(f"dir:{folder}").digest != first

    def test_pixels(self, tmp_path):
        name = f"dir:{write_images(tmp_path / 'tiny')}"
        plain, large = resolve(name), resolve(name + "(pixels=128)")
        assert (plain.pixels, large.pixels) == (None, 128)
        assert plain.digest != large.digest == large.base_digest
        assert large.flops == 4 * plain.flops
        assert large.short_name == plain.short_name
        layer = resolve(name + "(layer=2, pixels=128)")
        assert (layer.base_digest, layer.base_name) == (large.digest, name + "(pixels=128)")

    @pytest.mark.parametrize(
        ("config", "num_classes"),
        [
            ({"model_type": "resnet"}, None),
            ({"model_type": "dinov2", "architectures": ["Dinov2Model"], "id2label": {"0": "a"}}, None),
            ({"architectures": ["OddForImageClassification"]}, 2),
            ({"architectures": ["OddForImageClassification"], "num_labels": 7}, 7),
            ({"architectures": ["ViTForImageClassification"], "id2label": {"0": "a", "1": "b", "2": "c"}}, 3),
            ({"model_type": "surpass_convnet", "num_classes": 9}, 9),
            ({"model_type": "surpass_convnet", "num_classes": None}, None),
            ({"model_type": "unheard-of"}, None),  # it has no tokenizer, and a preprocessor of images
        ],
    )
    def test_which_are_of_images(self, tmp_path, config, num_classes):
        source = resolve(f"dir:{write_images(tmp_path / 'tiny', config)}")
        assert (source.family, source.num_classes) == ("vision", num_classes)
        assert source.skills == ({"zero_shot"} if num_classes else frozenset())

    def test_which_are_not(self, tmp_path):
        folder = write_images(tmp_path / "sound", {"model_type": "wav2vec2"}, {"sampling_rate": 16000})
        with pytest.raises(ConfigError, match=r"no language model at .*: it has no tokenizer"):
            resolve(f"dir:{folder}")

    def test_what_it_lacks(self, tmp_path):
        folder = write_images(tmp_path / "tiny", preprocessor=None)
        with pytest.raises(
            ConfigError,
            match=r"no image model at .*: it has no preprocessor_config.json; save the image proc",
        ):
            resolve(f"dir:{folder}")
        (folder / "preprocessor_config.json").write_text("[]")
        with pytest.raises(DataError, match=r"preprocessor_config.json is damaged; copy it again"):
            resolve(f"dir:{folder}")

    def test_out_of_the_hubs_cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        snapshot = tmp_path / "models--org--vit" / "snapshots" / ("0" * 40)
        write_images(snapshot)
        source = resolve(f"hub:org/vit@{'0' * 40}(layer=1)")
        assert (source.family, source.path) == ("vision", snapshot)
        assert source.short_name == f"vit@{'0' * 40}-layer1"
        assert PREPROCESSOR_FILE in patterns()

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("tokens=3", "reads images, and tokens is of texts; leave it out, or name pixels"),
            ("pooling=last", "reads images, whose places have no last; pooling is mean or first"),
        ],
    )
    def test_settings_of_texts(self, tmp_path, setting, message):
        folder = write_images(tmp_path / "tiny")
        with pytest.raises(ConfigError, match=message):
            resolve(f"dir:{folder}({setting})")

    def test_settings_of_images(self, tmp_path):
        folder = write_texts(tmp_path / "tiny")
        with pytest.raises(ConfigError, match="reads texts, and pixels is of images; leave it out"):
            resolve(f"dir:{folder}(pixels=3)")


class TestConvolution:
    def test_a_name(self):
        source = resolve("cnn:16")
        assert (source.family, source.path, source.short_name) == ("vision", None, "cnn-16")
        assert source.digest == source.base_digest == digest_of("cnn:16") != resolve("cnn:8").digest
        assert (source.parameters, source.flops) == cost_of_convolution(16, 32)
        assert (source.pretraining_flops, source.skills, source.num_classes) == (0.0, frozenset(), None)

    def test_settings(self):
        source = resolve("cnn:16(layer=2, pixels=64)")
        assert source.read_out == (2, None)
        assert source.base_digest == resolve("cnn:16(pixels=64)").digest != source.digest
        assert source.short_name == "cnn-16-layer2"
        assert source.flops == 4 * resolve("cnn:16").flops

    @pytest.mark.parametrize("name", ["cnn", "cnn:", "cnn:0", "cnn:x", "cnn:16x2", "cnn:10000", "cnn:-1"])
    def test_what_is_none(self, name):
        with pytest.raises(
            ConfigError, match=f"no model '{name}'; name a small convolutional network cnn:WIDTH"
        ):
            resolve(name)


class TestPickle:
    def test_only_where_the_name_allows_it(self, tmp_path):
        (tmp_path / "alexnet.pth").write_bytes(b"")
        with pytest.raises(
            ConfigError, match=r"is a pickle, of which only tensors are read; .* \(weights=bin\)"
        ):
            resolve(f"dir:{tmp_path}/alexnet.pth")


def _installed() -> str:
    """The version of a timm that is there in truth, behind the one of the test."""
    try:
        return metadata.version("timm")
    except metadata.PackageNotFoundError:
        return ""


class TestTimm:
    def test_without_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(MissingExtraError, match=r"timm:a needs the package timm, .* 'surpass\[timm\]'"):
            resolve("timm:a")

    def test_a_name(self, monkeypatch, tmp_path):
        (tmp_path / "timm").mkdir()
        (tmp_path / "timm" / "__init__.py").write_text("raise SystemExit")
        monkeypatch.syspath_prepend(tmp_path)
        source = resolve("timm:vit_base_patch8_224.dino")
        assert (source.family, source.short_name) == ("vision", "vit_base_patch8_224.dino")
        assert source.path == tmp_path / "timm"
        said = {"timm": "vit_base_patch8_224.dino", "cut": "nearest"}
        assert source.digest == digest_of(said | {"version": _installed()})
        assert resolve("timm:vit_base_patch8_224.dino(pixels=96)").digest != source.digest
        (tmp_path / "timm-9.1.dist-info").mkdir()
        (tmp_path / "timm-9.1.dist-info" / "METADATA").write_text("Name: timm\nVersion: 9.1\n")
        assert resolve("timm:vit_base_patch8_224.dino").digest != source.digest

    def test_a_module_without_a_place(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "timm", ModuleType("timm"))
        with pytest.raises(MissingExtraError, match="timm"):
            resolve("timm:a")


def test_flops():
    vit = {"patch_size": 8, "num_hidden_layers": 12}
    assert flops_of(vit, 100, 224) == 2 * 100 * (28 * 28 + 1)
    assert flops_of({"flops_per_pixel": 3.0}, 100, 10) == 300
    assert flops_of({"model_type": "resnet"}, 100, 224) == 2 * 100 * 4 * 49


def test_resolving_imports_no_torch(tmp_path):
    folder = write_images(tmp_path / "tiny")
    code = f"""
import sys
from surpass.models.sources import resolve
resolve("dir:{folder}(layer=1)")
resolve("cnn:16")
print(*{{"torch", "transformers", "PIL", "timm"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
